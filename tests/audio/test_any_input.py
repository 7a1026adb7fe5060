"""Any input to any function of `framework.audio`: the right answer, or an error that is a message to the user."""

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import framework.audio
from framework.audio import (
    coded_files,
    convolution,
    envelopes,
    files,
    filtered_noise,
    griffin_lim,
    loudness,
    mel,
    mfcc,
    mu_law,
    oscillators,
    pitch,
    pitch_grid,
    pqmf,
    resample,
    reverb,
    spectral_envelope,
)
from framework.errors import InvalidTypeError, InvalidValueError

SAME = mel.MelPreset("same", 8000, n_fft=64, hop_length=16, win_length=64, n_mels=8)
CENTRE = mel.MelPreset("centre", 8000, n_fft=64, hop_length=16, win_length=64, n_mels=8, padding="center")
MELS, ENVELOPE = mel.MelSpectrogram(SAME), spectral_envelope.SpectralEnvelope(CENTRE)


def array(x: Tensor) -> np.ndarray:
    """Return a tensor as an array, bfloat16 as float32, which NumPy has instead."""
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


class Case(NamedTuple):
    """A function and what it takes.

    Attributes:
        call: The function, of tensors alone.
        shapes: Of each tensor: sizes, or names of sizes that are drawn.
        lowest: Of the values.
        highest: Of the values.
        whole: Whether the values are whole numbers.
        elementwise: Whether any shape will do.
        hides: Whether NaN need not come out, as of what only has its shape looked at.
    """

    call: Callable[..., object]
    shapes: tuple[tuple[int | str, ...], ...]
    lowest: float = -1.0
    highest: float = 1.0
    whole: bool = False
    elementwise: bool = False
    hides: bool = False


