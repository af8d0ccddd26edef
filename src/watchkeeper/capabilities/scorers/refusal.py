"""Tells whether a reply refuses what was asked, in ten languages.

Problem
    A model refuses in one language what it answers in another. Each reply looks right by itself; only the same question
    in both languages shows it.

Method
    The first 160 characters of the reply are searched for the words with which refusals say what they will not do, in
    English, German, French, Spanish, Italian, Portuguese, Russian, Japanese, Korean or Chinese. The value is 1 and the
    label `refusal` where it does, 0 and `answer` where not; a finish reason of refusal or content filter counts as one.
    The language is `language`, or the case's attribute `locale`. `watchkeeper eval locales` holds the refusals of each
    locale against those of another one on the same prompts.

Limits
    By rule: a refusal in other words is not known, and "I cannot find parcel 7" is taken for one. An apology alone is
    none. An empty reply has no value. See `benchmarks/refusal_agreement.py` for how often the rules agree with people
    in English, and how often they take ordinary sentences of five languages for a refusal.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.refusals import LANGUAGES, refuses
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

_FINISHED = ("refusal", "content_filter")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Refusals by rule; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="refusal", version="1", theme="quality", summary="Whether a reply refuses what was asked."
    )

    language: Annotated[
        str | None, Meta(description="The replies' language; without it the case's attribute `locale` says.")
    ] = None

    def score(self, subject: Subject) -> Scores:
        """1 for a refusal, 0 for an answer, no value where that cannot be told."""
        if subject.finish_reason in _FINISHED:
            return (_mark(True, f"the reply's finish reason is {subject.finish_reason}"),)
        attributes = {} if subject.case is None else subject.case.attributes
        language = self.language or attributes.get("locale")
        if not isinstance(language, str):
            return (_unjudged("no language: set `language`, or give the case an attribute `locale`"),)
        if language.replace("_", "-").partition("-")[0].lower() not in LANGUAGES:
            return (_unjudged(f"there are no rules of refusal for {language!r}; known are: {', '.join(LANGUAGES)}"),)
        text = (subject.output or "").strip()
        if not text:
            return (_unjudged("there is no text"),)
        refused = refuses(text, language)
        return (_mark(refused, "it begins as refusals do" if refused else "it does not begin as refusals do"),)


def _mark(refused: bool, why: str) -> Mark:
    return Mark(name="refusal", value=float(refused), label="refusal" if refused else "answer", explanation=why)


def _unjudged(why: str) -> Mark:
    return Mark(name="refusal", explanation=why)
