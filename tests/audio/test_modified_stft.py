"""Modified short-time spectra in pieces, against PyTorch's transforms of the whole."""

import pytest
import torch
from torch import Tensor

from framework.audio.griffin_lim import griffin_lim_stages
from framework.audio.modified_stft import Estimate, ModifiedSTFT, Synthesis, Transform
from framework.errors import InvalidValueError

SIZES = [(64, 16, 32), (64, 16, 24), (60, 25, 30), (48, 20, 14)]
"""Window, hop and reflected samples."""


def cuts(total: int, seed: int) -> list[int]:
    """Return lengths of pieces that add up to the total, some of them 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    lengths: list[int] = []
    while sum(lengths) < total:
        upto = int(torch.tensor([1, 3, 40, 200])[torch.randint(4, (1,), generator=generator)])
        lengths.append(min(int(torch.randint(upto + 1, (1,), generator=generator)), total - sum(lengths)))
    return lengths


@pytest.mark.parametrize(("n_fft", "hop", "edge"), SIZES)
def test_spectra_that_are_not_modified_give_the_audio_again_however_it_is_cut(n_fft, hop, edge):
    audio = torch.randn(2, 30 * hop, dtype=torch.double)
    transform = Transform(torch.hann_window(n_fft, dtype=torch.double), hop, edge)
    for seed in range(5):
        stage, pieces = ModifiedSTFT(transform, lambda spectrum, frames: spectrum), audio.split(cuts(30 * hop, seed), 1)
        made = [stage(Estimate(piece), last=number == len(pieces) - 1).audio for number, piece in enumerate(pieces)]
        found = torch.cat(made, dim=1)
        covered = (found.shape[1] - n_fft + 2 * edge) // hop * hop + n_fft - 2 * edge
        assert found.shape[1] == covered >= 30 * hop - hop
        torch.testing.assert_close(found, audio[:, : found.shape[1]], atol=1e-12, rtol=0)


def literal(magnitude: Tensor, phase: Tensor, window: Tensor, hop: int, iterations: int, momentum: float) -> Tensor:
    """Return the audio of fast Griffin-Lim as it is written down (Perraudin et al., 2013, algorithm 2)."""
    n_fft = len(window)
    wanted, previous = torch.polar(magnitude, phase), torch.zeros((), dtype=torch.cdouble)
    for _ in range(iterations):
        audio = torch.istft(wanted, n_fft, hop, window=window)
        consistent = torch.stft(audio, n_fft, hop, window=window, return_complex=True)
        wanted = torch.polar(magnitude, (consistent + momentum * (consistent - previous)).angle())
        previous = consistent
    return torch.istft(wanted, n_fft, hop, window=window)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_in_pieces_is_the_literal_algorithm_on_the_whole(momentum):
    n_fft, hop, frames = 64, 16, 40
    window = torch.hann_window(n_fft, dtype=torch.double)
    magnitude = torch.rand(2, n_fft // 2 + 1, frames, dtype=torch.double) + 0.1
    phase = 2 * torch.pi * torch.rand_like(magnitude)
    transform = Transform(window, hop, n_fft // 2)
    synthesis, stages, audio = Synthesis(transform), griffin_lim_stages(transform, 5, momentum), []
    pieces = torch.polar(magnitude, phase).mT.split([1, 0, 2, 7, 13, 1, 16], dim=1)
    for number, spectrum in enumerate(pieces):
        last = number == len(pieces) - 1
        estimate = Estimate(synthesis(spectrum, last), magnitude=spectrum.abs())
        for stage in stages:
            estimate = stage(estimate, last)
        audio.append(estimate.audio)
    wanted = literal(magnitude, phase, window, hop, 5, momentum)
    torch.testing.assert_close(torch.cat(audio, dim=1), wanted, atol=1e-9, rtol=0)


def test_audio_that_is_too_short_to_be_reflected_is_refused():
    stage = ModifiedSTFT(Transform(torch.hann_window(64), 16, 32), lambda spectrum, frames: spectrum)
    stage(Estimate(torch.zeros(1, 20)), last=False)
    with pytest.raises(InvalidValueError, match=r"too few frames: the 32 samples .* there are 32"):
        stage(Estimate(torch.zeros(1, 12)), last=True)