AUDIO, ANY = ("batch", 1, "time"), ("batch", "time")
CASES = {
    "convolution.convolve": Case(convolution.convolve, (("batch", "time"), ("batch", "taps"))),
    "envelopes.full_precision": Case(envelopes.full_precision, (ANY,), elementwise=True),
    "envelopes.exp_sigmoid": Case(envelopes.exp_sigmoid, (ANY,), elementwise=True),
    "envelopes.blend_weights": Case(lambda x: envelopes.blend_weights("cubic", x)[0], (("time",),), 0.0),
    "envelopes.blend_weights hann": Case(lambda x: envelopes.blend_weights("hann", x)[0], (("time",),), 0.0),
    "envelopes.resample": Case(
        lambda x: envelopes.resample(x, 24, "linear"), (("batch", "frames", "channels"),), hides=True
    ),
    "envelopes.resample hann": Case(
        lambda x: envelopes.resample(x, 24, "hann", False), (("batch", "frames", "channels"),), hides=True
    ),
    "envelopes.harmonic_frequencies": Case(lambda x: envelopes.harmonic_frequencies(x, 3), (ANY,), 0.0, 99.0),
    "envelopes.normalise_harmonics": Case(
        lambda x, f0: envelopes.normalise_harmonics(x, f0, 8000),
        (("batch", "frames", "harmonics"), ("batch", "frames")),
        0.0,
        99.0,
        hides=True,
    ),
    "filtered_noise.impulse_responses": Case(filtered_noise.impulse_responses, (("batch", "frames", "bands"),), 0.0),
    "filtered_noise.filter_frames": Case(filtered_noise.filter_frames, (AUDIO, ("batch", "frames", "taps"))),
    "filtered_noise.filter_blocks": Case(filtered_noise.filter_blocks, (AUDIO, ("batch", "frames", 3)), hides=True),
    "filtered_noise.uniform_noise": Case(
        lambda x: filtered_noise.uniform_noise(x, 4), (("batch", "frames", "bands"),), hides=True
    ),
    "griffin_lim.GriffinLim": Case(griffin_lim.GriffinLim(SAME, 2), (("batch", 8, "frames"),)),
    "griffin_lim.LinearGriffinLim": Case(griffin_lim.LinearGriffinLim(SAME, 2), (("batch", 33, "frames"),), 0.0),
    "griffin_lim.fast_griffin_lim": Case(
        lambda x: griffin_lim.fast_griffin_lim(x, torch.hann_window(64), 64, 16, 2), (("batch", 33, "frames"),), 0.0
    ),
    "griffin_lim.invert_mel": Case(
        lambda x: griffin_lim.invert_mel(x, mel.mel_filters(SAME)), (("batch", 8, "frames"),)
    ),
    "loudness.a_weighting": Case(loudness.a_weighting, (ANY,), 0.0, 9000.0, elementwise=True),
    "loudness.loudness": Case(lambda x: loudness.loudness(x, 8000, 16, 64), (AUDIO,)),
    "loudness.log_magnitude_loudness": Case(lambda x: loudness.log_magnitude_loudness(x, 8000, 16, 64), (AUDIO,)),
    "loudness.scale_loudness": Case(loudness.scale_loudness, (ANY,), -80.0, 0.0, elementwise=True),
    "loudness.scale_f0": Case(loudness.scale_f0, (ANY,), 0.0, 999.0, elementwise=True),
    "mel.MelSpectrogram": Case(MELS, (AUDIO,)),
    "mel.MelSpectrogram.magnitude": Case(MELS.magnitude, (AUDIO,)),
    "mel.MelSpectrogram.pieces": Case(lambda x: torch.cat(list(MELS.pieces(x, 3)), -1), (AUDIO,)),
    "mel.MelPreset.bands": Case(SAME.bands, (ANY,), elementwise=True),
    "mfcc.MFCC": Case(mfcc.MFCC(8000, 64, 16, 8, 4, f_max=4000.0), (AUDIO,)),
    "mu_law.compress": Case(mu_law.compress, (ANY,), elementwise=True),
    "mu_law.expand": Case(mu_law.expand, (ANY,), elementwise=True),
    "mu_law.encode": Case(mu_law.encode, (ANY,), elementwise=True),
    "mu_law.decode": Case(mu_law.decode, (ANY,), 0, 255, whole=True, elementwise=True),
    "mu_law.boundaries": Case(lambda x: mu_law.boundaries(x)[0].clamp(-9, 9), (ANY,), 0, 255, True, True),
    "oscillators.harmonic_oscillators": Case(
        lambda f0, x: oscillators.harmonic_oscillators(f0, x, 4, 8000),
        (("batch", "frames"), ("batch", "frames", "harmonics")),
        0.0,
        99.0,
    ),
    "pitch_grid.at_hops": Case(
        lambda x: torch.from_numpy(pitch_grid.at_hops(array(x), 100, 8000, 0, 9, 64)), (("values",),), 0.0, 999.0,
        hides=True,
    ),
    "pqmf.SubBandAnalysis": Case(pqmf.SubBandAnalysis(), (AUDIO,)),
    "pqmf.SubBandSynthesis": Case(pqmf.SubBandSynthesis(), (("batch", 4, "time"),)),
    "resample.resample": Case(lambda x: torch.from_numpy(resample.resample(array(x), 8000, 6000)), (ANY,)),
    "resample.resample up": Case(lambda x: torch.from_numpy(resample.resample(array(x), 8000, 11025)), (ANY,)),
    "files.resample": Case(lambda x: files.resample(x, 8000, 6000), (ANY,)),
    "reverb.add_reverb": Case(reverb.add_reverb, (AUDIO, ("taps",)), hides=True),
    "reverb.TrainableReverb": Case(reverb.TrainableReverb(9), (AUDIO,)),
    "reverb.DecayReverb": Case(reverb.DecayReverb(9, 8000), (AUDIO,)),
    "spectral_envelope.SpectralEnvelope": Case(ENVELOPE, (("batch", 8, "frames"),)),
    "spectral_envelope.SpectralEnvelope.whiten": Case(ENVELOPE.whiten, (AUDIO, ("batch", 33, "frames")), 0.1),
    "spectral_envelope.SpectralEnvelope.colour": Case(ENVELOPE.colour, (AUDIO, ("batch", 33, "frames")), 0.1),
}  # fmt: skip
ELSEWHERE = {
    "checks": "raises these errors",
    "distances": "of evaluation, tested with it",
    "integrated_loudness": "of packing, tested with it",
    "coded_files": "bytes and files; `pack` is tested below",
    "folders": "folders",
    "files": "files, whose errors have tests of their own; `resample` is here",
    "pitch": "needs torchcrepe's network; what comes before it is tested below",
    "griffin_lim.FramedFourier": "the inside of `fast_griffin_lim`",
    "griffin_lim.griffin_lim_stages": "takes a transform",
    "griffin_lim.with_magnitude": "complex spectra, the inside of Griffin-Lim",
    "mel_consistency": "projections with tests of their own, of audio that fits its mel",
    "modified_stft": "stages of an iteration, whose pieces have tests of their own",
    "spsi": "the inside of mel inversion",
    "mel.mel_filters": "takes a preset, no tensor",
    "mel.preset": "takes a name",
    "pqmf.filters": "takes sizes, tested below",
    "pqmf.fixed": "takes a layer",
    "resample.resample_blocks": "blocks of files",
    "resample.resampled_length": "arithmetic of sizes",
    "resample.source_window": "arithmetic of sizes",
}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.bool,
          torch.complex64)  # fmt: skip


