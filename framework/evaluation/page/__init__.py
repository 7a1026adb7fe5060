"""The local page of a comparison: one folder that opens from the disk, to hear, see and read runs side by side."""
