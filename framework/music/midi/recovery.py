"""The events of a track chunk, of which some may be damaged. What is around them is kept.

The libraries for MIDI files give up at the first byte that is out of order. Here an event that cannot be is repaired or
left out, and reading resumes where a number of proper events follow one another.
"""

import re
from collections import Counter
from collections.abc import Iterator

from framework.music.midi.events import (
    CHANNEL_LENGTHS,
    END_OF_TRACK,
    KEY_SIGNATURE,
    META,
    PROOF,
    SYSEX,
    TEMPO,
    TIME_SIGNATURE,
    DamageError,
    Event,
    is_proper,
    parsed,
    proper_events,
    variable_length,
)

_META_LENGTHS = {0x00: 2, 0x20: 1, 0x21: 1, END_OF_TRACK: 0, TEMPO: 3, 0x54: 5, TIME_SIGNATURE: 4, KEY_SIGNATURE: 2}
_LAST_TEXT = 0x0F
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Bytes that no text has."""
_COMPARED = 32
"""Events by which the ways to resume are compared."""
_LONGEST_EVENT = 16
"""Bytes behind a damaged event within which the next one has its status byte, if it does not use running status."""
_NEAR, _FAR = 48, 1 << 20
"""Bytes behind a damaged event that are searched with running status, and without."""
_MOST_DAMAGE = 1000
"""Damaged places in a track, after which the rest of it is left out."""
_MOST_CHECKED = 10_000
"""Events of variable length in a track whose length is checked."""
_LONGEST_TEXT = 1 << 14
"""Bytes of a text that are searched for events which a damaged length would make part of it."""


def track_events(body: bytes, longest: int, remarks: Counter[str]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the events of a track chunk: absolute tick, status byte, data.

    Args:
        body: Contents of the chunk.
        longest: Ticks that a delta time may have; a longer one is damage and counts as 0.
        remarks: Counts what was damaged.
    """
    now = at = running = 0
    damaged = checked = 0
    ended = False
    while at < len(body):
        if ended and not is_proper(body, at, 0):
            remarks["bytes behind the end of a track"] += len(body) - at
            return
        event: Event | None
        try:
            event = parsed(body, at, running)
            sound = event.status < SYSEX or checked >= _MOST_CHECKED or _has_its_length(body, at, running, event)
        except (DamageError, IndexError):
            event, sound = None, False
        if not sound:
            damaged += 1
            if damaged > _MOST_DAMAGE:
                remarks["damaged bytes"] += len(body) - at
                return
            event, delta, following = _recovered(body, at, running, event)
            if event is None:
                remarks["damaged bytes"] += following - at
                now, at = now + (delta if delta <= longest else 0), following
                continue
            remarks["repaired events"] += 1
        assert event is not None
        delta, status, data, at = event
        if delta > longest:
            remarks["delta times too long"] += 1
        else:
            now += delta
        if status < SYSEX:
            running = status
        else:
            checked += 1
            ended |= status == META and data[0] == END_OF_TRACK
        yield now, status, data
    if not ended:
        remarks["tracks without an end"] += 1


def _has_its_length(body: bytes, at: int, running: int, event: Event) -> bool:
    """Return whether the length of a meta event or system message is right, as far as can be seen."""
    searched = b""
    if event.status == META:
        kind, payload = event.data[0], event.data[1:]
        if kind in _META_LENGTHS:
            return len(payload) == _META_LENGTHS[kind]
        if kind <= _LAST_TEXT:
            if not _CONTROLS.search(payload):
                return True
            searched = payload
    else:
        payload = event.data[:-1]
        if event.status == SYSEX:
            searched = payload
    if not payload:
        return True
    if not searched.isascii() and len(searched) <= _LONGEST_TEXT and _hides_events(searched):
        return False
    # If it is what follows that is damaged, this event is kept.
    return is_proper(body, event.after, running) or _next_proper(body, at + 1, event.after) is None


def _hides_events(payload: bytes) -> bool:
    """Return whether a text or system exclusive message has two events in a row in it, each with its status byte."""
    for at in range(len(payload)):
        try:
            parsed(payload, parsed(payload, at, 0).after, 0)
        except (DamageError, IndexError):
            continue
        return True
    return False


def _recovered(body: bytes, at: int, running: int, event: Event | None) -> tuple[Event | None, int, int]:
    """Return a damaged event repaired, or else `None`, its delta time, and where reading resumes.

    Of the ways to go on, the one is taken that most proper events follow: behind the repaired event, at another event
    near by, or else at the first one farther away.
    """
    best, run = None, PROOF - 1
    for candidate in _repairs(body, at, running, event):
        status = candidate.status if candidate.status < SYSEX else running
        follow = proper_events(body, candidate.after, status, _COMPARED)
        if follow > run:
            best, run = candidate, follow
    delta, behind = _behind_delta(body, at)
    begin = behind
    status_byte = body[behind] if behind < len(body) else 0
    if event is None and status_byte >= SYSEX:
        # It is no status byte of a file, and a delta time hardly ever begins with it.
        begin += 1
    resumed = None
    for status, reach in ((0, _LONGEST_EVENT), (running, _NEAR)):
        for place in range(begin, min(begin + reach, len(body))):
            follow = proper_events(body, place, status, _COMPARED)
            if follow > run:
                resumed, run = place, follow
    if resumed is None and best is not None:
        return best, best.delta, best.after
    if resumed is None:
        resumed = _next_proper(body, begin, min(begin + _FAR, len(body)))
    if resumed is None:
        return None, delta, len(body)
    # It was no delta time if reading resumes right behind it, or if no status byte came after it.
    timed = resumed > behind and (running or status_byte >= 0x80)
    return None, delta if timed else 0, resumed


def _repairs(body: bytes, at: int, running: int, event: Event | None) -> Iterator[Event]:
    """Yield what a damaged event may be: with data in range, or with the length that its type has, or that it says."""
    delta, at = _behind_delta(body, at)
    if at + 1 >= len(body):
        return
    status = body[at]
    if status < 0x80:
        status = running
    else:
        at += 1
    if 0x80 <= status < SYSEX:
        after = at + CHANNEL_LENGTHS[status >> 4]
        yield Event(delta, status, bytes(byte & 0x7F for byte in body[at:after]), after)
    elif status == META and body[at] in _META_LENGTHS:
        after = at + 2 + _META_LENGTHS[body[at]]
        yield Event(delta, status, body[at : at + 1] + body[at + 2 : after], after)
        if event is not None:
            yield event


def _behind_delta(body: bytes, at: int) -> tuple[int, int]:
    """Return the delta time at a position and what is behind it; 0 and the position if it is none."""
    try:
        return variable_length(body, at)
    except (DamageError, IndexError):
        return 0, at


def _next_proper(body: bytes, begin: int, end: int) -> int | None:
    """Return the first position in a range from which proper events follow, the first with its status byte."""
    return next((at for at in range(begin, end) if is_proper(body, at, 0)), None)
