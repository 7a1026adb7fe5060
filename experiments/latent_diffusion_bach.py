"""Latent diffusion, small."""

from datamodules.bach_chorales import BachChorales
from framework.generators.latent.latent_diffusion import LatentDiffusion


class LatentDiffusionBach(LatentDiffusion):
    """Unconditional chorales by diffusion in the latents of the small autoencoder (`fit vae_bach` first)."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, segment=32768, batch_size=8, validation_clips=4)
    mel = "hifigan_22k"
    autoencoder = "vae_bach"
    channels = 96
    layers = 16
    cycle = 8
    learning_rate = 1e-3
    sampling_steps = 50
    ema_decay = 0.995
    max_steps = 3_000
    val_check_interval = 1_000
