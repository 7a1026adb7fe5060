"""Private names of Weights & Biases and of Lightning's logger for it."""

from typing import Any

from lightning.pytorch.loggers import WandbLogger


class WandbLoggerBase(WandbLogger):
    """Lightning's W&B logger whose subclasses start the run themselves."""

    @property
    def folder(self) -> str | None:
        """The folder in which W&B keeps its files."""
        return self._save_dir

    @property
    def run_arguments(self) -> dict[str, Any]:
        """The arguments that Lightning starts the run with."""
        return dict(self._wandb_init)


def use_offline(run: Any, artifact: Any) -> None:
    """Record that an offline run uses an artifact; `Run.use_artifact` refuses to, as it asks the server."""
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
