"""`ostinato validate`: measure a run on the held-out clips, beside Griffin-Lim."""

from framework.commands.experiment import open_experiment
from framework.commands.weights import load_weights
from framework.evaluation.judge import judge, table
from framework.progress import busy


def run(arguments: list[str]) -> None:
    """Print the mean distances of a run, or of the checkpoint given, on the held-out clips."""
    cli = open_experiment("validate", arguments)
    with busy("preparing the data"):
        cli.datamodule.prepare_data()
    checkpoint = load_weights(cli)
    print(f"{checkpoint}\n{table(judge(cli.model, cli.datamodule.val_dataloader()))}")
