"""Events of Standard MIDI Files, parsed one at a time."""

from typing import NamedTuple

SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF
END_OF_TRACK, TRACK_NAME, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x2F, 0x03, 0x51, 0x58, 0x59
CHANNEL_LENGTHS = {8: 2, 9: 2, 10: 2, 11: 2, 12: 1, 13: 1, 14: 2}
"""Data bytes by the upper half of the status byte."""
_SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
PROOF = 4
"""Proper events in a row that do not follow from chance."""


class DamageError(Exception):
    """Bytes that cannot be an event, or no header."""


class Event(NamedTuple):
    """An event: delta time in ticks, status byte, data, and where the next event begins.

    The data of a meta event are its type and its payload.
    """

    delta: int
    status: int
    data: bytes
    after: int


def parsed(body: bytes, at: int, running: int) -> Event:
    """Return the event at a position.

    Args:
        body: Contents of a track chunk.
        at: Where the delta time begins.
        running: Status byte of the channel message before, which need not be repeated; 0 for none.

    Raises:
        DamageError: it cannot be an event.
        IndexError: it goes on behind the end.
    """
    delta, at = variable_length(body, at)
    status = body[at]
    if status < 0x80:
        status = running
    else:
        at += 1
    if status < 0x80:
        raise DamageError
    if status < SYSEX:
        after = at + CHANNEL_LENGTHS[status >> 4]
        data = body[at:after]
        if not data.isascii():
            raise DamageError
    elif status == META:
        length, begin = variable_length(body, at + 1)
        after = begin + length
        data = body[at : at + 1] + body[begin:after]
        if data[0] > 0x7F:
            raise DamageError
    elif status in (SYSEX, ESCAPE):
        length, begin = variable_length(body, at)
        after = begin + length
        data = body[begin:after]
    elif status in _SYSTEM_LENGTHS:
        after = at + _SYSTEM_LENGTHS[status]
        data = body[at:after]
    else:
        raise DamageError
    if after > len(body):
        raise IndexError
    return Event(delta, status, data, after)


def variable_length(body: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and the position behind it.

    Raises:
        DamageError: it has more than 4 bytes.
    """
    byte = body[at]
    if byte < 0x80:
        return byte, at + 1
    number = 0
    for after in range(at + 1, at + 5):
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, after
        byte = body[after]
    raise DamageError


def proper_events(body: bytes, at: int, running: int, most: int) -> int:
    """Return how many proper events follow from a position on; `most` if they lead to the end of the track."""
    for count in range(most):
        if at == len(body):
            return most
        try:
            _, status, data, at = parsed(body, at, running)
        except (DamageError, IndexError):
            return count
        if status < SYSEX:
            running = status
        elif status == META and data[0] == END_OF_TRACK:
            return most if len(data) == 1 else count
    return most


def is_proper(body: bytes, at: int, running: int) -> bool:
    """Return whether several proper events follow from a position on, or those up to the end of the track."""
    return proper_events(body, at, running, PROOF) == PROOF
