"""The audio of a run in a notebook: a player for each file."""

import base64
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch

from framework.frames import MissingPackageError


@dataclass(frozen=True)
class Sound:
    """An audio file, shown as a player.

    Args:
        path: The file.
    """

    path: Path

    @property
    def sample_rate(self) -> int:
        """Sample rate (Hz)."""
        return int(soundfile.info(self.path).samplerate)

    def samples(self) -> torch.Tensor:
        """Return the samples `(channels, time)`."""
        return torch.from_numpy(soundfile.read(self.path, dtype="float32", always_2d=True)[0].T.copy())

    def player(self) -> Any:
        """Return IPython's player.

        Raises:
            MissingPackageError: IPython is not installed.
        """
        try:
            from IPython.display import Audio
        except ImportError as error:
            raise MissingPackageError("IPython is not installed, which plays audio: pip install ipython") from error
        return Audio(filename=str(self.path))

    def _repr_html_(self) -> str:
        """Return a player with the samples in it."""
        encoded = base64.b64encode(self.path.read_bytes()).decode()
        return f'<audio controls preload="none" src="data:audio/wav;base64,{encoded}"></audio>'


class Sounds(Mapping[str, Any]):
    """Audio by name: the clips of a run, or the files of a clip, read from a folder when they are asked for.

    Args:
        folder: A folder with a folder for each clip, or the folder of one clip.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Any:
        """Return the files of a clip, or one of them.

        Raises:
            KeyError: there is no such clip or file.
        """
        if (self.folder / name).is_dir():
            return Sounds(self.folder / name)
        if (self.folder / f"{name}.wav").is_file():
            return Sound(self.folder / f"{name}.wav")
        raise KeyError(f"{name}: {self.folder} has {', '.join(self) or 'no audio'}")

    def __iter__(self) -> Iterator[str]:
        """Yield the names, of the files of a clip the true one first."""
        if not self.folder.is_dir():
            return
        clips = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        files = sorted(path.stem for path in self.folder.glob("*.wav"))
        yield from [*clips, *sorted(files, key=lambda name: name != "truth")]

    def __len__(self) -> int:
        """Return the number of names."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """Return the names."""
        return f"Sounds({', '.join(self)})"

    def _repr_html_(self) -> str:
        """Return a table of players: of a clip all files, of several clips the true and the newest generated ones."""
        return "<table>" + "".join(self._rows()) + "</table>"

    def _rows(self) -> Iterator[str]:
        for name, item in self.items():
            shown = {name: item} if isinstance(item, Sound) else item.newest()
            label = "" if isinstance(item, Sound) else f"<th>{html.escape(name)}</th>"
            cells = "".join(f"<td>{html.escape(n)}<br>{sound._repr_html_()}</td>" for n, sound in shown.items())
            yield f"<tr>{label}{cells}</tr>"

    def newest(self) -> dict[str, Sound]:
        """Return the files of a clip, of those of several training steps the newest alone."""
        steps = [name for name in self if name.startswith("step_")]
        return {name: item for name, item in self.items() if isinstance(item, Sound) and name not in steps[:-1]}
