"""Standard MIDI Files byte by byte, well formed or not."""

import struct

TICKS = 480
END = b"\0\xff\x2f\0"
TEMPO_120 = b"\0\xff\x51\x03\x07\xa1\x20"


def number(value):
    """Return a number of variable length."""
    found = [value & 127]
    while value := value >> 7:
        found.append(value & 127 | 128)
    return bytes(found[::-1])


def on(pitch, wait=0, channel=0, velocity=90):
    """Return a note-on."""
    return number(wait) + bytes([0x90 | channel, pitch, velocity])


def off(pitch, wait=0, channel=0):
    """Return a note-off."""
    return number(wait) + bytes([0x80 | channel, pitch, 0])


def control(controller, value=0, wait=0, channel=0):
    """Return a control change."""
    return number(wait) + bytes([0xB0 | channel, controller, value])


def meta(kind, payload=b"", wait=0):
    """Return a meta event."""
    return number(wait) + bytes([0xFF, kind]) + number(len(payload)) + payload


def quarters(count, pitch=60, channel=0):
    """Return notes of a quarter each, up the scale of semitones."""
    return b"".join(on(pitch + n % 12, 0, channel) + off(pitch + n % 12, TICKS, channel) for n in range(count))


def rows(count, pitch=60):
    """Return onset, end and pitch of the notes of `quarters`."""
    return [(n * TICKS, (n + 1) * TICKS, pitch + n % 12) for n in range(count)]


def chunk(body, name=b"MTrk", length=None):
    """Return a chunk, with a false length if one is given."""
    return name + struct.pack(">I", len(body) if length is None else length) + body


def header(kind, tracks, division=TICKS):
    """Return the header chunk."""
    return b"MThd" + struct.pack(">IHHH", 6, kind, tracks, division)


def midi(*tracks, kind=1, division=TICKS):
    """Return a file of tracks, each of which gets its end."""
    return header(kind, len(tracks), division) + b"".join(chunk(track + END) for track in tracks)
