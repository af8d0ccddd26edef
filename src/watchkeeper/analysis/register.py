"""Tells in which register a text speaks to its reader: formal, informal, both, or with no mark of either.

By rule, from the grammar of address in seven languages, one file each in `address`: pronouns, possessives, verb forms
and imperatives (German, French, Spanish, Italian, Russian), and the endings of sentences (Japanese, Korean). Each mark
carries a weight: 1 for a form with no other reading, less for one that may mean something else (Spanish su is your, his
and her). A side stands where it has a form of weight 1 or where weaker ones add up; the same weak rule counts one and a
half times at most, so that a long text about somebody does not become an address. Quotations are left out.

Limits: a text may address its reader without any marked word, or nobody; that is "unmarked", never one of the two.
Politeness is more than address. Plural you (French vous, Russian вы, Spanish ustedes) is formal by its form. Japanese
and Korean plain endings are read as informal also where writing is merely impersonal (である, -다).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from watchkeeper.analysis.address import french, german, italian, japanese, korean, russian, spanish
from watchkeeper.analysis.address.words import Evidence, Sentence, Side, composed, sentences, unquoted

Register = Literal["formal", "informal", "mixed", "unmarked"]

_ENOUGH = 0.5
_APART = 0.2
_BY_SENTENCE: dict[str, Callable[[Sentence], Iterator[Evidence]]] = {
    "de": german.marks,
    "es": spanish.marks,
    "fr": french.marks,
    "it": italian.marks,
    "ru": russian.marks,
}
_BY_ENDING: dict[str, Callable[[str], Iterator[Evidence]]] = {"ja": japanese.marks, "ko": korean.marks}
LANGUAGES = tuple(sorted({**_BY_SENTENCE, **_BY_ENDING}))


class Reading(msgspec.Struct, frozen=True):
    """The register of a text, how strongly it is marked (0 to 1), the marks in order, and the language of the rules."""

    register: Register
    strength: float
    language: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def formal(self) -> tuple[str, ...]:
        """The formal forms as written."""
        return tuple(mark.form for mark in self.evidence if mark.side == "formal")

    @property
    def informal(self) -> tuple[str, ...]:
        """The informal forms as written."""
        return tuple(mark.form for mark in self.evidence if mark.side == "informal")


def read_register(text: str, language: str) -> Reading:
    """Read a text in a language (`de`, or a tag such as `de-AT`); raises `ValueError` for one without rules."""
    name = language.replace("_", "-").partition("-")[0].lower()
    if name not in LANGUAGES:
        raise ValueError(f"there are no register rules for {language!r}; known are: {', '.join(LANGUAGES)}")
    whole, places = composed(text)
    found = [mark for mark in _marks(unquoted(whole), name) if mark.weight > 0]
    if len(whole) != len(text):
        found = [msgspec.structs.replace(mark, start=places[mark.start], end=places[mark.end]) for mark in found]
    register, strength = _weighed(found)
    return Reading(register, strength, name, tuple(found))


def _marks(text: str, name: str) -> Iterator[Evidence]:
    if name in _BY_ENDING:
        yield from _BY_ENDING[name](text)
    else:
        for sentence in sentences(text):
            yield from _BY_SENTENCE[name](sentence)


def _weighed(found: list[Evidence]) -> tuple[Register, float]:
    """The register that the marks add up to, and how strong it is."""
    formal, informal = _level(found, "formal"), _level(found, "informal")
    if formal == informal == 1.0:
        sides = [mark.side for mark in found if mark.weight == 1.0]
        return "mixed", round(2 * min(sides.count("formal"), sides.count("informal")) / len(sides), 2)
    if max(formal, informal) < _ENOUGH or (max(formal, informal) < 1.0 and abs(formal - informal) < _APART):
        return "unmarked", 0.0
    return ("formal" if formal > informal else "informal"), round(max(formal, informal) - min(formal, informal) / 2, 2)


def _level(found: list[Evidence], side: Side) -> float:
    """How far a side is marked: 1 with a form of weight 1, else the sum of its rules' weights, below 1."""
    rules: dict[str, tuple[float, float]] = {}
    for mark in found:
        if mark.side == side:
            most, total = rules.get(mark.rule, (0.0, 0.0))
            rules[mark.rule] = (max(most, mark.weight), total + mark.weight)
    if any(most == 1.0 for most, _ in rules.values()):
        return 1.0
    return min(0.9, sum(min(total, 1.5 * most) for most, total in rules.values()))
