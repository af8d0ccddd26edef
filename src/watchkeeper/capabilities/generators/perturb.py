"""Makes variants of a case as people mistype it: swapped letters, other case, doubled spaces, lost punctuation.

Problem
    A suite holds sentences as their author writes them. Users write in haste, on telephones, in capitals, and a system
    that is right on the suite is wrong on what they send.

Method
    For each case `per_case` variants of its last user message are made, each with `edits` changes at random places: two
    neighbouring letters of a word swapped, a word in capitals or in small letters, a space doubled, a mark of
    punctuation left out. Numbers, and words that hold a digit, are never touched: they name things. What was changed
    where stands in the variant's attributes, so that a counterexample can be shrunk to the change that matters. The
    same random source makes the same variants.

Limits
    Mistakes are of Latin keyboards, and uniform over the text; real ones are not. A swapped letter can make another
    word. Cases whose last user message is not plain text give no variant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.analysis.splices import Splice
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.variant import last_text, variant
from watchkeeper.records.case import Case

Kind = Literal["swap", "case", "space", "punctuation"]
_WORD = re.compile(r"[^\W\d_]{2,}")
_PLACES = {"space": re.compile(r"(?<=\S) (?=\S)"), "punctuation": re.compile(r"[.,;:!?](?=\s|$)")}


class Perturb(msgspec.Struct, frozen=True, kw_only=True):
    """Variants with typing mistakes; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="perturb", version="1", theme="quality", summary="Variants of a case with typing mistakes."
    )

    per_case: Annotated[int, msgspec.Meta(ge=1, le=1000, description="Variants of each case.")] = 1
    edits: Annotated[int, msgspec.Meta(ge=1, le=100, description="Changes in each variant.")] = 3
    kinds: Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1, description="Which mistakes are made.")] = (
        "swap",
        "case",
        "space",
        "punctuation",
    )

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """The variants of each case, in order; a text without a place to change gives none."""
        for case in cases:
            text = last_text(case)
            places = [] if text is None else _places(text, self.kinds)
            if text is None or not places:
                continue
            for number in range(self.per_case):
                chosen = _apart(rng.sample(places, min(self.edits, len(places))))
                splices = tuple(_change(text, kind, start, end, rng) for kind, start, end in chosen)
                yield variant(case, self.header.id, number, splices)


def _places(text: str, kinds: tuple[Kind, ...]) -> list[tuple[str, int, int]]:
    """Where each kind of mistake can be made."""
    found: list[tuple[str, int, int]] = []
    whole = {match.span() for match in re.finditer(r"\S+", text) if any(sign.isdigit() for sign in match.group())}
    for kind in kinds:
        for match in _PLACES.get(kind, _WORD).finditer(text):
            start, end = match.span()
            if not any(begin <= start and end <= stop for begin, stop in whole):
                found.append((kind, start, end))
    return found


def _apart(places: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The places that do not overlap an earlier one."""
    kept: list[tuple[str, int, int]] = []
    for kind, start, end in sorted(places, key=lambda place: place[1:]):
        if not kept or start >= kept[-1][2]:
            kept.append((kind, start, end))
    return kept


def _change(text: str, kind: str, start: int, end: int, rng: Random) -> Splice:
    word = text[start:end]
    if kind == "space":
        return Splice(start=start, end=end, text="  ", kind=kind)
    if kind == "punctuation":
        return Splice(start=start, end=end, text="", kind=kind)
    if kind == "case":
        return Splice(start=start, end=end, text=word.lower() if word != word.lower() else word.upper(), kind=kind)
    at = rng.randrange(len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return Splice(start=start, end=end, text=swapped, kind=kind)
