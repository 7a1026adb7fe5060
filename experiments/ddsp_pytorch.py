"""DDSP after its PyTorch port."""

from datamodules.stems import BachStems
from framework.generators.ddsp.system import DDSPPyTorch as DDSPPyTorchSystem


class DDSPPyTorch(DDSPPyTorchSystem):
    """DDSP as acids-ircam/ddsp_pytorch builds and trains it; its checkpoints can be loaded."""

    data = BachStems.variant(
        instruments=("violin",), pieces=364, segment=64_000, batch_size=16, validation_clips=8, f0_hop=160
    )
    max_steps = 500_000
    val_check_interval = 5_000
