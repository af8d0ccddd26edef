"""Cuts a text into sentences of words for the rules of address, without quotations, links and addresses.

Everything is one pass over the text with patterns that cannot run back over what they have read, so the time grows as
the length does. Positions are those of the text as it was given, also where it was written with combining marks.

Limits: a straight quotation mark is taken to open a quotation and the next one in the line to close it, so a stray one
can hide a stretch of the line. Abbreviations with a full stop and a space end a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

Side = Literal["formal", "informal"]

_MARKS = "\u0300-\u036f\u1161-\u11ff\u3099\u309a"
_CLUSTER = re.compile(f"[^{_MARKS}][{_MARKS}]{{1,8}}")
_QUOTED = re.compile(
    '„[^„“”\n]{1,600}[“”]|“[^“”\n]{1,600}”|«[^«»\n]{1,600}»|»[^«»\n]{1,600}«|"[^"\n]{1,600}"|「[^「」]{1,600}」|『[^『』]{1,600}』'
    "|`[^`\n]{1,600}`"
)
_LINK = re.compile(r"(?<!\S)(?:\S*@\S*|https?://\S*|www\.\S*|--\S+|-[A-Za-z](?![^\W\d_])\S*|[\\/$<]\S+)")
_WORD = re.compile(r"[^\W\d_]+['’]?|\d+")
_ENDS = re.compile(r"[.!?…]['\"»“”’)\]]*\s|[!?…]|\n|[¿¡]")
_GLUE = frozenset("-_/\\=")
_CLAUSE = frozenset(",;:—–(-")


def listed(text: str) -> frozenset[str]:
    """The words of a list written with spaces."""
    return frozenset(text.split())


_SHORT = listed("m mm mme mr mrs dr dra sr sra srta ud uds vd vds hr fr prof nr bzw sig dott z b d h s")


class Evidence(msgspec.Struct, frozen=True):
    """One mark of a register: the form as written, where it stands, which side, how much it weighs, and by which rule.

    A weight of 1 is a form that has no other reading; less is a form that may mean something else too.
    """

    form: str
    start: int
    end: int
    side: Side
    weight: float
    rule: str


class Word(NamedTuple):
    """A word as written, in small letters, its place, and what stands between it and the word before."""

    text: str
    low: str
    start: int
    end: int
    gap: str

    @property
    def opens(self) -> bool:
        """Whether a clause can begin here: at the head, or after a comma, colon, bracket or dash with space."""
        return self.gap == "" or (not _CLAUSE.isdisjoint(self.gap) and self.gap != "-")

    @property
    def glued(self) -> bool:
        """Whether it hangs on the word before, as in a name of a file or an option."""
        return self.gap in _GLUE

    @property
    def shouted(self) -> bool:
        """Whether it is all capitals."""
        return len(self.text) > 1 and self.text.isupper()

    @property
    def capital(self) -> bool:
        """Whether it begins with a capital."""
        return self.text[:1].isupper()


class Sentence(NamedTuple):
    """The words of a sentence (the first has no gap), whether it is a question, and its number in the text."""

    words: list[Word]
    question: bool
    number: int

    def low(self, index: int) -> str:
        """The word at a place in small letters; empty outside the sentence."""
        return self.words[index].low if 0 <= index < len(self.words) else ""

    def lead(self, index: int, leading: Container[str]) -> int:
        """Where the words that go with the verb at a place begin: at most five of those that may lead it."""
        at = index
        while at > 0 and index - at < 5 and not self.words[at].opens and self.low(at - 1) in leading:
            at -= 1
        return at

    def stands_out(self, index: int) -> bool:
        """Whether the word is all capitals between words that are not, as an abbreviation is."""
        around = (self.words[at] for at in (index - 1, index + 1) if 0 <= at < len(self.words))
        return self.words[index].shouted and any(word.text.islower() for word in around)

    def mark(self, index: int, side: Side, weight: float, rule: str, *, first: int | None = None) -> Evidence:
        """Evidence for the word at a place, or for the words from `first` to it."""
        words = self.words[index if first is None else first : index + 1]
        return Evidence(" ".join(word.text for word in words), words[0].start, words[-1].end, side, weight, rule)


def composed(text: str) -> tuple[str, Sequence[int]]:
    """The text with letters and their combining marks made one, and where each character began; last the end."""
    parts: list[str] = []
    places: list[int] = []
    at = 0
    for cluster in _CLUSTER.finditer(text):
        whole = unicodedata.normalize("NFC", cluster[0])
        parts += (text[at : cluster.start()], whole)
        places += range(at, cluster.start())
        places += range(cluster.start(), cluster.start() + len(whole))
        at = cluster.end()
    if not parts:
        return text, range(len(text) + 1)
    return "".join((*parts, text[at:])), [*places, *range(at, len(text) + 1)]


def unquoted(text: str) -> str:
    """The text with quotations, code, links and addresses blanked, unless nothing else would be left."""
    bare = _LINK.sub(_blank, text)
    rest = _QUOTED.sub(_blank, bare)
    return rest if any(map(str.isalpha, rest)) else bare


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text, in order."""
    words: list[Word] = []
    number = at = 0
    for found in _WORD.finditer(text):
        gap = text[at : found.start()]
        if words and _ENDS.search(gap) and not (gap == ". " and words[-1].low in _SHORT):
            yield Sentence(words, "?" in gap, number)
            words, number = [], number + 1
        if words and not gap and not words[-1].text.endswith(("'", "’")):
            gap = "_"
        words.append(Word(found[0], found[0].lower(), found.start(), found.end(), gap if words else ""))
        at = found.end()
    if words:
        yield Sentence(words, "?" in text[at:], number)


def _blank(found: re.Match[str]) -> str:
    return " " * (found.end() - found.start())
