"""DCGAN of written music."""

from datamodules.pianorolls import BachPianorolls
from framework.generators.dcgan import PianorollDCGAN


class DCGANPianoroll(PianorollDCGAN):
    """Four bars of four voices of Bach's chorales as images: small, for two CPU cores."""

    data = BachPianorolls.variant(lowest=34, pitches=64, batch_size=32)
    channels = 16
    learning_rate = 1e-3
    ema_decay = 0.99
    max_steps = 2_000
    val_check_interval = 500
