"""Every discriminator against the numbers of its official implementation."""

import copy

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.discriminators.dac import DACDiscriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import BandSplitDiscriminator, MultiResolutionDiscriminator
from framework.discriminators.multi_scale import MelGANDiscriminator, MultiScaleDiscriminator
from framework.discriminators.multi_scale_stft import MultiScaleSTFTDiscriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator
from framework.losses.adversarial import Hinge, LeastSquares
from framework.losses.feature_matching import FeatureMatching
from framework.runs.importers import load_official


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def compared(network, audio, logits, statistics=None, logits_among_maps=True):
    """Run a discriminator; compare the official logits and, of each feature map, shape, mean and mean magnitude."""
    output = network.eval()(audio)
    for own, official in zip(output[0], logits, strict=True):
        # Of spectrograms the logits are large, and rounded as such.
        torch.testing.assert_close(own, official, atol=1e-5 * max(1, official.abs().max().item()), rtol=0)
    for own_logits, maps, official_maps in zip(*output, statistics or output[1], strict=True):
        maps = [*maps, own_logits] if logits_among_maps else maps
        if statistics:
            for own, (shape, mean, magnitude) in zip(maps, official_maps, strict=True):
                assert own.numel() == torch.Size(shape).numel()
                assert own.double().mean().item() == pytest.approx(mean, abs=2e-6)
                assert own.double().abs().mean().item() == pytest.approx(magnitude, abs=2e-6)
    return output


def check_losses(real, fake, adversarial, matching, expected):
    """Compare the losses of the discriminator, of the generator and of feature matching with the official ones."""
    own = adversarial.discriminator(real[0], fake[0]), adversarial.generator(fake[0]), matching(real, fake)
    assert [loss.item() for loss in own] == pytest.approx(expected, rel=2e-6)


def test_hifigan_multi_period():
    reference = load_reference("hifigan_disc")
    network = MultiPeriodDiscriminator()
    assert parameters(network) == 41_105_770
    load_official(network, official_state(reference["mpd_keys"]))
    real = compared(network, reference["y"], reference["mpd_logits"][0], reference["mpd_fmap"])
    fake = compared(network, reference["yh"], reference["mpd_logits"][1])
    losses = [reference["losses"][name] for name in ("d_p", "g_p", "fm_p")]
    # The official feature loss is twice the sum.
    check_losses(real, fake, LeastSquares(), FeatureMatching(scale=2.0), losses)


def test_hifigan_multi_scale():
    reference = load_reference("hifigan_disc")
    network = MultiScaleDiscriminator()
    assert parameters(network) == 29_618_821
    load_official(network, official_state(reference["msd_keys"]))
    spectral = network.train().discriminators[0]
    # One training forward is one power iteration, which is all that moves the vectors.
    for _ in range(30):
        for conv in [*spectral.convs, spectral.conv_post]:
            _ = conv.weight
    state = network.state_dict()
    for name, official in reference["spectral_vectors_after_30_train_forwards"].items():
        own = state[name.replace("weight_", "parametrizations.weight.0.")]
        torch.testing.assert_close(own, official, atol=1e-5, rtol=0)
    real = compared(network, reference["y"], reference["msd_logits"][0], reference["msd_fmap"])
    fake = compared(network, reference["yh"], reference["msd_logits"][1])
    losses = [reference["losses"][name] for name in ("d_s", "g_s", "fm_s")]
    check_losses(real, fake, LeastSquares(), FeatureMatching(scale=2.0), losses)


def test_melgan():
    reference = load_reference("melgan_disc")
    network = MelGANDiscriminator()
    assert parameters(network) == 16_924_086
    load_official(network, official_state(reference["keys"]))
    real = compared(network, reference["x"], reference["real_logits"], reference["fmap"])
    fake = compared(network, reference["xh"], reference["fake_logits"])
    losses = [reference["losses"][name] for name in ("D", "G", "fm")]
    check_losses(real, fake, Hinge(), FeatureMatching(include_logits=False, scale=4 / 5 / 3), losses)


def test_univnet():
    reference = load_reference("univnet_disc")
    periods = MultiPeriodDiscriminator(channels=(64, 128, 256, 512, 1024), slope=0.2)
    resolutions = MultiResolutionDiscriminator()
    assert parameters(periods) == 17_444_810
    assert parameters(resolutions) == 280_902
    load_official(periods, official_state(reference["mpd_keys"]))
    load_official(resolutions, official_state(reference["mrd_keys"]))
    compared(periods, reference["y"], reference["mpd"], reference["mpd_fmap"])
    compared(resolutions, reference["y"], reference["mrd"], reference["mrd_fmap"])


def test_vocos():
    reference = load_reference("vocos_disc")
    periods, bands = MultiPeriodDiscriminator(first_map=1), BandSplitDiscriminator()
    assert parameters(bands) == 1_413_990
    real_audio, fake_audio = reference["y"].unsqueeze(1), reference["yh"].unsqueeze(1)
    for network, name in ((periods, "mpd"), (bands, "mrd")):
        load_official(network, official_state(reference[f"{name}_keys"]))
        real = compared(network, real_audio, reference[f"{name}_logits"][0], reference[f"{name}_fmap"])
        fake = compared(network, fake_audio, reference[f"{name}_logits"][1])
        losses = [reference["losses"][f"{loss}_{name[1]}"] for loss in ("d", "g", "fm")]
        check_losses(real, fake, Hinge(clamp_generator=True), FeatureMatching(), losses)


