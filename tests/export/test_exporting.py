"""Exported programs against the networks they are of, at lengths that were not exported."""

import pytest
import torch

from experiments.diffwave_bach import DiffWaveBach
from framework.export import exporting
from framework.export.exporting import compared, export
from framework.export.formats import FORMATS, Format
from framework.export.fourier import RealFourierHead, RealSpectrum
from framework.export.mel_inversion import RealMelInversion
from framework.export.programs import SHORTEST, ExportError, program, traced
from framework.generators.codecs.encodec import Encodec
from framework.generators.diffwave import DiffWave
from framework.generators.fourier import Spectrum
from framework.generators.hifigan import HiFiGAN
from framework.generators.mel_inversion import MelInversion
from framework.generators.melgan import MelGAN
from framework.generators.vocos import FourierHead
from framework.generators.wavenet.system import WaveNet, WaveNetVocoder


class Tiny(HiFiGAN):
    channels = 8
    upsample_rates = (256,)
    upsample_kernels = (512,)
    residual_block = 2
    kernels = (3,)
    dilations = ((1,),)

    def build_discriminators(self):
        return {}


@torch.no_grad()
def test_onnx_makes_the_networks_audio_of_a_length_that_was_not_exported(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    system, path = Tiny().eval(), tmp_path / "tiny.onnx"
    report = export(system, path, "onnx", {"step": 3})
    assert report.snr > 100
    assert report.bytes == path.stat().st_size
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["ostinato"] == '{"step": 3}'
    mel = torch.randn(3, 80, 71)
    (audio,) = session.run(["audio"], {"mel": mel.numpy()})
    torch.testing.assert_close(torch.from_numpy(audio), system.eval_generator(mel), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_shortest_mel_that_it_says_is_one_of_its_lengths(tmp_path):
    system, path = MelGAN(channels=2).eval(), tmp_path / "tiny.pt2"
    exported = program(system)
    FORMATS["torch"].write(exported, traced(exported), path, "{}")
    mel = torch.randn(1, 80, SHORTEST)
    torch.testing.assert_close(FORMATS["torch"].read(path)((mel,)), system.eval_generator(mel), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_denoising_network_is_a_program_with_its_level_and_mel(tmp_path):
    system, path = DiffWave(channels=4, layers=1).eval(), tmp_path / "tiny.pt2"
    torch.nn.init.normal_(system.generator.output_projection.weight)
    exported = program(system)
    FORMATS["torch"].write(exported, traced(exported), path, "{}")
    inputs = torch.randn(1, 1, 33 * 256), torch.tensor([7.5]), torch.rand(1, 80, 33)
    audio = FORMATS["torch"].read(path)(inputs)
    torch.testing.assert_close(audio, system.eval_generator(*inputs), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_recurrent_decoder_is_a_program_for_any_length(tmp_path):
    system, path = Encodec(channels=4, latent_dim=8, rates=(4, 4), codebook_size=16).eval(), tmp_path / "tiny.pt2"
    for buffer in system.generator.quantiser.buffers():
        torch.nn.init.normal_(buffer)
    exported = program(system)
    FORMATS["torch"].write(exported, traced(exported), path, "{}")
    codes = torch.randint(16, (3, system.network.n_codebooks, 61))
    audio = system.decode(codes)
    torch.testing.assert_close(FORMATS["torch"].read(path)((codes,)), audio, atol=1e-5, rtol=0)
    assert (audio[0] - audio[1]).abs().max() > 1e-3


def test_a_program_that_makes_other_audio_is_not_kept(tmp_path, monkeypatch):
    def silent(path):
        return lambda inputs: torch.zeros(len(inputs[0]), 1, inputs[0].shape[-1] * 256)

    def written(exported, graph, path, facts):
        path.write_bytes(b"a program")

    monkeypatch.setattr(exporting, "traced", lambda exported: None)
    monkeypatch.setitem(exporting.FORMATS, "torch", Format(".pt2", written, silent))
    with pytest.raises(ExportError, match="other audio than the network: 0 dB"):
        export(Tiny().eval(), tmp_path / "tiny.pt2", "torch", {})
    assert not list(tmp_path.iterdir())


@torch.no_grad()
@pytest.mark.parametrize("place", range(3))
def test_neither_is_one_that_makes_what_is_no_number_at_any_length(place):
    system, calls = Tiny().eval(), iter(range(9))

    def run(inputs):
        audio = system.eval_generator(*inputs)
        return audio * float("nan") if next(calls) == place else audio

    with pytest.raises(ExportError, match="other audio than the network: nan dB, differences up to nan"):
        compared(program(system), run, 0, 22050)


@pytest.mark.parametrize("kind", [WaveNet, WaveNetVocoder])
@torch.no_grad()
def test_a_wavenet_is_a_program_of_the_past_and_the_mel(tmp_path, kind):
    system = kind(layers=2, cycle=2, residual_channels=4, gate_channels=4, skip_channels=4).eval()
    exported, path = program(system), tmp_path / "tiny.pt2"
    FORMATS["torch"].write(exported, traced(exported), path, "{}")
    inputs = exported.example(1, 33)
    batch = {"audio": torch.zeros(1, 1, 33 * 256)}
    wanted = system.network(inputs[0], **{n: system.prepared(x) for n, x in zip(("mel",), inputs[1:], strict=False)})
    assert wanted.shape == system.network(inputs[0], **system.condition(batch)).shape
    torch.testing.assert_close(FORMATS["torch"].read(path)(inputs), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["same", "center"])
@pytest.mark.parametrize("n_fft", [64, 56])
@torch.no_grad()
def test_the_fourier_transform_in_real_numbers_is_the_complex_one(padding, n_fft):
    head = FourierHead(8, n_fft, 16, padding)
    hidden = torch.randn(2, 9, 8)
    torch.testing.assert_close(RealFourierHead(head)(hidden), head(hidden), atol=1e-6, rtol=0)
    spectrum = Spectrum(n_fft, 16, padding)
    audio, real = torch.randn(2, 1, 160), RealSpectrum(spectrum)
    torch.testing.assert_close(real(audio), spectrum(audio), atol=1e-5, rtol=0)
    torch.testing.assert_close(real.inverse(spectrum(audio)), audio, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_denoiser_of_spectra_is_a_program(tmp_path):
    system, path = DiffWaveBach.variant(channels=16, layers=1)().eval(), tmp_path / "tiny.pt2"
    torch.nn.init.normal_(system.generator.out.weight, std=0.1)
    exported = program(system)
    FORMATS["torch"].write(exported, traced(exported), path, "{}")
    inputs = exported.example(3, 61)
    torch.testing.assert_close(FORMATS["torch"].read(path)(inputs), system.network(*inputs), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("mel", "initial_phase"), [("hifigan_22k", "spsi"), ("vocos_24k", "zero"), ("diffwave_22k", "zero")]
)
def test_mel_inversion_in_real_numbers_is_that_in_pieces(mel, initial_phase):
    sizes = {"channels": 16, "hidden": 24, "layers": 1, "iterations": 2, "mel_consistency_steps": 2}
    system = MelInversion.variant(mel=mel, initial_phase=initial_phase, **sizes)().eval()
    torch.nn.init.normal_(system.trained.out.weight, std=0.05)
    seconds = torch.arange(100 * system.preset.hop_length) / system.preset.sample_rate
    tones = sum(torch.sin(2 * torch.pi * 220 * k * seconds) / k for k in range(1, 9))
    log_mel = system.front_end(0.2 * tones[None, None] + 1e-3 * torch.randn(1, 1, len(seconds)))
    wanted = system.network(log_mel)
    made = RealMelInversion(system.network)(log_mel)
    assert made.shape == wanted.shape
    assert exporting.signal_to_noise(wanted.double(), made.double()) > 60


@torch.no_grad()
def test_mel_inversion_is_a_program_for_any_length():
    sizes = {"channels": 16, "hidden": 24, "layers": 1, "iterations": 1, "mel_consistency_steps": 1}
    system = MelInversion.variant(**sizes)().eval()
    exported = program(system)
    made = traced(exported).module()(*(inputs := exported.example(3, 61)))
    assert exporting.signal_to_noise(system.network(*inputs).double(), made.double()) > exported.faithful
