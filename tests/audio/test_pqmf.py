"""Sub-bands against ParallelWaveGAN's numbers and against what they are for."""

import pytest
import torch
from reference.weights import load_reference

from framework.audio.pqmf import SubBandAnalysis, SubBandSynthesis


def test_sub_bands_are_parallel_wavegans():
    reference = load_reference("pwg_mbmelgan_v2")
    bands = SubBandAnalysis()(reference["pqmf_x"])
    torch.testing.assert_close(bands, reference["pqmf_a"], atol=1e-6, rtol=0)
    torch.testing.assert_close(SubBandSynthesis()(bands), reference["pqmf_s"], atol=1e-6, rtol=0)
    assert not SubBandAnalysis().state_dict()


def test_autocast_changes_nothing():
    audio = torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(0))
    bands = SubBandAnalysis()(audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SubBandAnalysis()(audio), bands)
        assert torch.equal(SubBandSynthesis()(bands), SubBandSynthesis()(bands.float()))


@pytest.mark.parametrize("time", [400, 404])
def test_audio_comes_back_and_a_tone_is_in_its_band_alone(time):
    audio = torch.randn(2, 1, time, generator=torch.Generator().manual_seed(0))
    again = SubBandSynthesis()(SubBandAnalysis()(audio))
    assert again.shape == audio.shape
    error = (again - audio)[..., 62:-62].square().mean() / audio.square().mean()
    assert error < 1e-3
    # Half of the sample rate in four bands: the third is about 5/16 of the rate.
    tone = torch.sin(2 * torch.pi * 5 / 16 * torch.arange(time)).view(1, 1, -1)
    power = SubBandAnalysis()(tone)[..., 16:-16].square().mean((0, 2))
    assert power.argmax() == 2
    assert power[2] > 1e6 * power[[0, 1, 3]].sum()
