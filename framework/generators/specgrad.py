"""SpecGrad: DiffWave whose noise has the spectral envelope of the audio that is wanted (Koizumi et al., 2022)."""

from typing import Any

from torch import Tensor

from framework.annotations import PositiveFloat
from framework.audio.spectral_envelope import SpectralEnvelope
from framework.generators.diffwave import DiffWave


class SpecGrad(DiffWave):
    """Diffusion that starts from noise of the mel's own envelope (Koizumi et al., 2022, section 3).

    With the noise filtered by L and the loss by its inverse (equation 13), the process is one with white noise on audio
    that the inverse has whitened. So it is done here: the examples are whitened, what is generated is coloured. The
    envelope is the mel's, a little smoothed, without phase; the paper's has 24 cepstral coefficients and minimum phase.

    Args:
        std: Factor by which whitened audio is divided, to have about the variance of the noise.
    """

    clip_sample = "nothing"
    std: PositiveFloat = 2.0

    def build(self) -> None:
        """Make the filter and the network."""
        super().build()
        self.envelope = SpectralEnvelope(self.preset)

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the audio whitened `(batch, 1, time)`."""
        envelope = self.envelope(self.front_end(batch["audio"]))
        return self.envelope.whiten(batch["audio"], envelope) / self.std

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return an example `(batch, 1, time)` in the colours of the batch's mel."""
        audio = self.pad_to_hop(batch)["audio"]
        return self.envelope.colour(example * self.std, self.envelope(self.front_end(audio)))
