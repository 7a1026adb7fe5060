from experiments.vocos import Vocos
from framework.generators.vocos import SymmetricExponentialHead


class WithMDCT(Vocos):
    """Vocos whose head predicts coefficients of a cosine transform, without phases (Siuzdak, 2024, appendix)."""

    def build_head(self) -> SymmetricExponentialHead:
        return SymmetricExponentialHead(self.channels, self.preset.hop_length, self.preset.padding)
