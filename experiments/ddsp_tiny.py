"""DDSP's tiny model."""

from experiments.ddsp_solo_instrument import DDSPSoloInstrument


class DDSPTiny(DDSPSoloInstrument):
    """DDSP with a GRU and one linear map alone: 0.23 million weights beside the room's (magenta's tiny_instrument)."""

    layers = 0
    units = 256
