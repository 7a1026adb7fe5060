"""The contract between data modules and everything that uses them: systems, runs, evaluations and commands.

    class Recordings(Hyperparameters, DataModule):
        sample_rate: int = 22050
        batch_size: int = 16

        steps_per_epoch = ...                # batches in an epoch
        def fingerprint(self): ...           # a hash of all clips
        def train_dataloader(self): ...      # batches from `self.position` on
        def held_out(self, split, clips=None): ...

A system is trained on any LightningDataModule or DataLoader. What has this contract can also be resumed exactly, named
in a run's identity, evaluated clip by clip, and can give a system its shape.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from framework.errors import InvalidValueError
from framework.lightning import LightningDataModule

Position = tuple[int, int]
"""Epoch, and step within the epoch."""
Batch = dict[str, Any]
"""Tensors with the batch as their first dimension, and `key`: the names of the clips."""


class HeldOutClips(Protocol):
    """Held-out clips as batches of one, the same in every iteration.

    A batch has what a training batch has, `key` (a list of one name, which no other clip has) and, where the data say
    so, `recording` (a list of the name of the recording, piece or speaker that the clip is a part of: clips of one
    recording are not independent).
    """

    def __len__(self) -> int:
        """Return the number of clips."""

    def __iter__(self) -> Any:
        """Yield a batch of each clip."""


class DataModule(LightningDataModule):
    """Base class of all data modules: batches in an order that is a function of the data, the seed and the position.

    A subclass sets `sample_rate`, `segment`, `batch_size` and `seed` as hyperparameters or constants, and defines
    `steps_per_epoch`, `fingerprint`, `order`, `train_dataloader` and `held_out`. The position, and saving and
    restoring it, are here.

    Attributes:
        sample_rate: Sample rate (Hz) of the audio, or of what is rendered from the data.
        segment: Length of a training example, in samples of audio or in steps of a grid.
        batch_size: Examples in a batch over all devices, which share it equally.
        seed: Seed of the order; a run's seed is passed on to it.
        validation_clips: Number of held-out clips of a validation; 0 trains without validation.
        validation_seconds: Length (s) that held-out clips are cut to; None for whole clips.
        peak: Absolute value that the maximum of each clip is scaled to; None leaves clips as they are.
        f0_hop: Samples between two values of a batch's `f0` `(batch, frames)` in Hz; 0 for batches without.
        score_hop: Samples between two frames of a batch's `score` `(batch, 128, frames)`; 0 for batches without.
        labels: Names of the integers `(batch,)` that a batch has.
    """

    sample_rate: Any = 0
    segment: Any = 0
    batch_size: Any = 1
    seed: Any = 0
    validation_clips: Any = None
    validation_seconds: Any = None
    peak: Any = None
    f0_hop: Any = 0
    score_hop: Any = 0
    labels: Any = ()

    held_out_advice: ClassVar[str] = ""
    """How to train without held-out clips, as the end of a message."""
    _position: Position = (0, 0)
    _loader: Any = None

    # What a subclass defines

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, the same on every device."""
        raise NotImplementedError(f"{type(self).__name__} does not define steps_per_epoch")

    def fingerprint(self) -> str:
        """Return a hash of all clips of all splits; known after `prepare_data`.

        It stands for the data in a run's identity, in the place of their path.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define fingerprint()")

    def order(self) -> dict[str, Any]:
        """Return what has to be unchanged for a position to mean the same batches, by name."""
        return {"data": self.fingerprint(), "seed": self.seed, "batch_size": self.batch_size}

    def held_out(self, split: str, clips: int | None = None) -> HeldOutClips:
        """Return the held-out clips of a split, the same on every device.

        Args:
            split: `validation` or `test`.
            clips: Number of clips; None for `validation_clips` of the validation, and for all of the test.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define held_out()")

    # What a subclass may extend

    @property
    def parts(self) -> tuple["DataModule", ...]:
        """The data sets that the clips come from: this one alone, unless it is a mixture."""
        return (self,)

    @property
    def classes(self) -> Mapping[str, int]:
        """Number of classes of each label, by its name, where it is known: a label is in [0, number)."""
        return {}

    @property
    def source(self) -> str:
        """Path or URL that a user gave for the data; empty for data that come with the project."""
        return ""

    @property
    def licences(self) -> set[str]:
        """Licences of the clips, as far as they are known."""
        return set()

    def bad_clip_counts(self) -> dict[str, int]:
        """Return how many training clips could not be used so far, by the kind of damage."""
        return {}

    def summary(self) -> str:
        """Return one line on the amount of data; known after `prepare_data`."""
        held_out = len(self.val_dataloader()) if self.holds_out else 0
        return f"{self.steps_per_epoch:,} batches of {self.batch_size} an epoch, {held_out} clips held out"

    @property
    def holds_out(self) -> bool:
        """Whether held-out clips are wanted, so that it is an error if there are none."""
        return self.validation_clips != 0

    # The position

    @property
    def position(self) -> Position:
        """Epoch and step of the batch that training continues with."""
        return self._position

    def advance(self, batch: Batch) -> None:
        """Set the position behind a batch that was trained on; called at the end of each training step."""
        self._position = self.after(batch["position"])

    def after(self, position: Position) -> Position:
        """Return the position that follows a position."""
        epoch, step = position
        return (epoch, step + 1) if step + 1 < self.steps_per_epoch else (epoch + 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the position and what has to be unchanged for it to mean the same batches."""
        epoch, step = self.position
        return {"epoch": epoch, "step": step, **self.order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a stored position.

        Raises:
            ValueError: the order of the batches is another one now; the message names what has changed.
        """
        for name, now in self.order().items():
            if (was := state_dict.get(name)) != now:
                raise InvalidValueError(
                    f"{type(self).__name__}: cannot continue in the same order: {name} was {was!r}, now {now!r}"
                )
        self._position = state_dict["epoch"], state_dict["step"]

    # Loaders

    @property
    def rank_and_world(self) -> tuple[int, int]:
        """Number of this device, and number of devices."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def val_dataloader(self) -> HeldOutClips:
        """Return the held-out clips of the validation, one a batch."""
        return self.held_out("validation")

    def test_dataloader(self) -> HeldOutClips:
        """Return the test clips, one a batch."""
        return self.held_out("test")

    def predict_dataloader(self) -> HeldOutClips:
        """Return the held-out clips of the validation, for `Trainer.predict`."""
        return self.val_dataloader()

    def teardown(self, stage: str) -> None:
        """Stop reading ahead."""
        if self._loader is not None:
            self._loader.close()


def data_module_of(trainer: Any) -> DataModule | None:
    """Return the data module that a Trainer uses, if it has the contract; None for any other and for data loaders."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, DataModule) else None


class FromData(NamedTuple):
    """A value that a system takes from its data.

    Attributes:
        value: The value.
        option: Hyperparameter of the data that it follows from, such as `tracks`.
        is_least: Whether a system may have a higher value.
    """

    value: Any
    option: str
    is_least: bool = False

    def suits(self, value: Any) -> bool:
        """Return whether a system with a value can be trained on the data."""
        return bool(value == self.value or (self.is_least and value is not None and value >= self.value))


def follow_data(system: Any, values: Mapping[str, Any], data: DataModule) -> dict[str, Any]:
    """Return the hyperparameters of a system that follow from its data, where they were not set.

    Args:
        system: The system's class.
        values: Hyperparameters that were given, or all of them; one that is the class's default counts as not set.
        data: The data module that it will be trained on.

    Raises:
        InvalidValueError: a value was set that does not suit the data; the message names both options.
    """
    defaults = {name: parameter.default for name, parameter in system.hyperparameters.items()}
    given = defaults | dict(values)
    found = {}
    for name, wanted in system.values_from_data(data, given).items():
        if wanted.suits(given[name]):
            continue
        if given[name] is not None and given[name] != defaults[name]:
            raise contradiction(name, given[name], wanted)
        found[name] = wanted.value
    return found


def check_follows(system: Any, data: DataModule) -> None:
    """Check that a system has the shape of the data that it is trained on.

    Raises:
        InvalidValueError: a hyperparameter does not suit the data; the message names both options.
    """
    values = {name: getattr(system, name) for name, p in system.hyperparameters.items() if p.is_argument}
    for name, wanted in system.values_from_data(data, values).items():
        if not wanted.suits(values[name]):
            raise contradiction(name, values[name], wanted)


def contradiction(name: str, value: Any, wanted: FromData) -> InvalidValueError:
    """Return the error about a hyperparameter that does not suit the data."""
    return InvalidValueError(
        f"--model.{name} is {_shown(value)}, but by --data.{wanted.option} it is {_shown(wanted.value)}: leave "
        f"--model.{name} out, or change one of them"
    )


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)
