"""Tells whether a reply addresses its reader in the wanted register: formal or informal, in seven languages.

Problem
    A translated prompt gives fluent replies that say du to a customer, or end in curt plain forms. Scores of meaning
    stay good; the customer is offended.

Method
    The forms of address in the output are read by rule from grammar (German, French, Spanish, Italian, Russian,
    Japanese, Korean): pronouns, possessives, verb forms, imperatives, the endings of sentences. Each mark has a weight;
    one that may mean something else (Spanish su, Italian suo, a third person without a subject) weighs little, and a
    side stands where a clear form or enough weak ones say so. The value is 1 where only the wanted register stands, 0
    where only the other one does, and 0 for both (label `mixed`). An output that marks neither has no value: it says
    nothing about the register. The explanation names the language, the strength (0 to 1) and the marks with their
    positions. Below `least_strength` there is no value either. The language is `language`, or the case's attribute
    `locale`.

Limits
    Politeness is more than the form of address. Spanish and Italian formal address is often unmarked (su, le and the
    verb are those of he and she): there the rules abstain rather than guess, so ask for coverage beside agreement.
    Plural you is formal by its form in French and Russian, and so is Spanish ustedes. A Japanese or Korean sentence in
    the plain form counts as informal even in impersonal writing, and so may an imperative of du, tu or ты in a manual.
    A line break ends a sentence in Japanese and Korean, also inside text wrapped by hand. Quotations are not read,
    unless there is nothing else. `benchmarks/register_agreement.py` says how often the rules agree with professional
    translators where there are such labels (German, French, Spanish, Italian) and with sentences of our own elsewhere.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from watchkeeper.analysis.register import LANGUAGES, Reading, read_register
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

_SHOWN = 5


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Formal or informal address; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="register",
        version="2",
        theme="quality",
        summary="Whether a reply addresses its reader in the wanted register.",
    )

    wanted: Annotated[Literal["formal", "informal"], Meta(description="The register that replies must have.")] = (
        "formal"
    )
    language: Annotated[
        str | None, Meta(description="The replies' language; without it the case's attribute `locale` says.")
    ] = None
    least_strength: Annotated[
        float, Meta(ge=0, le=1, description="Replies that are marked less strongly than this are not judged.")
    ] = 0.0

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
            weak = f"; seen were {_marks(reading)}" if reading.evidence else ""
            return (_unjudged(f"the output marks neither register ({reading.language}){weak}"),)
        told = f"{reading.language}, strength {reading.strength:.2f}, marked by: {_marks(reading)}"
        if reading.strength < self.least_strength:
            return (_unjudged(f"marked too weakly to judge: {told}"),)
        value = float(reading.register == self.wanted)
        return (Mark(name="register", value=value, label=reading.register, explanation=told),)


def _marks(reading: Reading) -> str:
    """The first marks of each side with their positions."""
    sides = []
    for side in ("formal", "informal"):
        marks = [mark for mark in reading.evidence if mark.side == side]
        if marks:
            shown = ", ".join(f"{mark.form!r} at {mark.start}-{mark.end} ({mark.rule})" for mark in marks[:_SHOWN])
            more = f" and {len(marks) - _SHOWN} more" if len(marks) > _SHOWN else ""
            sides.append(f"{side} {shown}{more}")
    return "; ".join(sides)


def _unjudged(why: str) -> Mark:
    return Mark(name="register", explanation=why)
