"""Makes a counterexample small: leaves out whatever it does not need, as long as it still breaks.

Delta debugging (Zeller and Hildebrandt, 2002, "Simplifying and isolating failure-inducing input") over words. A pair of
questions is first brought closer (a difference that is not needed is undone), then both lose the words that they share.
What is left is 1-minimal as far as the budget went: no single word or difference can go. For a random system a
candidate is only kept when it breaks as often as `broken` demands, and the result must be tried again on new draws.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Broken = Callable[[str, str | None], Awaitable[bool]]
_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")


class _Piece(NamedTuple):
    """A stretch of two texts: what the one has there and what the other; equal where they share it."""

    one: str
    other: str


async def shrink(text: str, other: str | None, broken: Broken, tries: int) -> tuple[str, str | None]:
    """The smallest found text, or pair of texts, that still breaks, after at most `tries` questions to `broken`."""
    left = tries

    async def still(pieces: list[_Piece]) -> bool:
        nonlocal left
        one, two = _texts(pieces)
        if left <= 0 or not one.strip() or (other is not None and (not two.strip() or one == two)):
            return False
        left -= 1
        return await broken(one, two if other is not None else None)

    pieces = _pieces(text, text if other is None else other)
    if other is not None:
        for index in [at for at, piece in enumerate(pieces) if piece.one != piece.other]:
            undone = [*pieces[:index], _Piece(pieces[index].one, pieces[index].one), *pieces[index + 1 :]]
            if await still(undone):
                pieces = undone
    pieces = await _fewer(pieces, still)
    one, two = _texts(pieces)
    return one, None if other is None else two


async def _fewer(pieces: list[_Piece], still: Callable[[list[_Piece]], Awaitable[bool]]) -> list[_Piece]:
    """Leave out stretches of shared pieces, halves first and single ones last, until nothing more can go."""
    size = max(1, len(pieces) // 2)
    while True:
        went, start = False, 0
        while start < len(pieces):
            window = pieces[start : start + size]
            kept = [piece for piece in window if piece.one != piece.other]
            candidate = pieces[:start] + kept + pieces[start + size :]
            if len(kept) < len(window) and await still(candidate):
                pieces, went = candidate, True
                start += len(kept)
            else:
                start += size
        if size == 1 and not went:
            return pieces
        size = max(1, size // 2)


def _pieces(one: str, other: str) -> list[_Piece]:
    """Two texts cut into the words that they share and the stretches in which they differ."""
    a, b = _TOKENS.findall(one), _TOKENS.findall(other)
    made: list[_Piece] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            made += [_Piece(token, token) for token in a[i:j]]
        else:
            made.append(_Piece("".join(a[i:j]), "".join(b[k:m])))
    return made


def _texts(pieces: list[_Piece]) -> tuple[str, str]:
    return "".join(piece.one for piece in pieces), "".join(piece.other for piece in pieces)
