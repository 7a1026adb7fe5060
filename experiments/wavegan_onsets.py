"""WaveGAN of drum sounds."""

from datamodules.notes import Notes
from framework.generators.wavegan import WaveGAN


class WaveGANOnsets(WaveGAN):
    """The onsets of General MIDI's percussion, a quarter of a second of each: small, with one layer less."""

    data = Notes.variant(
        instruments=("drums",),
        labels=(),
        seconds=0.256,
        segment=4096,
        batch_size=80,
        validation_clips=15,
        validation_seconds=0.256,
    )
    channels = 16
    layers = 4
    max_steps = 20_000
    val_check_interval = 1_000
