"""Tells whether the numbers and dates of a reply are written as its reader's locale writes them.

Problem
    A reply in good German that says 1,234.50 is read as one and a bit; 05/13/2026 is no date in France. Scores of
    meaning do not see it.

Method
    Every number with a group or decimal mark and every numeric date is held against the format of the locale (from the
    Unicode CLDR): the value is 0 where one of them cannot be read in it (label `wrong`), 1 where at least one is
    written as the locale does and none otherwise (label `right`). What can be read in several formats (1.234; 03/04)
    and ISO dates say nothing; a reply with nothing else has no value. The locale is `locale`, or the case's attribute
    `locale`.

Limits
    Numeric dates only, no month names, times, currencies or units. English without a region says nothing about dates.
    Whether the number itself is right is for another scorer.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.number_formats import FORMATS, format_of, written_in
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers and dates in the locale's format; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="numbers",
        version="1",
        theme="quality",
        summary="Whether numbers and dates are written as the locale does.",
    )

    locale: Annotated[
        str | None, Meta(description="The replies' locale; without it the case's attribute `locale` says.")
    ] = None

    def score(self, subject: Subject) -> Scores:
        """1 where the locale's format is kept, 0 where something breaks it, no value where nothing tells."""
        attributes = {} if subject.case is None else subject.case.attributes
        locale = self.locale or attributes.get("locale")
        if not isinstance(locale, str):
            return (_unjudged("no locale: set `locale`, or give the case an attribute `locale`"),)
        form = format_of(locale)
        if form is None:
            return (_unjudged(f"there is no format for {locale!r}; known are: {', '.join(FORMATS)}"),)
        found = written_in(subject.output or "", form)
        if found.wrong:
            said = f"not as {locale} writes it: {', '.join(found.wrong[:3])}"
            return (Mark(name="numbers", value=0.0, label="wrong", explanation=said),)
        if not found.right:
            return (_unjudged("no number or date in the output tells its format"),)
        said = f"as {locale} writes it: {', '.join(found.right[:3])}"
        return (Mark(name="numbers", value=1.0, label="right", explanation=said),)


def _unjudged(why: str) -> Mark:
    return Mark(name="numbers", explanation=why)
