"""Sets of sequence numbers, kept small: runs of neighbours, written as variable-length integers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""The first sequence number of a run, and how many follow on one another."""


def runs_of(seqs: Iterable[int]) -> list[Run]:
    """The runs of some sequence numbers; they may come in any order and repeat."""
    runs: list[Run] = []
    for seq in sorted(set(seqs)):
        if runs and runs[-1][0] + runs[-1][1] == seq:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((seq, 1))
    return runs


def pack_runs(runs: Iterable[Run]) -> bytes:
    """Runs in rising order as bytes: by turns the gap since the last run's end, and the length."""
    packed = bytearray()
    end = 0
    for first, count in runs:
        for number in (first - end, count):
            while number > 0x7F:
                packed.append(number & 0x7F | 0x80)
                number >>= 7
            packed.append(number)
        end = first + count
    return bytes(packed)


def unpack_runs(packed: bytes) -> Iterator[Run]:
    """The runs that `pack_runs` wrote; raises `ValueError` for bytes that are none."""
    numbers = _numbers(packed)
    end = 0
    for gap in numbers:
        count = next(numbers, 0)
        if count < 1:
            raise ValueError("a run of sequence numbers has no length")
        yield end + gap, count
        end += gap + count


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
        elif shift > 63:
            raise ValueError("a sequence number is longer than 64 bits")
    if shift:
        raise ValueError("the runs end within a number")


class Seqs:
    """A set of sequence numbers made of runs; grows by whole runs, asks in logarithmic time."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs = _merged(runs)
        self._firsts = [first for first, _ in self._runs]

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq) - 1
        return at >= 0 and seq < self._runs[at][0] + self._runs[at][1]

    def __iter__(self) -> Iterator[int]:
        for first, count in self._runs:
            yield from range(first, first + count)

    def __len__(self) -> int:
        return sum(count for _, count in self._runs)

    def __or__(self, other: Seqs) -> Seqs:
        return Seqs([*self._runs, *other._runs])

    def __sub__(self, other: Seqs) -> Seqs:
        """The numbers that are not in `other`; costs by the number, for what is expected to be few."""
        left: list[Run] = []
        for first, count in self._runs:
            left.extend(runs_of(seq for seq in range(first, first + count) if seq not in other))
        return Seqs(left)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs in rising order."""
        return tuple(self._runs)


def _merged(runs: Iterable[Run]) -> list[Run]:
    merged: list[Run] = []
    for first, count in sorted(runs):
        if merged and first <= merged[-1][0] + merged[-1][1]:
            begin = merged[-1][0]
            merged[-1] = (begin, max(merged[-1][1], first + count - begin))
        else:
            merged.append((first, count))
    return merged
