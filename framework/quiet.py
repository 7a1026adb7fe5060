"""Hides messages of Lightning that do not apply to this project."""

import logging
import warnings


def quieten() -> None:
    """Hide Lightning's tips and its messages about defaults and deprecated calls."""
    for message in (
        ".*args parameter is intended.*",
        ".*LeafSpec.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",
        ".*your dataloader is not resumable.*",
        ".*smaller than the logging interval.*",
        ".*does not have many workers.*",
        ".*recommended to use .self.log.*sync_dist.*",
    ):
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
