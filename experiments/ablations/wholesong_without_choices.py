from experiments.wholesong_bach_skeleton import WholeSongBachSkeleton


class WithoutChoices(WholeSongBachSkeleton):
    """A chorale's skeleton whose places are guessed one by one, by velocities, and not a note at a time."""

    one_note = False
