"""Fetching remote shards before they are needed."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Self

from datamodules.shards.reader import Reader
from datamodules.shards.remote import DownloadError, is_remote
from datamodules.streaming.plan import Plan

_LEAD = 256  # batches, where the plan has no window


class Downloads:
    """A thread that downloads the shards of the next batches in the order of their use.

    It stays within two windows of `position`, so that it does not push out of the cache what is still in use.

    Args:
        reader: Whose shards.
        plan: In which order.
        position: Epoch and step that training has come to; to be kept up to date.
    """

    def __init__(self, reader: Reader, plan: Plan, position: tuple[int, int]) -> None:
        self.reader, self.plan, self.position = reader, plan, position
        self._stopped = threading.Event()
        threading.Thread(target=self._work, daemon=True, name="downloading ahead").start()

    @classmethod
    def needed(cls, reader: Reader, plan: Plan, position: tuple[int, int]) -> Self | None:
        """Start downloading if any shard is remote."""
        return cls(reader, plan, position) if any(map(is_remote, reader.urls)) else None

    def stop(self) -> None:
        """Let the thread end; a shard that has not arrived whole is given up."""
        self._stopped.set()

    def _work(self) -> None:
        for shard in self._order():
            # What cannot be had is met again, and counted, by whoever reads it.
            with contextlib.suppress(DownloadError, OSError):
                if is_remote(self.reader.urls[shard]):
                    self.reader.fetch(shard, self._stopped.is_set)

    def _order(self) -> Iterator[int]:
        lead = max(2 * self.plan.window // self.plan.batch, _LEAD)
        epoch, step = self.position
        recent: list[int] = []
        while not self._stopped.is_set():
            ahead = (epoch - self.position[0]) * self.plan.steps + step - self.position[1]
            if ahead >= lead:
                self._stopped.wait(0.5)
                continue
            last = min(step + _LEAD // 4, self.plan.steps)
            for shard in self.plan.shards(epoch, step, last):
                if self._stopped.is_set():
                    return
                if shard not in recent:
                    recent = [*recent[-15:], shard]
                    yield shard
            epoch, step = (epoch, last) if last < self.plan.steps else (epoch + 1, 0)
