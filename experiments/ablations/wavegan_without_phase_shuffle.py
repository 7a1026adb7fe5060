from experiments.wavegan_notes import WaveGANNotes


class WithoutPhaseShuffle(WaveGANNotes):
    """WaveGAN on notes without phase shuffle."""

    phase_shuffle = 0
