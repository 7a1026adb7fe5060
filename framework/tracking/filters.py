"""Pictures of the filters that first layers have learnt, and of their peak frequencies."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from framework.evaluation.filters import FilterBank, mel_spaced
from framework.tracking.media import drawn

SIZE = (1500, 500)
"""Width and height of a picture (pixels)."""
RANGE = 40.0
"""Range of the responses' colours (dB)."""


def filter_picture(bank: FilterBank) -> Image.Image:
    """Draw a layer's filters by ascending peak frequency, each scaled to its own peak.

    Returns:
        An RGB picture of `SIZE`: the impulse responses, the magnitude responses (dB re each filter's peak), and the
        peak frequencies next to the same number of frequencies evenly spaced on the mel scale.
    """
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    waves, spectra, peaks = figure.subplots(1, 3)
    filters, taps = bank.kernels.shape
    mel = mel_spaced(filters, bank.sample_rate)
    rows, half = range(filters), bank.sample_rate / 2

    scaled = bank.kernels / bank.kernels.abs().amax(1, keepdim=True).clamp(min=1e-12)
    extent = (0, 1000 * taps / bank.sample_rate, -0.5, filters - 0.5)
    shown = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    waves.imshow(scaled.numpy(), "RdBu_r", vmin=-1, vmax=1, extent=extent, **shown)
    waves.set(title="filters", xlabel="time (ms)", ylabel="filter, by peak frequency")

    level = bank.responses / bank.responses.amax(1, keepdim=True).clamp(min=1e-12)
    decibels = 20 * level.clamp(min=1e-6).log10()
    image = spectra.imshow(
        decibels.numpy(), "magma", vmin=-RANGE, vmax=0, extent=(0, half, -0.5, filters - 0.5), **shown
    )
    spectra.plot(mel.numpy(), rows, color="cyan", linewidth=1)
    spectra.set(title="magnitude responses", xlabel="frequency (Hz)", xlim=(0, half))
    spectra.locator_params(axis="x", nbins=6)
    figure.colorbar(image, ax=spectra, label="dB")

    peaks.plot(rows, bank.peaks.numpy(), ".", label="learnt")
    peaks.plot(rows, mel.numpy(), color="tab:cyan", label="mel scale")
    peaks.plot([0, max(filters - 1, 1)], [0, half], ":", color="grey", label="linear")
    peaks.set(title="peak frequencies", xlabel="filter", ylabel="frequency (Hz)", ylim=(0, half))
    peaks.legend()
    figure.suptitle(f"{bank.name}: {filters} filters of {taps} samples at {bank.sample_rate:,.0f} Hz", fontsize=11)
    return drawn(canvas)
