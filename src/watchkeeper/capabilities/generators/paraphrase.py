"""Says the same in other words, by rule: politeness, contractions, frames around a question, safe synonyms.

Problem
    Users phrase things otherwise than the people who wrote the cases. A set in which each question has one wording
    cannot see that.

Method
    Rules for English, each of which keeps the meaning: `polite` adds or takes away please and thanks; `contractions`
    joins or parts them ("what is" and "what's"); `frame` puts a question into a sentence that asks it ("Quick
    question: ..."); `synonyms` swaps words and phrases of a small table that mean the same in requests ("get back" for
    "return" is not among them). `negate` is not a paraphrase: it turns the first "is", "was", "can", "should", "will",
    "do" or "does" of a text into its negation or back, for relations that must flip. From each case up to `count` new
    ones for each of `rules`; a rule that finds nothing to change yields none.

Limits
    English only, and only the last user message. Rules are few so that they are safe: for freer wordings bring a file
    of paraphrases and name the originals in `cluster`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case

Rule = Literal["polite", "contractions", "frame", "synonyms", "negate"]
_FRAMES = ("Quick question: {}", "Hello, {}", "I have a question. {}", "{} That is all I need.", "Hi there! {}")
_JOINED = (
    ("what is", "what's"), ("I am", "I'm"), ("it is", "it's"), ("do not", "don't"), ("cannot", "can't"),
    ("is not", "isn't"), ("does not", "doesn't"), ("I would", "I'd"), ("I have not", "I haven't"), ("where is", "where's"),  # noqa: E501
)  # fmt: skip
_SYNONYMS = (
    ("buy", "purchase"), ("help me", "assist me"), ("need to", "have to"), ("want to", "would like to"),
    ("how many", "what number of"), ("arrived damaged", "came damaged"), ("never arrived", "did not arrive"),
    ("send me", "mail me"), ("show me", "let me see"), ("tell me", "let me know"), ("big", "large"), ("begin", "start"),
)  # fmt: skip
_VERB = re.compile(r"\b(is|are|was|were|can|should|will|do|does|did|has)(n't| not|not)?\b", re.IGNORECASE)


class Paraphrase(msgspec.Struct, frozen=True, kw_only=True):
    """Other words by rule; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="paraphrase", version="1", theme="quality", summary="Says the same in other words, by rule, in English."
    )

    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, description="The rules to use.")] = (
        "polite", "contractions", "frame", "synonyms",
    )  # fmt: skip
    count: Annotated[int, Meta(ge=1, le=20, description="New cases for each case and rule, at most.")] = 1

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the rephrased cases, in the order of the cases; the same `rng` gives the same ones."""
        for case in cases:
            text, number = asked_text(case.messages), 0
            if text is None or not text.strip():
                continue
            for rule in self.rules:
                wordings = _wordings(rule, text)
                for changed in rng.sample(wordings, min(self.count, len(wordings))):
                    yield child(case, with_text(case.messages, changed), "paraphrase", rule, number)
                    number += 1


def _wordings(rule: str, text: str) -> list[str]:
    """All that a rule makes of a text."""
    if rule == "polite":
        bare = re.sub(r"(?i)\s*,?\s*\bplease\b", "", text).strip()
        made = [bare] if bare != text.strip() else [f"{text} Thank you!", f"Please: {text}"]
    elif rule == "frame":
        made = [frame.format(text) for frame in _FRAMES]
    elif rule == "negate":
        made = [_negated(text)]
    else:
        made = [_swapped(text, *pair) for pair in (_JOINED if rule == "contractions" else _SYNONYMS)]
    return list(dict.fromkeys(each for each in made if each and each != text))


def _swapped(text: str, one: str, other: str) -> str:
    """The text with one of two phrases changed for the other, whichever stands there."""
    for old, new in ((one, other), (other, one)):
        found = re.search(rf"(?i)(?<!\w){re.escape(old)}(?![\w'’])", text)
        if found:
            put = new[0].upper() + new[1:] if found[0][0].isupper() else new
            return text[: found.start()] + put + text[found.end() :]
    return text


def _negated(text: str) -> str:
    found = _VERB.search(text)
    if found is None:
        return text
    verb = found[1]
    return (
        text[: found.start()]
        + (verb if found[2] else ("cannot" if verb == "can" else f"{verb} not"))
        + text[found.end() :]
    )
