"""`ostinato compose`: a whole piece, from its form to its sound; every layer can be replaced by the user's own."""

from framework.workflow import usage
from framework.workflow.composing import compose


def run(arguments: list[str]) -> None:
    """Write a piece, or play one; mix it; show it on a page."""
    done = compose(**vars(usage.parser("compose").parse_args(arguments)))
    print(f"{done.path}: {done.seconds:.1f} s at {done.loudness:.1f} LUFS\npage:    {done.folder}/index.html")
