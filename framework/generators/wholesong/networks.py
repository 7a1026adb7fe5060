"""The denoising network of whole-song generation: a U-Net over pianoroll images (Wang et al., 2024, section 4.2)."""

import torch
from torch import Tensor, nn

from framework.generators.wholesong.unet import UNet


class SegmentEncoder(nn.Module):
    """Tokens of earlier segments of the song: the autoregressive condition (section 4.2).

    Args:
        channels: Number of channels of a whole image.
        time: Rows of the segments with their padding.
        pitch: Columns.
        rows: The rows of the image that become one token.
        width: The width of a token.
    """

    def __init__(self, channels: int, time: int, pitch: int, rows: int, width: int, hidden: int = 20) -> None:
        super().__init__()
        self.rows = rows
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.SiLU(),
            nn.LayerNorm([hidden, time, pitch]),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.SiLU(),
            nn.LayerNorm([hidden, time, pitch]),
            nn.Conv2d(hidden, 2, 3, padding=1),
        )
        self.squeeze = nn.Linear(2 * rows * pitch, width)
        self.pos_enc = nn.Embedding(time // rows, width)

    def forward(self, segments: Tensor) -> Tensor:
        """Encode `(batch, channels, time, pitch)` as `(batch, time / rows, width)`."""
        encoded = self.layers(segments).unflatten(2, (-1, self.rows)).transpose(1, 2)
        return self.squeeze(encoded.flatten(2)) + self.pos_enc.weight


class WholeSongNetwork(nn.Module):
    """The network of one level of the cascade: the U-Net, and the encoder of earlier segments if there is one.

    Args:
        unet: The U-Net.
        segments: The encoder of earlier segments; None for a level that is made in one piece.
        width: The width of the tokens that the U-Net attends to.
    """

    def __init__(self, unet: UNet, segments: SegmentEncoder | None, width: int) -> None:
        super().__init__()
        self.eps_model, self.autoreg_cond_enc, self.width = unet, segments, width

    def forward(
        self, noisy: Tensor, timesteps: Tensor, background: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """Predict of a noisy image what the objective asks for.

        Args:
            noisy: `(batch, outputs, time, pitch)`.
            timesteps: `(batch,)`.
            background: What the levels above say, of the same size; -1 throughout where it is to be unknown.
            segments: Earlier segments with their backgrounds `(batch, channels, time, pitch)`; -1 where there is none.
                None altogether is one token of -1.
        """
        if segments is None or self.autoreg_cond_enc is None:
            tokens = noisy.new_full((len(noisy), 1, self.width), -1.0)
        else:
            tokens = self.autoreg_cond_enc(segments)
        image = noisy if background is None else torch.cat([noisy, background], dim=1)
        return self.eps_model(image, timesteps, tokens)

    def official_names(self, name: str) -> str:
        """Return our name of an official one, of a checkpoint of any age; empty for schedules and frozen encoders."""
        name = name.removeprefix("ldm.").replace("style_enc.", "external_cond_enc.")
        if name.startswith("cond_enc."):
            name = f"autoreg_{name}"
        known = ("eps_model.", "autoreg_cond_enc.")
        return name if name.startswith(known) else ""
