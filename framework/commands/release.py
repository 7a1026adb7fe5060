"""`ostinato release`: a trained system as one small file, to be used without Lightning."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Release(ExperimentCommand):
    """Write the generator of a trained run as one small safetensors file that is used without Lightning. With
    --for_training, the file also holds what fine-tuning needs.
    """

    group = "sharing"
    summary = "a trained generator as one small file"
    examples = ("ostinato release {name} --output {name}.safetensors",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        text = "The .safetensors file to write, or a folder for it (default: NAME.safetensors)."
        output_argument(parser, text, type=str | None, default=None)
        parser.add_argument(
            "--for_training",
            action="store_true",
            help="Add what is needed to train further: all networks without averaging, and the optimisers' states.",
        )

    def run(self, plan: "Plan", settings: Any) -> None:
        """Write the file, and print how it is used."""
        from framework.workflow.releasing import release

        done = release(
            plan, settings["output"] or "", for_training=settings["for_training"], overwrite=settings["overwrite"]
        )
        path = done.path
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {done.trained.source}")
        print(f'use it:    framework.release.load("{path}").synthesize(audio)')
        print(f"or:        ostinato synthesize {plan.name} --ckpt_path {path} --input FILE_OR_DIR --output DIR")
        print(f"fine-tune: ostinato fit {plan.name} --ckpt_path {path} --data FOLDER")
