"""UnivNet-c32."""

from experiments.univnet_c16 import UnivNetC16


class UnivNetC32(UnivNetC16):
    """UnivNet with 32 channels (Jang et al., 2021)."""

    channels = 32
