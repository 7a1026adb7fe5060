"""What a file is that cannot be decoded, by its first bytes, and what to do with it."""

CONVERT = "convert it with `ffmpeg -i FILE FILE.wav`"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", f"MP4 (m4a, AAC or ALAC), which cannot be read: {CONVERT}"),
    (0, b"\x1a\x45\xdf\xa3", f"WebM or Matroska, which cannot be read: {CONVERT}"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", f"Windows Media, which cannot be read: {CONVERT}"),
    (0, b"MAC ", f"Monkey's Audio, which cannot be read: {CONVERT}"),
    (0, b"wvpk", f"WavPack, which cannot be read: {CONVERT}"),
    (0, b"MPCK", f"Musepack, which cannot be read: {CONVERT}"),
    (0, b"#!AMR", f"AMR, which cannot be read: {CONVERT}"),
    (0, b"FLV", f"Flash video, which cannot be read: {CONVERT}"),
    (0, b"PK\x03\x04", "a zip archive: unpack it with `unzip FILE`"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it with `gunzip FILE`, or `tar -xzf FILE` for a tar.gz"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it with `7z x FILE`"),
    (0, b"Rar!", "a rar archive: unpack it with `unrar x FILE`"),
    (0, b"BZh", "a bzip2 archive: unpack it with `bunzip2 FILE`"),
    (0, b"\xfd7zXZ", "an xz archive: unpack it with `unxz FILE`"),
    (257, b"ustar", "a tar archive"),
    (0, b"MThd", "a MIDI file, which has notes and no sound"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer without its contents: fetch them with `git lfs pull`"),
)


def foreign_kind(head: bytes) -> str:
    """Return what a file is by its first bytes, and what to do with it; "" where that is not known."""
    for at, magic, kind in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return f"it is {kind}"
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return f"it is AAC, which cannot be read: {CONVERT}"
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, as a failed download leaves it: download it again"
    return ""
