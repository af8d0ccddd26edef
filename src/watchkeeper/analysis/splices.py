"""Changes to a text as a list of places and what to put there, so that any part of a change can be left out.

`ddmin` finds a smallest part of a change that still shows what the whole shows: Zeller and Hildebrandt, "Simplifying
and Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering 28 (2002). The answer is 1-minimal:
leaving out any single one of its places no longer shows it. Limits: where the test is random the answer may not be
minimal, so let the test decide by several tries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from watchkeeper.records.record import Record


class Splice(Record):
    """Put `text` in the place of the characters from `start` up to `end`; `kind` says what sort of change that is."""

    start: int
    end: int
    text: str
    kind: str = ""


def spliced(text: str, splices: Sequence[Splice]) -> str:
    """The text with some places changed; raises `ValueError` where they overlap or lie outside it."""
    pieces: list[str] = []
    at = 0
    for each in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        if not at <= each.start <= each.end <= len(text):
            raise ValueError(
                f"The change from {each.start} to {each.end} overlaps another one or lies outside the text."
            )
        pieces += [text[at : each.start], each.text]
        at = each.end
    return "".join([*pieces, text[at:]])


async def ddmin(
    splices: Sequence[Splice], shows: Callable[[tuple[Splice, ...]], Awaitable[bool]], most_tests: int = 60
) -> tuple[Splice, ...]:
    """A smallest part of `splices` that still `shows` it; at most `most_tests` parts are tried.

    The whole is taken to show it and is not tried. With the tests used up the best part so far is given back.
    """
    kept, parts, tests = tuple(splices), 2, 0
    while len(kept) >= 2:
        size = -(-len(kept) // parts)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        tried = [*chunks, *(tuple(s for s in kept if s not in chunk) for chunk in chunks if len(chunks) > 2)]
        found: tuple[Splice, ...] | None = None
        for part in tried:
            if tests >= most_tests:
                return kept
            tests += 1
            if await shows(part):
                found = part
                break
        if found is not None:
            parts = 2 if found in chunks else max(parts - 1, 2)
            kept = found
        elif parts >= len(kept):
            break
        else:
            parts = min(len(kept), 2 * parts)
    return kept
