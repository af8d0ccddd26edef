"""Tells whether a reply addresses its reader in the wanted register: formal or informal, in seven languages.

Problem
    A translated prompt gives fluent replies that say du to a customer, or end in curt plain forms. Scores of meaning
    stay good; the customer is offended.

Method
    The forms of address in the output are read by rule (German, French, Spanish, Italian, Russian, Japanese, Korean).
    The value is 1 where only the wanted register is marked, 0 where only the other one is, and 0 for both (label
    `mixed`). An
    output that marks neither has no value: it says nothing about the register. The language is `language`, or the
    case's attribute `locale`.

Limits
    Politeness is more than the form of address. Plural you is formal by its form in French and Russian. See
    `benchmarks/register_agreement.py` for how often the rules agree with professional translators.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from watchkeeper.analysis.register import LANGUAGES, read_register
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Formal or informal address; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="register",
        version="1",
        theme="quality",
        summary="Whether a reply addresses its reader in the wanted register.",
    )

    wanted: Annotated[Literal["formal", "informal"], Meta(description="The register that replies must have.")] = (
        "formal"
    )
    language: Annotated[
        str | None, Meta(description="The replies' language; without it the case's attribute `locale` says.")
    ] = None

    def score(self, subject: Subject) -> Scores:
        """1 for the wanted register alone, 0 for the other one or both, no value where nothing is marked."""
        attributes = {} if subject.case is None else subject.case.attributes
        language = self.language or attributes.get("locale")
        if not isinstance(language, str):
            return (_unjudged("no language: set `language`, or give the case an attribute `locale`"),)
        if language.replace("_", "-").partition("-")[0].lower() not in LANGUAGES:
            return (_unjudged(f"there are no register rules for {language!r}; known are: {', '.join(LANGUAGES)}"),)
        reading = read_register(subject.output or "", language)
        if reading.register == "unmarked":
            return (_unjudged("the output marks neither register"),)
        marks = ", ".join((*reading.formal[:3], *reading.informal[:3]))
        value = float(reading.register == self.wanted)
        return (Mark(name="register", value=value, label=reading.register, explanation=f"marked by: {marks}"),)


def _unjudged(why: str) -> Mark:
    return Mark(name="register", explanation=why)
