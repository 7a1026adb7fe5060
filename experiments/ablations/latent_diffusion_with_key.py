from experiments.latent_diffusion_bach import LatentDiffusionBach


class WithKey(LatentDiffusionBach):
    """The small latent diffusion told the key: 0 to 11 is C major to B major, 12 to 23 C minor to B minor."""

    data = LatentDiffusionBach.data.variant(labels=("tonality",))
    label = "tonality"
    num_classes = 24
