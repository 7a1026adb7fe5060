"""`ostinato compose`: a whole piece, from its form to its sound; every layer can be replaced by the user's own."""

from typing import Any

from framework.workflow.command import Command, output_argument, runs_argument

INSTRUMENTS = ["violin", "viola", "viola", "cello"]


class Compose(Command):
    """Compose a piece from its form to its notes with four trained levels, play it with sampled instruments, mix it,
    and write a page with all layers. Every layer can be replaced by your own.
    """

    group = "generation"
    loads = "framework.workflow.composing"
    summary = "a whole piece by four trained levels, with audio and a page"
    examples = ("ostinato compose --seed 7 --form ABA --train --output song.wav",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        add = parser.add_argument
        add("--seed", type=int, default=0, help="The same seed gives the same piece, to the byte.")
        form = "Letters of the phrases, as ABA or A8B12A8 (lengths in beats); a letter that returns with the same "
        add("--form", type=str, default="", help=form + "length repeats its melody.")
        text = "The mix (wav, flac), or a folder for it; its layers and page go to a folder next to it."
        output_argument(parser, text, type=str, default="song.wav")
        tempo = "Beats per minute (default: 76, or that of --score)."
        add("--tempo", type=float | None, default=None, help=tempo)
        instruments = "Sampled instruments of the voices."
        add("--instruments", type=str, nargs="+", default=INSTRUMENTS, help=instruments)
        add("--through", type=str, nargs="+", default=[], help="Trained runs that play the voices.")
        start = "The JSON file of a level to continue from, as song/skeleton.json."
        add("--start", type=str, default="", help=start)
        add("--score", type=str, default="", help="A MIDI file to play instead of composing.")
        add("--stems", type=str, default="", help="A folder of recordings that replace or join the voices.")
        add("--lufs", type=float, default=-16.0, help="Loudness of the mix (ITU-R BS.1770).")
        add("--train", action="store_true", help="First train the levels that are not trained yet.")
        runs_argument(parser)

    def run(self, settings: Any) -> None:
        """Write a piece, or play one; mix it; show it on a page."""
        from framework.workflow.composing import compose

        done = compose(**vars(settings))
        print(f"{done.path}: {done.seconds:.1f} s at {done.loudness:.1f} LUFS\npage:    {done.folder}/index.html")