def test_every_public_function_has_a_case():
    public = set()
    for module in pkgutil.iter_modules(framework.audio.__path__):
        found = importlib.import_module(f"framework.audio.{module.name}")
        for name, value in vars(found).items():
            own = getattr(value, "__module__", "") == found.__name__
            if own and not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                public.add(f"{module.name}.{name}")
    tested = {name.partition(" ")[0] for name in CASES}
    tested |= {".".join(name.split(".")[:2]) for name in tested}
    missing = {name for name in public - tested if not {name, name.partition(".")[0]} & ELSEWHERE.keys()}
    assert not missing


@st.composite
def inputs(draw: st.DrawFn) -> tuple[str, list[Tensor], bool]:
    """Return a case, tensors for it, and whether all of them are what it takes."""
    name = draw(st.sampled_from(sorted(CASES)))
    case = CASES[name]
    sizes = {n: draw(st.sampled_from([0, 1, 2, 3, 6, 7, 24, 96])) for shape in case.shapes for n in shape if n != 1}
    sizes["batch"] = sizes.get("batch", 1) % 4
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    tensors, plain = [], True
    odd = draw(st.integers(-1, len(case.shapes) - 1))  # the tensor that is to be odd, -1 for none
    for number, shape in enumerate(case.shapes):
        lengths = [sizes.get(n, n) if isinstance(n, str) else n for n in shape]
        if number == odd:
            change = draw(st.sampled_from(["none", "none", "none", "scalar", "fewer", "more", "another size"]))
            lengths = {"scalar": [], "fewer": lengths[1:], "more": [2, *lengths]}.get(change, lengths)
            lengths = [n + (change == "another size") for n in lengths]
            plain = plain and change == "none"
        value = case.lowest + (case.highest - case.lowest) * torch.rand(lengths, generator=generator)
        value = value.round().long() if case.whole else value
        if number == odd and value.numel():
            special = draw(st.sampled_from([None, None, torch.nan, torch.inf, -torch.inf]))
            if special is not None:
                value = value.float()
                value.view(-1)[draw(st.integers(0, value.numel() - 1))] = special
            value = value.to(draw(st.sampled_from(DTYPES))) if special is None else value
        tensors.append(value)
    return name, tensors, plain


