"""Changes how a question is typed, not what it asks: typos, white space, case, punctuation, Unicode, list order.

Problem
    A curated set is typed with care; people are not. An answer that depends on a second blank or a swapped letter is
    right by luck.

Method
    From each case `count` new ones for each of `kinds`. `typos` swaps, drops or doubles one letter in `strength` words
    of four lower-case ASCII letters or more, never the first letter, so numbers, names and identifiers stay.
    `whitespace` widens blanks and adds some at the ends. `case` writes all in lower or upper case. `punctuation` drops,
    doubles or sets apart the mark at the end. `unicode` decomposes accents, curls quotes and makes blanks non-breaking.
    `order` shuffles the lines of a list. A change that changes nothing yields no case.

Limits
    Only the last user message is changed. Lower or upper case can change the meaning of a name (Turkish dotless i is
    not handled), and a list whose order matters must not be shuffled: leave those kinds out there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case

Kind = Literal["typos", "whitespace", "case", "punctuation", "unicode", "order"]
_WORD = re.compile(r"(?<![\w-])[a-z]{4,}(?![\w-])")
_LISTED = re.compile(r"(?m)^[ \t]*(?:[-*•]|\d+[.)])[ \t]+(.+)$")


class Perturb(msgspec.Struct, frozen=True, kw_only=True):
    """Small changes of form; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="perturb", version="1", theme="quality", summary="Changes how a question is typed, not what it asks."
    )

    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, description="What to change.")] = (
        "typos", "whitespace", "case", "punctuation", "unicode",
    )  # fmt: skip
    count: Annotated[int, Meta(ge=1, le=100, description="New cases for each case and kind.")] = 1
    strength: Annotated[int, Meta(ge=1, le=50, description="Words that get a typo.")] = 1

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the changed cases, in the order of the cases; the same `rng` gives the same ones."""
        changes: dict[str, Callable[[str, Random], str]] = {
            "typos": self._typos, "whitespace": _whitespace, "case": _case, "punctuation": _punctuation,
            "unicode": _unicode, "order": _order,
        }  # fmt: skip
        for case in cases:
            text, number = asked_text(case.messages), 0
            if text is None:
                continue
            for kind in self.kinds:
                for _ in range(self.count):
                    changed = changes[kind](text, rng)
                    if changed != text:
                        yield child(case, with_text(case.messages, changed), "perturb", kind, number)
                        number += 1

    def _typos(self, text: str, rng: Random) -> str:
        words = list(_WORD.finditer(text))
        for word in sorted(rng.sample(words, min(self.strength, len(words))), key=lambda found: -found.start()):
            text = text[: word.start()] + _mistyped(word[0], rng) + text[word.end() :]
        return text


def _mistyped(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice(
        [each for each in (swapped, word[:at] + word[at + 1 :], word[: at + 1] + word[at:]) if each != word]
    )


def _whitespace(text: str, rng: Random) -> str:
    blanks = [found.start() for found in re.finditer(" ", text)]
    for at in sorted(rng.sample(blanks, min(2, len(blanks))), reverse=True):
        text = text[:at] + rng.choice(("  ", "   ", " \t")) + text[at + 1 :]
    return rng.choice(("", " ", "\n")) + text + rng.choice((" ", "\n", "  \n"))


def _case(text: str, rng: Random) -> str:
    return rng.choice([each for each in (text.lower(), text.upper()) if each != text] or [text])


def _punctuation(text: str, rng: Random) -> str:
    body = text.rstrip()
    mark = body[-1] if body and body[-1] in ".?!" else ""
    bare = body[: len(body) - len(mark)]
    return rng.choice((bare, bare + mark * 2, f"{bare} {mark}") if mark else (f"{bare}.", f"{bare} ..."))


def _unicode(text: str, rng: Random) -> str:
    curled = text.replace("'", "’").replace('"', "”")
    unbroken = text.replace(" ", "\u00a0", 1 + rng.randrange(3))
    forms = [form for form in (unicodedata.normalize("NFD", text), curled, unbroken) if form != text]
    return rng.choice(forms or [text])


def _order(text: str, rng: Random) -> str:
    """Shuffle what stands behind the marks of a list; the marks stay, so that numbers still count up."""
    found = list(_LISTED.finditer(text))
    said = [line[1] for line in found]
    rng.shuffle(said)
    for line, new in reversed(list(zip(found, said, strict=True))):
        text = text[: line.start(1)] + new + text[line.end(1) :]
    return text
