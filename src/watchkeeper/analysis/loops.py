"""Finds the place where a sequence of events stops bringing anything new and only repeats itself.

An event is any hashable value that is equal to another exactly when the two tell the same thing; for tool calls that is
agent, tool, arguments and result. An event that was not seen before is *news*. Everything after the last news is the
*stale tail*, and only there can a loop be: whatever still brings news is making progress, however often some of its
steps recur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from watchkeeper.records.record import Record


class Loop(Record):
    """A loop at the end of a sequence: `period` events (1: one event again and again), `times` rounds of them.

    `members` are the positions of the latest round's events in the sequence.
    """

    period: int
    times: int
    members: tuple[int, ...]


def stale_tail(events: Sequence[Hashable]) -> int:
    """How many events stand after the last news; 0 when the sequence is empty or its last event is news.

    Limits: what fell out of a bounded window counts as never seen, so that a repetition of it is news again.
    """
    last_news = -1
    seen: set[Hashable] = set()
    for position, event in enumerate(events):
        if event not in seen:
            seen.add(event)
            last_news = position
    return len(events) - 1 - last_news


def repeated(events: Sequence[Hashable], times: int) -> Loop | None:
    """Whether an event was seen at least `times` times with nothing new in between.

    Its occurrences in the stale tail count, and one before it; other stale events may stand between them.
    Raises `ValueError` for `times` below 2.
    """
    if times < 2:
        raise ValueError(f"A repetition needs times >= 2, and got {times!r}. One occurrence repeats nothing.")
    if len(events) < times:
        return None
    tail = stale_tail(events)
    if tail < times - 1:
        return None
    event, again = Counter(events[len(events) - tail :]).most_common(1)[0]
    if again + 1 < times:
        return None
    latest = max(position for position, each in enumerate(events) if each == event)
    return Loop(period=1, times=again + 1, members=(latest,))


def cycle(events: Sequence[Hashable], max_period: int, times: int) -> Loop | None:
    """The shortest period in 2..`max_period` with which the sequence ends in at least `times` equal rounds.

    The comparison is by shift (event i equals event i + period), so it holds at any point of a round. A single event
    repeated is not a cycle: `repeated` finds it. Cost: `max_period` passes over at most the whole sequence.
    Raises `ValueError` for `max_period` or `times` below 2.
    """
    if max_period < 2 or times < 2:
        raise ValueError(
            f"A cycle needs max_period >= 2 and times >= 2, and got {max_period!r} and {times!r}. "
            "Period 1 is a repetition, and one round repeats nothing."
        )
    for period in range(2, min(max_period, len(events) // times) + 1):
        matching = 0
        while matching + period < len(events) and events[-1 - matching] == events[-1 - matching - period]:
            matching += 1
        rounds = matching // period + 1
        if rounds >= times and len(set(events[-period:])) > 1:
            return Loop(period=period, times=rounds, members=tuple(range(len(events) - period, len(events))))
    return None


def likened(
    keys: Sequence[Hashable], sketches: Sequence[str], near: Callable[[str, str], bool]
) -> tuple[tuple[Hashable, int], ...]:
    """The events of a sequence with those made equal that have one key and sketches that are near each other.

    Each event is compared with the latest of every group of its key, so that a slow drift stays in one group, and takes
    the number of the first that is near. `repeated` and `cycle` over the answer find the *soft* loop, whose rounds
    differ a little. Cost: one comparison for each event and group of its key.
    """
    groups: dict[Hashable, list[str]] = {}
    found: list[tuple[Hashable, int]] = []
    for key, sketch in zip(keys, sketches, strict=True):
        latest = groups.setdefault(key, [])
        place = next((i for i, other in enumerate(latest) if near(sketch, other)), len(latest))
        if place == len(latest):
            latest.append(sketch)
        else:
            latest[place] = sketch
        found.append((key, place))
    return tuple(found)
