"""WaveNet: audio one sample after the other (van den Oord et al., 2016), of its own accord or after a mel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.annotations import Depth, NonNegativeInt, PositiveFloat, PositiveInt
from framework.data_module import DataModule, FromData
from framework.generators.wavenet.network import WaveNetNetwork
from framework.generators.wavenet.sampling import sample
from framework.hyperparameters import runtime
from framework.losses.likelihood import Distribution, MuLawSoftmax
from framework.paradigms.autoregressive import Autoregressive
from framework.paradigms.labels import classes_from_data, labels_of
from framework.progress import Progress


class WaveNet(Autoregressive):
    """WaveNet (van den Oord et al., 2016): unconditional, or conditioned on a label such as the instrument.

    The paper gives neither widths nor learning rate nor batch; the defaults are those of common implementations.
    `build_distribution` chooses what is predicted: the paper's softmax over 256 levels of mu-law audio, or another.

    Args:
        layers: Dilated layers.
        cycle: Layers after which the dilation, doubled from each to the next, begins at 1 again.
        kernel: Kernel size of the dilated convolutions.
        residual_channels: Width of the path from layer to layer.
        gate_channels: Width of the dilated convolutions' output, filter and gate together.
        skip_channels: Width of the skip paths; 0 for none, so that the last layer alone leads to the output.
        gated: Gated units; without, ReLU.
        scaled: Keep the variance where residual and skip paths are summed (r9y9/wavenet_vocoder).
        normed: Weight normalisation (r9y9/wavenet_vocoder).
        upsample_scales: Factors of the learned upsampling of a mel, whose product is its hop length; none leaves the
            network without a mel.
        context: Frames of the mel on each side that condition a sample beside its own.
        mel_mean: What is taken off the mel before the network.
        mel_std: What it is then divided by, to be of the size of the audio: else it is hardly noticed.
        label: Name in the batch of the label that conditions globally, as `instrument`; empty for none.
        num_classes: Number of classes of the label.
        label_channels: Width of a label's embedding.
        synthesized_label: The label of what is sampled without a recording.
    """

    layers: Depth = 30
    cycle: PositiveInt = 10
    kernel: PositiveInt = 2
    residual_channels: PositiveInt = 64
    gate_channels: PositiveInt = 128
    skip_channels: NonNegativeInt = 256
    gated: bool = True
    scaled: bool = False
    normed: bool = False
    upsample_scales: tuple[PositiveInt, ...] = ()
    context: NonNegativeInt = 2
    mel_mean: float = 0.0
    mel_std: PositiveFloat = 1.0
    label: str = ""
    num_classes: NonNegativeInt = 0
    label_channels: PositiveInt = 16
    synthesized_label: NonNegativeInt = runtime(0)

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the number of classes of the label."""
        return super().values_from_data(data, values) | classes_from_data(data, values)

    def build_distribution(self) -> Distribution:
        return MuLawSoftmax()

    def build_generator(self) -> WaveNetNetwork:
        return WaveNetNetwork(
            self.distribution.in_channels,
            self.distribution.parameters,
            tuple(2 ** (layer % self.cycle) for layer in range(self.layers)),
            self.kernel,
            self.residual_channels,
            self.gate_channels,
            self.skip_channels,
            self.preset.n_mels if self.upsample_scales else 0,
            self.upsample_scales,
            self.context,
            self.num_classes if self.label else 0,
            self.label_channels,
            self.scaled,
            self.normed,
            self.gated,
        )

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the mel, its edges repeated beyond both ends, and the labels, as far as the network has use for them.

        Raises:
            ValueError: a label that the network does not have.
        """
        condition = {}
        if self.upsample_scales:
            audio, hop = batch["audio"], self.preset.hop_length
            mel = self.front_end(pad(audio, (0, -audio.shape[-1] % hop)))[..., : -(-audio.shape[-1] // hop)]
            condition["mel"] = self.prepared(mel)
        if self.label:
            condition["labels"] = labels_of(batch, self.label, self.num_classes)
        return condition

    def prepared(self, mel: Tensor) -> Tensor:
        """Return a log-mel `(batch, mels, frames)` as the network takes it: normalised, with `context` at both ends."""
        return pad((mel - self.mel_mean) / self.mel_std, (self.context, self.context), mode="replicate")

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch, with the label `synthesized_label`."""
        batch = super().batch_from_audio(audio)
        if self.label:
            batch[self.label] = torch.tensor([self.synthesized_label], device=audio.device)
        return batch

    def sample(self, uniforms: Tensor, **condition: Any) -> Tensor:
        with Progress("sampling", uniforms.shape[-1], "samples") as shown:
            return sample(
                self.network,
                self.distribution,
                uniforms,
                **condition,
                temperature=self.temperature,
                progress=shown.reach,
            )


class WaveNetVocoder(WaveNet):
    """WaveNet conditioned on mel spectrograms, by the recipe of r9y9/wavenet_vocoder: what TTS papers compare with.

    There, mels are standardised band by band over the corpus; here all bands by the same two numbers.
    """

    reconstructs_input: ClassVar[bool] = True

    mel = "wavenet_22k"
    layers = 24
    cycle = 6
    kernel = 3
    residual_channels = 128
    gate_channels = 256
    skip_channels = 128
    scaled = True
    normed = True
    upsample_scales = (4, 4, 4, 4)
    mel_mean = -2.2
    mel_std = 1.1
    pre_emphasis = 0.85
    gain = 0.55
    learning_rate_decay = 0.5
    decay_steps = 200_000
    ema_decay = 0.9999
