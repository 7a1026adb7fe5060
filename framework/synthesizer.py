"""What generates audio: a mel front end and a generator, as a plain torch module without any part of the training.

A release is opened as a `Synthesizer` by torch alone; `framework.paradigms.system.System` adds the training recipe.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from framework.audio.files import load_audio, save_audio
from framework.audio.mel import MelSpectrogram, preset
from framework.errors import InvalidTypeError, InvalidValueError
from framework.hyperparameters import Hyperparameters
from framework.inference.channels_last import can_stream, generate_fast
from framework.inference.layers import remove_weight_norm
from framework.pickling import ClassReference

LONG = 30.0
"""Duration (s) above which a recording is generated piece by piece, if the network can."""


class Synthesizer(Hyperparameters, nn.Module):
    """A mel front end and a generator of examples: audio, unless a subclass overrides `example` and `render`.

    Args:
        mel: Name of the mel front end (see `framework/audio/mel.py`). It computes the mels of systems that are
            conditioned on them, and the pictures and metrics of all systems.
    """

    reconstructs_input: ClassVar[bool] = True
    """Whether the output reconstructs the input clip. If False, sample-wise distances are not reported."""
    not_in_identity: ClassVar[tuple[str, ...]] = ("reconstructs_input",)
    is_for_synthesis: ClassVar[bool] = False
    """Whether the instance was built by `for_synthesis`, without what only training needs."""

    mel: str = "hifigan_22k"

    @classmethod
    def for_synthesis(cls, **values: Any) -> Self:
        """Return an instance without what only training needs, in evaluation, with folded weight normalisation.

        Args:
            values: Hyperparameters.
        """
        made = cls.__new__(cls)
        vars(made)["is_for_synthesis"] = True
        made.__init__(**values)  # type: ignore[misc]
        remove_weight_norm(made.generator)
        return made.eval().requires_grad_(False)

    # What a subclass defines

    def build(self) -> None:
        """Build the front end and the generator.

        Raises:
            ValueError: the generator has another hop length than the front end.
        """
        self.preset = preset(self.mel)
        self.front_end = MelSpectrogram(self.preset)
        self.generator = self.build_generator()
        hop = getattr(self.generator, "hop_length", self.preset.hop_length)
        if hop != self.preset.hop_length:
            raise InvalidValueError(
                f"hop length mismatch: the generator makes {hop} samples per frame, the mel front end {self.mel} has "
                f"{self.preset.hop_length}; change the upsampling rates or --model.mel"
            )

    def build_generator(self) -> nn.Module:
        """Return the network that is trained: conditioning -> audio `(batch, 1, time)`."""
        raise NotImplementedError(f"{type(self).__name__} has no build_generator()")

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the training examples of a batch, by default its audio `(batch, 1, time)`."""
        return batch["audio"]

    def condition(self, batch: dict[str, Any]) -> Any:
        """Return the generator's input, by default the log-mel `(batch, mels, frames)` of the audio."""
        return self.front_end(batch["audio"])

    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Generate examples for a batch."""
        batch, network = self.pad_to_hop(batch), self.network
        is_plain = type(self).condition is Synthesizer.condition
        if can_stream(network) and is_plain and batch["audio"].shape[-1] > LONG * self.preset.sample_rate:
            return torch.cat(list(network.stream(self.front_end.pieces(batch["audio"]))), dim=-1)
        return generate_fast(network, self.eval_generator, self.condition(batch))

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of examples."""
        return example

    # Synthesis

    @torch.no_grad()
    def synthesize(self, batch: Any) -> Tensor:
        """Generate audio `(batch, 1, time)`, of the length of the batch's audio if it has any.

        Args:
            batch: A batch of a data module, or a recording as `batch_of` takes it.
        """
        batch = batch if isinstance(batch, Mapping) else self.batch_of(batch)
        return self.cut(self.render(self.generate(batch), batch), batch)

    def forward(self, batch: Any) -> Tensor:
        """Generate audio `(batch, 1, time)`; see `synthesize`."""
        return self.synthesize(batch)

    def batch_of(self, source: Any) -> dict[str, Any]:
        """Return a batch for a recording, with everything that `condition` requires.

        Args:
            source: An audio file, which is resampled; or audio `(time,)`, `(1, time)` or `(1, 1, time)` at the system's
                sample rate, as a tensor or an array.

        Raises:
            InvalidTypeError: `source` is something else.
            InvalidValueError: the audio has another shape, or the system takes no recording.
        """
        if isinstance(source, (str, Path)):
            audio = load_audio(source, self.preset.sample_rate)
        elif isinstance(source, (Tensor, np.ndarray)):
            audio = torch.as_tensor(source, dtype=torch.float32)
        else:
            raise InvalidTypeError(f"a {type(source).__name__} is not audio: pass a path, a tensor or an array")
        while 0 < audio.dim() < 3:
            audio = audio[None]
        if audio.dim() != 3 or audio.shape[:2] != (1, 1) or not audio.shape[-1]:
            raise InvalidValueError(
                f"audio (time,), (1, time) or (1, 1, time) is wanted, not {tuple(audio.shape)}: average the channels, "
                "and pass one recording at a time"
            )
        device: Any = self.device
        batch = self.batch_from_audio(audio.to(device))
        if "audio" not in batch:
            raise InvalidValueError(
                f"{type(self).__name__} generates audio of its own and takes no recording: pass a batch of its data"
            )
        return batch

    @torch.no_grad()
    def reference(self, batch: dict[str, Any]) -> Tensor:
        """Return the reference audio `(batch, 1, time)` of a batch, rendered from its examples if it has no audio."""
        return batch["audio"] if "audio" in batch else self.render(self.example(batch), batch)

    def write(self, batch: dict[str, Any], path: Path) -> None:
        """Generate audio for a batch of one and write it to a file. Systems may write further files next to it."""
        save_audio(path, self.synthesize(batch)[0], self.preset.sample_rate)

    def pad_to_hop(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pad the audio of a batch, if it has any, to a multiple of the mel's hop length."""
        if "audio" not in batch:
            return batch
        missing = -batch["audio"].shape[-1] % self.preset.hop_length
        return batch | {"audio": nn.functional.pad(batch["audio"], (0, missing))}

    def cut(self, audio: Tensor, batch: dict[str, Any]) -> Tensor:
        """Cut audio to the length of the batch's audio and convert it to float32."""
        return (audio[..., : batch["audio"].shape[-1]] if "audio" in batch else audio).float()

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a batch for a recording `(1, 1, time)`, with everything that `condition` requires."""
        return {"audio": audio}

    # The network

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to train."""
        return any(True for _ in self.generator.parameters())

    @property
    def eval_generator(self) -> nn.Module:
        """The generator of validation and synthesis."""
        return self.generator

    @property
    def network(self) -> Any:
        """`eval_generator` without a wrapper, for its attributes."""
        return self.generator

    def __str__(self) -> str:
        """Return the networks, as PyTorch does."""
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the class, the hyperparameters and the weights: PyTorch pickles no normalised weights."""
        is_folded = not any(is_parametrized(module, "weight") for module in self.network.modules())
        flags = {"is_folded": is_folded, "is_for_synthesis": self.is_for_synthesis, "is_training": self.training}
        values: Any = self.hparams
        return rebuilt, (ClassReference.of(type(self)), dict(values), self.state_dict(), flags, self.further_state())

    def further_state(self) -> dict[str, Any]:
        """Return attributes that are neither hyperparameters nor weights and that a copy by pickle has, too."""
        return {}


def rebuilt(
    reference: ClassReference,
    values: dict[str, Any],
    weights: Mapping[str, Tensor],
    flags: Mapping[str, bool],
    attributes: Mapping[str, Any],
) -> Any:
    """Return what was pickled: an instance of the same class with the same hyperparameters and weights."""
    cls = reference.resolve()
    made = cls.for_synthesis(**values) if flags["is_for_synthesis"] else cls(**values)
    if flags["is_folded"]:
        remove_weight_norm(made.network)
    made.load_state_dict(weights)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made.train(flags["is_training"])
