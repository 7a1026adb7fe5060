from experiments.wavegan_notes import WaveGANNotes


class WithPhaseShuffle4(WaveGANNotes):
    """WaveGAN on notes with a phase shuffle of four samples to either side."""

    phase_shuffle = 4
