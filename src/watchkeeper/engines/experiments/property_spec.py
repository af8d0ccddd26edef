"""What a suite can say must hold of answers, beyond right or wrong: a property, as people write it."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text
from watchkeeper.analysis.entities import ungrounded

Holds = Literal["same", "flips", "at_most", "contained", "idempotent", "scored"]
ALONE = ("at_most", "contained", "idempotent", "scored")
"""What is asked of one answer; the others compare the answers to two questions."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of the question that a suite brings itself: every match of `pattern` becomes `by`."""

    pattern: str
    by: str


class Property(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One property: what `holds`, of the suite's cases and of those that a generator (`under`, `with`) makes of them.

    `same`: the answer to the changed question is the same. `flips`: it is the other one of the two `labels`. `at_most`:
    an answer has no more than `chars` characters and `words` words. `contained`: what it names (numbers, names,
    identifiers, addresses) stands in the question. `idempotent`: asked about its own answer, the system gives it again.
    `scored`: the scorer `scorer` (for example `schema`) gives at least `bar`.

    Answers are compared without case, in one Unicode form and with any white space as one blank, or by the first group
    of `read` (a regular expression). `allowed` is the violation rate that is put up with.
    """

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    holds: Holds
    under: str | None = None
    parameters: dict[str, Any] = msgspec.field(name="with", default_factory=dict)
    rewrite: Rewrite | None = None
    labels: tuple[str, str] | None = None
    chars: Annotated[int, Meta(ge=1)] | None = None
    words: Annotated[int, Meta(ge=1)] | None = None
    scorer: str | None = None
    scorer_parameters: dict[str, Any] = msgspec.field(name="scorer_with", default_factory=dict)
    bar: float = 1.0
    read: str | None = None
    allowed: Annotated[float, Meta(ge=0, lt=1)] = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        paired = self.holds not in ALONE
        if self.under is not None and self.rewrite is not None:
            raise ValueError("`under` and `rewrite` are two ways to change a question; name one of them")
        if paired and self.under is None and self.rewrite is None:
            raise ValueError(f"`{self.holds}` compares two questions: name a generator with `under`, or a `rewrite`")
        needs = {"flips": ("labels", self.labels), "scored": ("scorer", self.scorer)}
        name, value = needs.get(self.holds, ("", True))
        if value is None:
            raise ValueError(f"`{self.holds}` needs `{name}`")
        if self.holds == "at_most" and self.chars is None and self.words is None:
            raise ValueError("`at_most` needs `chars` or `words`, the most that an answer may have")
        for pattern in (self.read, self.rewrite and self.rewrite.pattern):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error

    @property
    def paired(self) -> bool:
        """Whether two questions are compared."""
        return self.holds not in ALONE

    def said(self, answer: str) -> str:
        """What of an answer is compared."""
        found = re.search(self.read, answer) if self.read else None
        text = answer if found is None else found[1] if found.re.groups else found[0]
        return " ".join(unicodedata.normalize("NFC", text).split()).casefold()

    def broken_by(self, answer: str, other: str) -> str | None:
        """Why a pair of answers breaks the property; None where it holds. For `same`, `flips` and `idempotent`."""
        one, two = self.said(answer), self.said(other)
        if self.holds != "flips":
            return None if one == two else f"{_short(one)} became {_short(two)}"
        assert self.labels is not None
        yes, no = (self.said(label) for label in self.labels)
        wanted = {yes: no, no: yes}.get(one)
        if wanted is None:
            return f"{_short(one)} is neither of the labels"
        return None if two == wanted else f"{_short(one)} should have become {_short(wanted)}, and became {_short(two)}"

    def broken_alone(self, messages: str, answer: str) -> str | None:
        """Why one answer breaks the property; None where it holds. For `at_most` and `contained`."""
        if self.holds == "contained":
            strange = ungrounded(answer, asked_text(messages) or messages)
            return f"names {', '.join(map(_short, strange[:3]))}, which the question does not" if strange else None
        for name, most, has in (("chars", self.chars, len(answer)), ("words", self.words, len(answer.split()))):
            if most is not None and has > most:
                return f"has {has} {name}; at most {most} are allowed"
        return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
