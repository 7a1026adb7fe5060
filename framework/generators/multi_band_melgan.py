"""Multi-band MelGAN: the samples of several sub-bands at once, at a fraction of the rate (Yang et al., 2021)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from framework.annotations import Depth, NonEmpty, NonNegativeFloat, PositiveInt
from framework.audio.pqmf import TAPS, SubBandAnalysis, SubBandSynthesis
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_scale import MelGANDiscriminator
from framework.generators.melgan import MelGANGenerator
from framework.inference.incremental import Chain, Incremental, incremental
from framework.inference.layers import Upsampling, receptive_field
from framework.losses.adversarial import AdversarialLoss, LeastSquares
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.adversarial import Adversarial
from framework.paradigms.system import Losses

BANDS = 4


class MultiBandMelGANGenerator(MelGANGenerator):
    """Generator (section 2.2): log-mel `(batch, mels, frames)` -> audio `(batch, 1, frames * hop)`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width of the last stage; each stage before it is twice as wide.
        upsample_rates: Factor of each stage; their product, four times, is the hop length.
        residual_blocks: Residual blocks of a stage, with dilations 1, 3, 9, ...
    """

    def __init__(
        self,
        n_mels: int = 80,
        channels: int = 48,
        upsample_rates: Sequence[int] = (8, 4, 2),
        residual_blocks: int = 4,
    ) -> None:
        super().__init__(n_mels, channels, upsample_rates, residual_blocks, outputs=BANDS)
        self.synthesis = SubBandSynthesis(BANDS)
        self.hop_length *= BANDS
        *earlier, last = self.stages
        last = last._replace(reach=last.reach + 3)
        self.receptive_field = receptive_field(3, [*earlier, last, Upsampling(BANDS, TAPS + 1, TAPS // 2, 0)], 0)

    def forward(self, mel: Tensor) -> Tensor:
        """Generate audio of a log-mel."""
        return self.synthesis(self.model(mel))

    def incremental(self) -> Incremental:
        """Return the network for input in pieces."""
        return Chain(incremental(self.model), incremental(self.synthesis))

    def official_names(self, name: str) -> str:
        """Translate a name of ParallelWaveGAN's state dict to one of this network."""
        return name.replace("melgan.", "model.").replace(".stack.", ".block.").replace("skip_layer", "shortcut")


class MultiBandMelGAN(Adversarial):
    """Multi-band MelGAN vocoder (Yang et al., 2021), by ParallelWaveGAN's recipe, with mels as HiFi-GAN has them.

    Args:
        channels: Width of the last upsampling stage; each stage before it is twice as wide.
        upsample_rates: Factor of each stage; their product, four times, is the mel's hop length.
        residual_blocks: Residual blocks of a stage, with dilations 1, 3, 9, ...
        scales: Sub-discriminators, each on audio at half the rate of the one before.
        stft_weight: Weight of the multi-resolution STFT loss of the audio (equation 9).
        sub_band_stft_weight: Weight of that of the sub-bands.
        multi_scale_weight: Weight of the multi-scale discriminator's losses: the mean over its scales.
    """

    learning_rate = 1e-3
    betas = (0.9, 0.999)
    weight_decay = 0.0
    learning_rate_decay = 0.5
    decay_steps = 100_000
    adversarial_start = 200_000
    adversarial_weight = 2.5
    feature_matching_weight = 0.0
    channels: PositiveInt = 48
    upsample_rates: NonEmpty[PositiveInt] = (8, 4, 2)
    residual_blocks: Depth = 4
    scales: Depth = 3
    stft_weight: NonNegativeFloat = 0.5
    sub_band_stft_weight: NonNegativeFloat = 0.5
    multi_scale_weight: NonNegativeFloat = 1 / 3

    def build(self) -> None:
        """Make the networks and the losses, those of sub-bands too."""
        super().build()
        self.analysis = SubBandAnalysis(BANDS)
        # ParallelWaveGAN's transforms, where they are of odd length one longer.
        self.sub_band_stft = MultiResolutionSTFTLoss(((384, 30, 150), (684, 60, 300), (172, 10, 60)))

    def build_generator(self) -> MultiBandMelGANGenerator:
        return MultiBandMelGANGenerator(self.preset.n_mels, self.channels, self.upsample_rates, self.residual_blocks)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_scale": MelGANDiscriminator(self.scales)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return LeastSquares()

    def build_losses(self) -> dict[str, nn.Module]:
        return {"stft": MultiResolutionSTFTLoss()}

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Losses]:
        """Return the audio, and the distance of its sub-bands, which the network makes, from the real ones."""
        generator: Any = self.generator
        bands = generator.model(self.condition(batch))
        return generator.synthesis(bands), {"sub_band_stft": self.sub_band_stft(bands, self.analysis(batch["audio"]))}
