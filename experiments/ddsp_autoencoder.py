"""DDSP for many instruments."""

from experiments.ddsp_solo_instrument import DDSPSoloInstrument


class DDSPAutoencoder(DDSPSoloInstrument):
    """DDSP for many instruments, whose timbre an encoder hears as z (Engel et al., 2020, sections 4 and B.1)."""

    data = DDSPSoloInstrument.data.variant(
        instruments=("violin", "cello", "flute", "clarinet", "oboe", "bassoon", "trumpet", "horn")
    )
    harmonics = 100
    latent_dim = 16
    reverb_length = 0
    max_steps = 100_000