def test_encodec():
    reference = load_reference("encodec_msstftd")
    network = MultiScaleSTFTDiscriminator()
    assert parameters(network) == 283_398
    load_official(network, official_state(reference["keys"]))
    compared(network, reference["y"], reference["logits"], reference["fmap"], logits_among_maps=False)


def test_dac():
    reference = load_reference("dac_disc")
    network = DACDiscriminator()
    assert parameters(network) == 42_519_760
    load_official(network, official_state(reference["keys"]))
    assert [list(band.bands) for band in network.discriminators[5:]] == [
        list(map(tuple, b)) for b in reference["bands"]
    ]
    logits = [own.flatten(1) if number < 5 else own for number, own in enumerate(reference["logits"])]
    compared(network, reference["y"], logits, reference["fmap"])


def test_sub_band_cqt(capsys):
    reference = load_reference("cqtd_24000")
    network = MultiScaleSubBandCQTDiscriminator(24000)
    assert parameters(network) == 286_368
    load_official(network, official_state(reference["keys"]))
    cqt = network.discriminators[0].transform(reference["y"]).permute(0, 3, 2, 1)
    torch.testing.assert_close(cqt, reference["cqt0"].float(), atol=2e-3, rtol=2e-3)
    compared(network, reference["y"], reference["logits"], reference["fmap"], logits_among_maps=False)
    compared(network, reference["yh"], reference["logits_gen"])
    assert capsys.readouterr().out == ""


def test_sub_band_cqt_of_other_sample_rates():
    network = MultiScaleSubBandCQTDiscriminator(44100, channels=128)
    assert parameters(network) == 4_454_304
    assert sum(buffer.numel() for buffer in network.buffers()) == 198_438
    assert not any("cqt_transform" in name for name in network.state_dict())
    # Official checkpoints hold the transform's kernels, whose shapes tell the sample rate.
    official = MultiScaleSubBandCQTDiscriminator(24000, channels=4)
    kernels = {n: b for n, b in official.named_buffers() if "cqt_transform" in n or "resample" in n}
    small = MultiScaleSubBandCQTDiscriminator(24000, channels=4)
    load_official(small, official.state_dict() | kernels)
    with pytest.raises(ValueError, match="other shape"):
        load_official(MultiScaleSubBandCQTDiscriminator(44100, channels=4), official.state_dict() | kernels)
    with pytest.raises(ValueError, match="fewer octaves"):
        MultiScaleSubBandCQTDiscriminator(16000)
    MultiScaleSubBandCQTDiscriminator(16000, octaves=8)
    with pytest.raises(ValueError, match="hop of 300"):
        MultiScaleSubBandCQTDiscriminator(24000, hop_lengths=(300,), bins_per_octave=(24,))


SMALL = {
    "multi_period": lambda: MultiPeriodDiscriminator(channels=(8, 32, 128, 256)),
    "multi_scale": lambda: MultiScaleDiscriminator(channels=(8, 8, 16, 16, 16, 16, 16), groups=(1, 4, 4, 4, 4, 4, 1)),
    "melgan": lambda: MelGANDiscriminator(scales=2, channels=4, layers=3),
    "multi_resolution": lambda: MultiResolutionDiscriminator(channels=4),
    "multi_scale_stft": lambda: MultiScaleSTFTDiscriminator(channels=4),
    "dac": lambda: DACDiscriminator(period_channels=(4, 8, 8), channels=4),
    "band_split": lambda: BandSplitDiscriminator(channels=4),
    "sub_band_cqt": lambda: MultiScaleSubBandCQTDiscriminator(22050, channels=4),
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_finite_on_silence(name):
    network = SMALL[name]()
    audio = torch.zeros(1, 1, 4099, requires_grad=True)
    logits, features = network(audio)
    assert len(logits) == len(features) == len(network.discriminators)
    LeastSquares().generator(logits).backward()
    assert all(tensor.grad.isfinite().all() for tensor in [audio, *network.parameters()])


def test_a_fresh_multi_scale_discriminator_is_normalised_in_eval_and_can_be_copied():
    network = SMALL["multi_scale"]()
    network(torch.randn(1, 1, 2048))
    network = copy.deepcopy(network).eval()
    for conv in [*network.discriminators[0].convs, network.discriminators[0].conv_post]:
        singular = torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item()
        assert singular == pytest.approx(1.0, abs=0.1)
    first, second = network(torch.ones(1, 1, 512)), network(torch.ones(1, 1, 512))
    assert torch.equal(first[0][0], second[0][0])


def test_another_networks_checkpoint_is_refused_in_one_line(tmp_path):
    keys = load_reference("melgan_disc")["keys"]
    file = tmp_path / "netD.pt"
    torch.save({"model": official_state({name: keys[name] for name in list(keys)[:3]}), "steps": 3}, file)
    with pytest.raises(
        ValueError, match=r"netD.pt is no official checkpoint of this MultiPeriodDiscriminator"
    ) as raised:
        load_official(SMALL["multi_period"](), file)
    assert "\n" not in str(raised.value)
    file.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"netD.pt cannot be read as a checkpoint"):
        load_official(SMALL["multi_period"](), file)
