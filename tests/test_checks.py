"""Wrong arguments of networks are named before PyTorch fails on their consequences."""

import inspect
import re

import pytest

from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_scale import MultiScaleDiscriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator
from framework.errors import OstinatoError
from framework.generators.bigvgan import BigVGANGenerator
from framework.generators.codecs.dac import DACDecoder
from framework.generators.hifigan import HiFiGAN, HiFiGANGenerator
from framework.generators.latent.code_transformer import CodeTransformer
from framework.losses.multi_scale_mel import MultiScaleMelLoss


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MultiPeriodDiscriminator(periods=(2, 0)),
            "MultiPeriodDiscriminator: periods = (2, 0): each must be at",
        ),
        (lambda: MultiPeriodDiscriminator(channels=[8, 2.5]), "a sequence of whole numbers of at least 1"),
        (lambda: MultiScaleDiscriminator(0), "scales = 0: must be at least 1"),
        (lambda: MultiScaleDiscriminator(channels=(8, 8)), "channels has 2 and groups has 7 and convolutions has 7"),
        (lambda: MultiScaleDiscriminator(channels=(8,) * 7), "channels = 8: must be a multiple of 16"),
        (lambda: MultiScaleSubBandCQTDiscriminator(24000, hop_lengths=(256,)), "hop_lengths has 1 and bins_per_octave"),
        (lambda: MultiScaleMelLoss(22050, sizes=(64,)), "sizes has 1 and n_mels has 7"),
        (lambda: HiFiGANGenerator(channels=8), "channels = 8: must be at least 16, as each of 4 stages halves it"),
        (lambda: HiFiGANGenerator(kernels=(3,)), "kernels has 1 and dilations has 3"),
        (lambda: HiFiGANGenerator(upsample_rates=(8, 8)), "upsample_rates has 2 and upsample_kernels has 4"),
        (lambda: BigVGANGenerator(dilations=((1,),)), "kernels has 3 and dilations has 1"),
        (lambda: DACDecoder(4, 3, (2, 2)), "channels = 3: must be at least 4"),
        (lambda: CodeTransformer(2, 8, 6, 1, 4, 8), "channels = 6: must be a multiple of 8"),
        (
            lambda: HiFiGAN(channels=10**12),
            "HiFiGAN.channels = 1000000000000: what is built with these values does not fit into",
        ),
        (lambda: HiFiGAN(channels=10**30), "does not fit into memory"),
    ],
)
def test_a_wrong_argument_is_one_line(make, message):
    with pytest.raises(OstinatoError, match=re.escape(message)) as raised:
        make()
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, ValueError | TypeError)


def test_a_checked_network_keeps_its_signature():
    assert list(inspect.signature(HiFiGANGenerator).parameters)[:3] == ["n_mels", "channels", "upsample_rates"]
    assert MultiPeriodDiscriminator(range(2, 4), channels=[4]).discriminators[1].period == 3


def test_an_error_of_other_code_stays_what_it_is():
    class Broken(HiFiGAN):
        def build_losses(self):
            raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        Broken(channels=16)
