"""The options of every command beside an experiment's hyperparameters, without importing torch or Lightning."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

INSTRUMENTS = ("violin", "viola", "viola", "cello")
"""Instruments of the four voices that `compose` plays."""
PORT = 8420
"""Port of the server of a listening test."""
BENCH_OUTPUT = "runs/bench"
"""Folder of the results of `bench`."""
SPLIT_HELP = "Held-out clips: validation or test; by default test where the data have test clips."
"""Help of `--split`."""
TEST_KINDS = ("mushra", "mushra_1s", "mos", "dcr", "ab")
"""Kinds of listening tests."""
TEST_PAIRS = ("baseline", "all")
"""Pairs of runs of an A/B test."""


def output_option(parser: Any, text: str, **settings: Any) -> None:
    """Add `--output`, and `--overwrite`, without which nothing is replaced."""
    parser.add_argument("--output", help=text, **settings)
    overwrite_option(parser)


def overwrite_option(parser: Any) -> None:
    """Add `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="Replace files that exist already.")


def experiment_options(parser: Any) -> None:
    """Add what every command that opens an experiment takes."""
    parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="A checkpoint file, one of ours, a release or an official one; explicit overrides beat what it stored.",
    )


def checkpoint_options(parser: Any) -> None:
    """Add what every command takes that uses the weights of a run."""
    parser.add_argument(
        "--ckpt",
        type=str,
        default="last",
        metavar="last|best|STEP",
        help="Checkpoint of the run: the last one, the best one in validation, or that of a step.",
    )


def fit_options(parser: Any) -> None:
    """Add the options of `fit`."""
    parser.add_argument(
        "--overfit_one_clip", action="store_true", help="Train and validate on a single segment (sanity check)."
    )
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="Train again from the beginning; the folder of the earlier run is kept beside the new one, with the date.",
    )
    parser.add_argument(
        "--profile",
        type=int | None,
        nargs="?",
        const=5,
        default=None,
        metavar="STEPS",
        help="Print where the time and memory of so many steps (5) go, and write trace.json.gz for Perfetto.",
    )


def evaluate_options(parser: Any) -> None:
    """Add the options of `evaluate`."""
    parser.add_argument("--split", type=str, default="", help=SPLIT_HELP)
    parser.add_argument(
        "--clips",
        type=int | None,
        default=None,
        help="Number of clips; by default all test clips, or as many as in validation.",
    )
    parser.add_argument("--metrics", type=str, nargs="+", default=[], help="Names of metrics; by default all of them.")
    parser.add_argument(
        "--embedder",
        type=str | None,
        default=None,
        help="Embedding of the Frechet and kernel distances: musicnn, crepe, basic_pitch, or an import path; by "
        "default log-mel statistics.",
    )
    parser.add_argument("--name", type=str | None, default=None, help="Name of the evaluation's folder.")
    parser.add_argument(
        "--meta",
        action="store_true",
        help="Evaluate the metrics instead of the run: how they follow graded degradations of the held-out clips.",
    )


def encode_options(parser: Any) -> None:
    """Add the options of `encode`."""
    parser.add_argument("--input", type=str, required=True, help="The audio file to encode.")
    output_option(parser, "The .ost file to write, or a folder for it.", type=str, required=True)


def decode_options(parser: Any) -> None:
    """Add the options of `decode`."""
    parser.add_argument("--input", type=str, required=True, help="The file to decode.")
    output_option(parser, "The audio file (wav, flac) to write, or a folder for it.", type=str, required=True)


def release_options(parser: Any) -> None:
    """Add the options of `release`."""
    text = "The .safetensors file to write, or a folder for it (default: NAME.safetensors)."
    output_option(parser, text, type=str | None, default=None)
    parser.add_argument(
        "--for_training",
        action="store_true",
        help="Add what is needed to train further: all networks without averaging, and the optimisers' states.",
    )


def export_options(parser: Any) -> None:
    """Add the options of `export`."""
    parser.add_argument("--format", type=Literal["onnx", "torch"], required=True, help="Format of the program.")
    text = "The file to write, or a folder for it (default: NAME.onnx or NAME.pt2)."
    output_option(parser, text, type=str | None, default=None)


def inspect_options(parser: Any) -> None:
    """Add the options of `inspect`."""
    output_option(parser, "Folder for the pictures.", type=str | None, default=None)


def synthesize_options(parser: Any) -> None:
    """Add the options of `synthesize`."""
    parser.add_argument("--input", type=str | None, default=None, help="An audio file, or a folder of them.")
    text = "Folder for the generated wav files, or, of one recording or clip, the audio file (wav, flac) to write."
    output_option(parser, text, type=str, required=True)
    parser.add_argument("--seconds", type=float, default=5.0, help="Length of a clip if there is no input.")
    parser.add_argument("--count", type=int, default=1, help="Number of clips if there is no input.")
    parser.add_argument(
        "--precision",
        type=Literal["float32", "bf16"],
        default="float32",
        help="Arithmetic of the networks: bf16 is faster if the processor or GPU supports it, and less exact.",
    )


def compare_options(parser: Any) -> None:
    """Add the options of `compare`."""
    parser.add_argument(
        "runs_or_sweeps",
        nargs="+",
        metavar="SWEEP|RUN",
        help="A sweep that was started, a run folder, a checkpoint, the folder of an evaluation, or an experiment.",
    )
    parser.add_argument("--baseline", default="", help="Run that the others are compared with (default: the first).")
    parser.add_argument("--metrics", nargs="+", default=[], help="Metrics to show, in this order (default: all).")
    output_option(parser, "Output folder (default: RUNS/comparisons/NAME, which is always replaced).", default=None)
    parser.add_argument("--runs", default="runs", help="Folder of all runs.")
    parser.add_argument("--split", default="", help=SPLIT_HELP)
    parser.add_argument(
        "--clips", type=int, default=None, help="Number of clips (default: as many as were evaluated before)."
    )


def listen_options(parser: Any) -> None:
    """Add the options of `listen`."""
    parser.add_argument(
        "comparison",
        nargs="+",
        metavar="COMPARISON",
        help="The folder of a comparison, or what `ostinato compare` takes: a sweep, or runs.",
    )
    parser.add_argument("--kind", choices=list(TEST_KINDS), default="mushra", help="Kind of the test.")
    parser.add_argument(
        "--pairs",
        choices=list(TEST_PAIRS),
        default=TEST_PAIRS[0],
        help="Pairs of an A/B test: each run with the baseline, or each run with each other one.",
    )
    parser.add_argument("--clips", type=int, default=None, help="Use only the first so many clips (default: all).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the presentation order.")
    parser.add_argument("--match_levels", action="store_true", help="Bring all sounds of a clip to one RMS level.")
    parser.add_argument("--port", type=int, default=PORT, help="Port of the server on 127.0.0.1; 0 for any free one.")
    parser.add_argument("--no_server", action="store_true", help="Write the page and end.")
    parser.add_argument("--results", action="store_true", help="Summarise the answers so far.")
    parser.add_argument(
        "--import",
        dest="files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="With --results: read answers that pages opened from the disk have saved, files or folders of them.",
    )
    parser.add_argument("--runs", default="runs", help="Folder of all runs.")


def compose_options(parser: Any) -> None:
    """Add the options of `compose`."""
    parser.add_argument("--seed", type=int, default=0, help="The same seed gives the same piece, to the byte.")
    parser.add_argument(
        "--form",
        type=str,
        default="",
        help="Letters of the phrases, as ABA or A8B12A8 (lengths in beats); a letter that returns with the same "
        "length repeats its melody.",
    )
    text = "The mix (wav, flac), or a folder for it; its layers and page go to a folder next to it."
    output_option(parser, text, type=str, default="song.wav")
    parser.add_argument(
        "--tempo", type=float | None, default=None, help="Beats per minute (default: 76, or that of --score)."
    )
    parser.add_argument(
        "--instruments", type=str, nargs="+", default=list(INSTRUMENTS), help="Sampled instruments of the voices."
    )
    parser.add_argument("--through", type=str, nargs="+", default=[], help="Trained runs that play the voices.")
    parser.add_argument(
        "--start", type=str, default="", help="The JSON file of a level to continue from, as song/skeleton.json."
    )
    parser.add_argument("--score", type=str, default="", help="A MIDI file to play instead of composing.")
    parser.add_argument("--stems", type=str, default="", help="A folder of recordings that replace or join the voices.")
    parser.add_argument("--lufs", type=float, default=-16.0, help="Loudness of the mix (ITU-R BS.1770).")
    parser.add_argument("--train", action="store_true", help="First train the levels that are not trained yet.")
    parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")


def sweep_options(parser: Any) -> None:
    """Add the options of `sweep` itself; all others go to its runs."""
    add = parser.add_argument
    add("--dry", action="store_true", help="Show the plan with its cost, and do nothing.")
    add("--launcher", choices=("local", "slurm"), default="local", help="Where the runs are made.")
    add("--jobs", type=_positive, default=1, help="Runs at the same time.")
    add("--devices_per_run", type=_positive, default=1, help="Devices of a run (of each node, on Slurm).")
    add("--retries", type=int, default=1, help="Failures without progress that a run is allowed.")
    add("--rerun", action="store_true", help="Train runs again whose code has changed; their old folders are kept.")
    add("--print_commands", action="store_true", help="Print the commands of the runs to be made, for any scheduler.")
    add("--halving", type=int, metavar="FACTOR", help="Train all runs a little, keep the best 1/FACTOR, and repeat.")
    add("--metric", help="Metric of the table and of --halving; lower is better (default: the experiment's own).")
    add("--slurm", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="Options of sbatch, as time=240.")
    add("--wandb_yaml", type=Path, metavar="FILE", help="Write the sweep for `wandb sweep FILE`, and do nothing.")
    add("--overwrite", action="store_true", help="Replace the file of --wandb_yaml if it exists already.")


def status_options(parser: Any) -> None:
    """Add the options of `status`."""
    parser.add_argument("sweep", nargs="?", help="Name of a sweep (default: list all that were started).")
    parser.add_argument("--runs", default="runs", help="Folder of all runs.")


def pack_options(parser: Any) -> None:
    """Add the options of `pack`: the arguments of the function."""
    from datamodules.packing.pack import pack

    parser.add_function_arguments(pack, as_positional=True, skip={"reuse", "f0"})
    parser.add_argument(
        "--f0",
        action="store_true",
        help="Track the pitch of recordings of one voice (50 to 2000 Hz), for data with an f0_hop; needs torchcrepe.",
    )


def data_options(parser: Any) -> None:
    """Add the options of `data`."""
    parser.add_argument(
        "path", type=str, help="A folder of recordings or MIDI files, a packed folder or its URL, or shards."
    )
    parser.add_argument(
        "--picture", type=Path | None, default=None, help="Draw log-mel spectrograms into this png file."
    )
    parser.add_argument("--examples", type=int, default=16, help="Number of spectrograms.")
    overwrite_option(parser)


def bench_options(parser: Any) -> None:
    """Add the options of `bench`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="Names of benchmarks.")
    options: list[tuple[str, Any, Any, str]] = [
        ("--rounds", int, 5, "Turns of each candidate"),
        ("--seconds", float, 1.0, "Minimum length of a turn in seconds"),
    ]
    for flag, kind, default, text in options:
        parser.add_argument(flag, type=kind, default=default, help=f"{text} (default: {default}).")
    text = f"Folder for the results as JSON and Markdown (default: {BENCH_OUTPUT}, where they are always replaced)."
    output_option(parser, text, default=None)
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="A checkout of another project to compare with.",
    )
    parser.add_argument("--save", action="store_true", help="Store the figures in docs/benchmarks.md too.")


def runs_options(parser: Any) -> None:
    """Add the options of `runs`."""
    parser.add_argument("part", nargs="?", metavar="PART", help="Part of the names of experiments to list.")
    parser.add_argument("--runs", default="runs", help="Folder of all runs.")


def list_options(parser: Any) -> None:
    """Add the options of `list`."""
    parser.add_argument("part", nargs="?", metavar="PART", help="Part of the names to list.")


WITHOUT_WEIGHTS = ("show", "doctor", "fit")
"""Commands with an experiment that use no trained weights."""

OF_EXPERIMENTS: dict[str, Callable[[Any], None] | None] = {
    "show": None,
    "doctor": None,
    "fit": fit_options,
    "validate": None,
    "evaluate": evaluate_options,
    "synthesize": synthesize_options,
    "encode": encode_options,
    "decode": decode_options,
    "release": release_options,
    "export": export_options,
    "inspect": inspect_options,
}
"""Commands that open an experiment, whose hyperparameters are options too, with their own options."""

OTHERS: dict[str, Callable[[Any], None]] = {
    "list": list_options,
    "runs": runs_options,
    "compare": compare_options,
    "listen": listen_options,
    "compose": compose_options,
    "sweep": sweep_options,
    "status": status_options,
    "pack": pack_options,
    "data": data_options,
    "bench": bench_options,
}
"""All other commands with their options."""

TYPED = ("compose", "pack", "data")
"""Those whose options have the types of Python annotations, as an experiment's hyperparameters have."""


def add_experiment_options(command: str, parser: Any) -> None:
    """Add to a parser all options of a command that opens an experiment, except `--seed` and the hyperparameters."""
    experiment_options(parser)
    if command not in WITHOUT_WEIGHTS:
        checkpoint_options(parser)
    if own := OF_EXPERIMENTS[command]:
        own(parser)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)