def outcome(case: Case, tensors: list[Tensor]) -> Tensor | None:
    """Return the result; None for an error that is a message to the user. All other errors are faults."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of infinite values
            torch.manual_seed(0)
            return case.call(*tensors)
    except (InvalidValueError, InvalidTypeError):
        return None


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(inputs())
def test_any_input_has_the_right_answer_or_a_message(drawn):
    name, tensors, plain = drawn
    case = CASES[name]
    found = outcome(case, tensors)
    if any(t.is_complex() for t in tensors):
        assert found is None, "imaginary parts are not dropped"
    if plain and case.elementwise and not case.whole and not any(t.is_complex() for t in tensors):
        assert found is not None or name == "mu_law.encode"
    if found is None or not found.numel():
        return
    if case.elementwise:
        assert found.shape == tensors[0].shape
    special = [t for t in tensors if t.is_floating_point() and not t.isfinite().all()]
    if not special:
        assert not found.is_floating_point() or found.isfinite().all()
    if any(t.isnan().any() for t in special) and not case.hides:
        assert found.isnan().any(), "NaN is not hidden"
    if not special and not case.whole:
        # The type of the input decides on the rounding alone.
        again = outcome(case, [t.float() for t in tensors])
        torch.testing.assert_close(found.double(), again.double(), atol=2e-3 * (1 + again.abs().max()), rtol=1e-2)


@pytest.mark.parametrize("name", sorted(n for n, c in CASES.items() if "batch" in c.shapes[0] and not c.elementwise))
def test_clips_of_a_batch_do_not_mix(name):
    case, sizes = (
        CASES[name],
        {"batch": 3, "time": 96, "frames": 6, "taps": 5, "channels": 2, "harmonics": 3, "bands": 9},
    )
    if "hann" in name or "Envelope." in name:
        sizes["frames"] = 7
    generator = torch.Generator().manual_seed(0)
    tensors = [
        case.lowest + (case.highest - case.lowest) * torch.rand([sizes.get(n, n) for n in s], generator=generator)
        for s in case.shapes
    ]
    whole = outcome(case, tensors)
    assert whole is not None, "this is what it takes"
    if "uniform" in name:
        return
    alone = outcome(case, [t[1:2] if s[0] == "batch" else t for t, s in zip(tensors, case.shapes, strict=True)])
    # The mel of all clips is inverted until the mean error is small.
    tolerance = 0.02 if name in ("griffin_lim.GriffinLim", "griffin_lim.invert_mel") else 1e-4
    torch.testing.assert_close(whole[1:2], alone, atol=tolerance * (1 + whole.abs().max()), rtol=1e-3)


def test_nan_has_no_level_and_nothing_cannot_be_resampled():
    with pytest.raises(InvalidValueError, match="NaN in 1 of 3 samples, which has no mu-law level"):
        mu_law.encode(torch.tensor([0.0, torch.nan, 1.0]))
    assert mu_law.encode(torch.tensor([torch.inf, -torch.inf])).tolist() == [255, 0]
    with pytest.raises(InvalidValueError, match="levels = 1: give 2 or more"):
        mu_law.encode(torch.zeros(3), levels=1)
    with pytest.raises(InvalidTypeError, match=r"levels of type torch\.float32"):
        mu_law.decode(torch.zeros(3))
    for rates in ((8000, 6000), (8000, 8000)):
        with pytest.raises(InvalidValueError, match=r"audio of shape \(1, 0\): give the shape \(\.\.\., time\)"):
            files.resample(torch.zeros(1, 0), *rates)
        with pytest.raises(InvalidValueError, match=r"audio of shape \(0,\)"):
            resample.resample(np.zeros(0), *rates)
    for rates in ((0, 8000), (8000, 0), (-1, 8000)):
        with pytest.raises(InvalidValueError, match="rate"):
            resample.resample(np.zeros(9), *rates)


def test_other_values_that_are_none_are_refused():
    with pytest.raises(InvalidValueError, match="'spline': give one of nearest, linear, hann, cubic"):
        envelopes.blend_weights("spline", torch.zeros(3))
    with pytest.raises(InvalidValueError, match="f0_interpolation 'cubic'"):
        oscillators.harmonic_oscillators(torch.ones(1, 2), torch.ones(1, 2, 3), 4, 8000, f0_interpolation="cubic")
    with pytest.raises(InvalidValueError, match="taps = 61: give an even number"):
        pqmf.filters(4, 61, 0.142, 9.0)
    with pytest.raises(InvalidValueError, match="frames = 0"):
        list(MELS.pieces(torch.zeros(1, 1, 99), 0))
    for codes in (np.array([[4]]), np.array([[-1]]), np.array([[1.0]])):
        with pytest.raises(coded_files.CodedFileError, match="from 0 to 3"):
            coded_files.pack(codes, 2)
    for audio in (torch.tensor([0.0, torch.nan]), torch.zeros(1, 5), torch.zeros(0)):
        with pytest.raises(InvalidValueError, match="audio"):
            pitch.pitch_values(audio, 8000)
