"""Which of Lightning's messages are not shown."""

import logging
import warnings


def quieten() -> None:
    """Keep Lightning from saying what is no news: its tips, its defaults, and how it is called here."""
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
