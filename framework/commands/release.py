"""`ostinato release`: a trained system as one small file, to be used without Lightning."""

from framework.workflow.experiment import open_experiment
from framework.workflow.releasing import release


def run(arguments: list[str]) -> None:
    """Write the generator of a run to `--output`, and say how it is used."""
    opened = open_experiment("release", arguments)
    settings = opened.settings
    done = release(
        opened.plan, settings["output"] or "", for_training=settings["for_training"], overwrite=settings["overwrite"]
    )
    path, name = done.path, opened.plan.name
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {done.trained.source}")
    print(f'use it:    framework.release.load("{path}").synthesize(audio)')
    print(f"or:        ostinato synthesize {name} --ckpt_path {path} --input FILE_OR_DIR --output DIR")
    print(f"fine-tune: ostinato fit {name} --ckpt_path {path} --data FOLDER")
