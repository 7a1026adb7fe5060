"""The classifier of instruments by which audio from noise is measured."""

from framework.evaluation.note_classifier import NoteClassifier


class Instruments(NoteClassifier):
    """Nine instruments and drums told apart: a minute on two CPU cores, and made by `ostinato evaluate` on demand."""
