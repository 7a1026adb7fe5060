"""Fault-tolerant logger for Weights & Biases: failures are reported and never interrupt or delay training."""

import contextlib
import netrc
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from framework.private_names.of_wandb import WandbLoggerBase
from framework.progress import busy
from framework.writing import Tolerant

REACH_TIMEOUT = 5.0
INIT_TIMEOUT = 20.0
FINISH_TIMEOUT = 60.0
"""Time limits (s) for the server's first response, for opening the run and for the final upload."""


def wandb_logger(
    run_folder: str | Path, run_id: str, group: str, name: str, config: Mapping[str, Any], project: str = "ostinato"
) -> "WandbLog":
    """Return the W&B logger of a run, which is started when the first value is logged.

    Args:
        run_folder: Folder of the run, with W&B's files in `wandb/` and `wandb-data/`.
        run_id: Id of the W&B run; an existing run with this id is resumed.
        group: Group of the run: all seeds of one experiment.
        name: Display name.
        config: Hyperparameters, nested ones as `model.channels`, `data.segment`.
        project: W&B project.
    """
    return WandbLog(
        project=project,
        save_dir=str(run_folder),
        id=run_id,
        group=group,
        name=name,
        config=flatten(config),
        job_type="train",
    )


class WandbLog(WandbLoggerBase):
    """Lightning's W&B logger with a fallback to offline mode, whose failures do not end a run.

    It is offline without an API key, with `WANDB_MODE=offline`, and if the server does not respond within seconds; a
    message says so, and `wandb sync` uploads later. If W&B fails, values are no longer sent and training continues;
    `metrics.csv` has all values. The step metric is `trainer/global_step`, because W&B's own counter restarts with
    every offline resume.
    """

    _failed = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tolerant = Tolerant("files of W&B")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first use; a disabled run if none can be started."""
        if self._experiment is None:
            with busy("starting W&B"):
                self._experiment = self._start()
            self._experiment.define_metric("trainer/global_step")
            self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log scalars and media by name; `step` counts generator updates."""
        self._guard(lambda: self.experiment.log({**metrics, "trainer/global_step": step}))

    @rank_zero_only
    def log_files(self, files: Mapping[str, Path], step: int) -> None:
        """Log sound files (`.wav`) and pictures (`.png`) by name as one row."""
        import wandb

        def media(path: Path) -> Any:
            kind = wandb.Audio if path.suffix == ".wav" else wandb.Image
            return kind(str(path), caption=path.stem)

        self._guard(lambda: self.log_metrics({name: media(path) for name, path in files.items()}, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """No-op: the configuration was passed when the run was created."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """No-op: a run may be validated and tested after its training; `finish` ends it."""

    @rank_zero_only
    def finish(self) -> None:
        """End the run; data that cannot be uploaded within a minute remain on disk for `wandb sync`."""
        if self._experiment is not None:
            with busy("finishing W&B"):
                self._guard(self._experiment.finish)

    def _guard(self, call: Callable[[], Any]) -> None:
        """Call W&B; no further calls are made after a failure, unless the disk was full."""
        if self._failed:
            return
        try:
            with self._tolerant:
                call()
        except Exception as error:
            import wandb

            self._failed = True
            with contextlib.suppress(Exception):
                wandb.teardown()
            _say(f"stopped ({_reason(error)}); training goes on, metrics.csv has every value")

    def _start(self) -> Any:
        import wandb

        os.environ["WANDB_DATA_DIR"] = str(Path(self.folder or ".") / "wandb-data")
        mode, reason = wandb_mode()
        if mode == "online":
            try:
                run = self._init("online")
                _say(f"online at {run.url}")
                return run
            except Exception as error:
                mode, reason = "offline", _reason(error)
                # The service still holds the run's id; only a new one can open it again.
                wandb.teardown()
        if mode == "offline":
            try:
                run = self._init("offline")
                _say(f"offline ({reason}); to upload later: wandb sync {self.folder}/wandb/offline-run-*")
                return run
            except Exception as error:
                _say(f"off ({_reason(error)}); metrics.csv and audio/ in the run folder have everything")
        return wandb.init(mode="disabled")

    def _init(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        Path(os.environ["WANDB_DATA_DIR"]).mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            console="off",
            silent=True,
            reinit="create_new",
        )
        arguments = {name: value for name, value in self.run_arguments.items() if name != "anonymous"}
        return wandb.init(**arguments, mode=mode, settings=settings, allow_val_change=True)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as a flat dictionary with `outer.inner` names, by which W&B's panels can group."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.__qualname__ if isinstance(value, type) else str(value)


def wandb_mode() -> tuple[str, str]:
    """Return `online`, `offline` or `disabled` and the reason, without a prompt and within seconds."""
    import wandb

    settings = wandb.setup().settings
    wanted = os.environ.get("WANDB_MODE") or settings.mode
    if wanted == "disabled":
        return "disabled", ""
    if wanted in ("offline", "dryrun"):
        return "offline", f"WANDB_MODE is {wanted}"
    if not _has_key(settings):
        return "offline", "no API key; `wandb login` sets one"
    if not _reachable(settings.base_url):
        return "offline", f"{settings.base_url} does not answer"
    return "online", ""


def _has_key(settings: Any) -> bool:
    """Return whether W&B's credentials exist; W&B's own check could prompt for them."""
    if settings.api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        try:
            if netrc.netrc(file).hosts.get(urlsplit(settings.base_url).netloc):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _reachable(url: str) -> bool:
    """Return whether the server responds, through a proxy if one is set; name resolution alone can take minutes."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=REACH_TIMEOUT).close()
        except urllib.error.HTTPError:
            pass
        except Exception:
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_TIMEOUT)
    return answered.is_set()


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


def _say(message: str) -> None:
    print(f"W&B is {message}", flush=True)
