"""Latent diffusion that plays a score."""

from experiments.latent_diffusion_bach import LatentDiffusionBach


class LatentDiffusionScore(LatentDiffusionBach):
    """Latents of the small autoencoder, out of noise, that play the notes they are given (`fit vae_bach` first)."""

    data = LatentDiffusionBach.data.variant(score_hop=256)
    scored = True
