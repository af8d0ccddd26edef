"""Remembers which keys a table holds, so that a new row is known to be new without a look at the table.

Method: a Bloom filter in blocks (Putze, Sanders, Singler: "Cache-, hash- and space-efficient Bloom filters", 2007) that
grows by chunks. A key sets seven bits in each of two 64-bit words; a key whose bits are not all set was never added. At
32 bits a key about one in ten thousand new keys looks known; those are looked up in the table, so a mistake costs time
and never a row. Looking at and adding a key takes one to two microseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable
from functools import cache
from random import Random
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

CAPACITY = 4_000_000
"""How many keys of a table are remembered whatever their age; a table with more keeps those of the last two days."""

_CHUNKS = (1 << 16, 1 << 20)
_BITS = 7
_BEGINNING_NS = -(1 << 63)
_LOW = (1 << 30) - 1


@cache
def _patterns() -> tuple[int, ...]:
    """Words with seven bits set each; which ones does not matter, only that they differ."""
    rng = Random(2007)
    return tuple(sum(1 << bit for bit in rng.sample(range(64), _BITS)) for _ in range(1 << 11))


class KnownKeys:
    """A growing set of keys that may say "perhaps" for a key that was not added, and never "no" for one that was."""

    def __init__(self) -> None:
        self._chunks: list[tuple[array[int], int]] = []
        self._newest: list[int] = []
        self._noted = self._room = 0
        self.count = 0

    def sift(self, keys: Iterable[K]) -> list[K]:
        """Remember some different keys; returns those that were perhaps known before."""
        words, perhaps = _patterns(), []
        for key in keys:
            mark = hash(key)
            first, second = mark & _LOW, mark >> 30 & _LOW
            one, two = words[first >> 19], words[second >> 19]
            for chunk, last in self._chunks:
                if chunk[first & last] & one == one and chunk[second & last] & two == two:
                    perhaps.append(key)
                    break
            else:
                if not self._room:
                    self._grow()
                chunk, last = self._chunks[-1]
                chunk[first & last] |= one
                chunk[second & last] |= two
                self._room -= 1
                self.count += 1
        return perhaps

    def note(self, clock_ns: int) -> None:
        """Say that no key that came since the last note has a later clock than this."""
        for place in range(self._noted, len(self._chunks)):
            self._newest[place] = max(self._newest[place], clock_ns)
        self._noted = max(0, len(self._chunks) - 1)

    def forget(self, before_ns: int) -> int | None:
        """Let whole chunks go in which all keys are older; returns the latest clock among them, None when none went."""
        latest = None
        while len(self._chunks) > 1 and self._newest[0] < before_ns:
            chunk, _ = self._chunks.pop(0)
            clock_ns = self._newest.pop(0)
            latest = clock_ns if latest is None else max(latest, clock_ns)
            self.count -= 2 * len(chunk)
            self._noted -= 1
        return latest

    def _grow(self) -> None:
        """Begin a chunk; 32 bits a key, so that the first takes 256 KiB and each further one 4 MiB."""
        self._room = _CHUNKS[min(len(self._chunks), len(_CHUNKS) - 1)]
        places = self._room // 2
        self._chunks.append((array("Q", bytes(8 * places)), places - 1))
        self._newest.append(_BEGINNING_NS)
