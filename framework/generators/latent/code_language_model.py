"""A language model over a codec's codes: music as text of several codebooks (AudioLM; MusicGen: Copet et al., 2023)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from framework.annotations import Depth, NonNegativeFloat, NonNegativeInt, PositiveInt, Range
from framework.data_module import DataModule, FromData, data_module_of
from framework.errors import InvalidValueError, OstinatoError
from framework.generators.latent.code_transformer import Cache, CodeTransformer, chosen, delayed, undelayed
from framework.generators.latent.pretrained import (
    NotTrainedError,
    Pretrained,
    check_rate,
    check_same,
    check_score,
    score_of,
)
from framework.hyperparameters import runtime
from framework.paradigms.labels import classes_from_data, labels_of
from framework.paradigms.system import Losses, System
from framework.progress import progress


class PromptError(OstinatoError, ValueError):
    """A prompt that cannot be continued; the message says why."""


class CodeLanguageModel(System):
    """Audio of its own, or the continuation of a recording's beginning, code by code in the delay pattern.

    The monitored metric is `bits_per_code` of held-out clips: the information in each code given those before it, of
    pieces as long as the context. `perplexity` is 2 to that.

    Args:
        autoencoder: The codec's run, a checkpoint, or its experiment's name for the run that was trained last.
        n_codebooks: Codebooks that are modelled, of the first ones; 0 for all.
        channels: Width of the transformer.
        layers: Its layers.
        heads: Number of heads of its attention.
        context: Most steps that it sees.
        label: Name in the batch of the label that conditions, as `instrument`; empty for none.
        num_classes: Number of classes of the label.
        scored: Whether each frame is given the notes that sound in it, the data's `score`; none where there is no such.
        synthesized_label: The label of what is generated without a recording.
        temperature: 1 draws as learnt, 0 takes the likeliest codes.
        top_k: Only the likeliest so many codes are drawn from; 0 for all.
        top_p: Nucleus sampling: only the most likely codes that together have this probability are sampled.
        prompt_seconds: How much of a recording is kept, to be continued.
    """

    monitor: ClassVar[str] = "validation/bits_per_code"
    reconstructs_input: ClassVar[bool] = False

    learning_rate = 1e-3
    betas = (0.9, 0.95)
    weight_decay = 0.1
    gradient_clip = 1.0
    schedule = "cosine"
    warmup_steps = 100
    autoencoder: str = runtime("")
    n_codebooks: NonNegativeInt = 0
    channels: PositiveInt = 256
    layers: Depth = 6
    heads: PositiveInt = 4
    context: PositiveInt = 512
    label: str = ""
    num_classes: NonNegativeInt = 0
    scored: bool = False
    synthesized_label: NonNegativeInt = runtime(0)
    temperature: NonNegativeFloat = runtime(1.0)
    top_k: NonNegativeInt = runtime(0)
    top_p: Annotated[float, Range(above=0, most=1)] = runtime(1.0)
    prompt_seconds: NonNegativeFloat = runtime(0.0)

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the number of classes of the label."""
        return super().values_from_data(data, values) | classes_from_data(data, values)

    def build(self) -> None:
        """Load the codec and make the transformer.

        Raises:
            NotTrainedError: there is no such codec.
            ValueError: sampling settings, a number of codebooks, or a shape of the transformer that there are not.
        """
        self.codec = Pretrained(self.autoencoder)
        if not self.codec.network.discrete:
            raise NotTrainedError(f"{self.codec.source} has latents, not codes: name a run of a codec, as codec_bach")
        quantiser = self.codec.network.quantiser
        if not 0 <= self.n_codebooks <= len(quantiser.layers):
            raise InvalidValueError(
                f"n_codebooks = {self.n_codebooks}: {self.codec.source} has {len(quantiser.layers)} codebooks"
            )
        if not self.temperature >= 0 or not 0 < self.top_p <= 1 or not 0 <= self.top_k <= quantiser.size:
            raise InvalidValueError(
                f"temperature = {self.temperature:g}, top_k = {self.top_k}, top_p = {self.top_p:g}: at least 0, "
                f"at most {quantiser.size}, and above 0 up to 1"
            )
        if not self.prompt_seconds >= 0:
            raise InvalidValueError(f"prompt_seconds = {self.prompt_seconds:g}: no less than 0 can be kept")
        books = self.n_codebooks or len(quantiser.layers)
        if self.context <= books:
            raise InvalidValueError(f"context = {self.context}: {books} codebooks, each a step later, need more steps")
        if self.channels % (2 * self.heads):
            raise InvalidValueError(f"channels = {self.channels} is not a multiple of twice the {self.heads} heads")
        self.codec.network.n_codebooks = books
        super().build()
        check_rate(self.codec, self.preset.sample_rate)

    def build_generator(self) -> CodeTransformer:
        codec, classes = self.codec.network, self.num_classes if self.label else 0
        shape = self.channels, self.layers, self.heads, self.context
        return CodeTransformer(codec.n_codebooks, codec.quantiser.size, *shape, classes, self.scored)

    def relies_on(self) -> tuple[type, ...]:
        """Return the autoencoder's class."""
        return (type(self.codec.system),)

    def resolved(self) -> dict[str, Any]:
        """Return all that can change a result: the codec is among it by what it is, not by where."""
        return super().resolved() | {"autoencoder": self.codec.fingerprint}

    def setup(self, stage: str) -> None:
        """Refuse segments of more steps than the context, and a score at another rate than the codes.

        Raises:
            ValueError: naming the longest segment, or the `score_hop` that the codes have.
        """
        super().setup(stage)
        frame, books = self.codec.network.samples_per_frame, self.codec.network.n_codebooks
        longest = (self.context - books + 1) * frame
        if (data := data_module_of(self.trainer)) is None:
            return
        if stage == "fit" and data.segment > longest:
            raise InvalidValueError(
                f"a segment of {data.segment} samples is longer than the context: set --data.segment {longest}"
            )
        if self.scored:
            check_score(self.codec, data)

    @torch.no_grad()
    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the codes `(batch, books, frames)` of the batch's audio."""
        return self.codec.network.encode(batch["audio"])

    @torch.no_grad()
    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of codes."""
        return self.codec.network.decode(example)

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the labels `(batch,)` and the score `(batch, 128, frames)`, if the transformer takes them.

        Raises:
            ValueError: a label that it does not have.
        """
        found: dict[str, Tensor] = {}
        if self.scored:
            found["score"] = score_of(batch, self.codec.network.samples_per_frame)
        if self.label:
            found["labels"] = labels_of(batch, self.label, self.num_classes)
        return found

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch, with the label `synthesized_label`."""
        label = {self.label: torch.tensor([self.synthesized_label], device=audio.device)} if self.label else {}
        return super().batch_from_audio(audio) | label

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the negative log-likelihood of a code in nats."""
        return {"nll": self.nll(self.generator, self.example(batch), self.condition(batch))}

    def nll(self, network: Any, codes: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Return the mean -ln P of codes `(batch, books, frames)`, given those before in the delay pattern."""
        none = self.codec.network.quantiser.size
        tokens = delayed(codes, none)
        inputs = pad(tokens, (1, 0), value=none)[..., :-1]
        logits = network(inputs, **of_steps(condition, 0, inputs.shape[-1])).float()
        return cross_entropy(logits.transpose(1, 2), tokens, ignore_index=none)

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return `bits_per_code` and `perplexity` of a held-out clip, in pieces as long as the context."""
        codes, condition = self.example(batch), self.condition(batch)
        frames = self.context - codes.shape[1] + 1
        total = codes.new_zeros((), dtype=torch.float)
        for start, piece in zip(range(0, codes.shape[-1], frames), codes.split(frames, dim=-1), strict=True):
            known = of_steps(condition, start, start + piece.shape[-1])
            total = total + self.nll(self.network, piece, known) * piece.shape[-1]
        bits = total / codes.shape[-1] / math.log(2)
        return {"bits_per_code": bits, "perplexity": 2**bits}

    @torch.no_grad()
    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return codes as long as the batch's audio, the first `prompt_seconds` of them the recording's own.

        Raises:
            PromptError: the prompt leaves nothing to generate, or is longer than the context.
        """
        codec, audio = self.codec.network, batch["audio"]
        frames = math.ceil(audio.shape[-1] / codec.samples_per_frame)
        kept = round(self.prompt_seconds * self.preset.sample_rate / codec.samples_per_frame)
        if kept and kept >= frames:
            raise PromptError(f"a prompt of {kept} frames leaves nothing of {frames} to generate: shorten it")
        if kept > self.context - codec.n_codebooks:
            raise PromptError(f"a prompt of {kept} frames is longer than the context of {self.context} steps")
        prompt = self.example(batch)[..., :kept]
        return self.sample(prompt, frames, self.condition(batch))

    def sample(self, prompt: Tensor, frames: int, condition: dict[str, Tensor]) -> Tensor:
        """Return codes `(batch, books, frames)` that continue a prompt `(batch, books, kept)`.

        Where the context is full, its second half becomes the first.
        """
        network, kept = self.network, prompt.shape[-1]
        none = self.codec.network.quantiser.size
        known = delayed(pad(prompt, (0, frames - kept), value=-1), none)
        tokens = pad(known, (1, 0), value=none)
        cache, fed = Cache(self.layers), 0
        for step in progress(range(kept + 1, tokens.shape[-1]), "sampling codes", unit="frames"):
            if cache.steps + step - fed > self.context:
                cache, fed = Cache(self.layers), step - self.context // 2
            logits = network(tokens[..., fed:step], **of_steps(condition, fed, step), cache=cache)[..., -1]
            fed, wanted = step, tokens[..., step] < 0
            drawn = chosen(logits, self.temperature, self.top_k, self.top_p)
            tokens[..., step] = torch.where(wanted, drawn, tokens[..., step])
        return undelayed(tokens[..., 1:])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that were trained on another codec's codes."""
        super().on_load_checkpoint(checkpoint)
        check_same(self.codec, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep which codec it was."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["autoencoder"] = self.codec.fingerprint


def of_steps(condition: dict[str, Tensor], start: int, end: int) -> dict[str, Tensor]:
    """Return what steps from one to another are given; behind the last frame nothing sounds."""
    if "score" not in condition:
        return condition
    score = condition["score"][..., start:end]
    return condition | {"score": pad(score, (0, end - start - score.shape[-1]))}
