"""Tells whether a reply names its person as the reply's language does: names in the right order, addressed politely.

Problem
    A reply translated from English says "翔太 佐藤" to Mr Sato, or "Müller, your parcel ..." without Herr or Frau. It
    is fluent, and rude.

Method
    The case's attributes `given` and `family` say who is meant (the generator `names` sets them). The first place in
    the reply that has one of them or both is read by rule, in `language` or the case's `locale`: both names together
    must stand in the language's order (family name first in Chinese, Hungarian, Japanese, Korean, Vietnamese); with
    `honorific` a form of address must stand before or behind it (Herr, Mme, 様, 님, and their like in seventeen
    languages). The value is 1, or 0 with the label `wrong order` or `not addressed`. A reply that names nobody has
    none.

Limits
    The order is that of the reply's language, which a person may want otherwise for their own name. Whether Mr or Ms is
    right is not known. Inflected names (Russian, Greek cases) are not found, and count as naming nobody, and so does a
    Chinese, Japanese or Korean name of one sign without a form of address. The rules were not measured on real replies.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.name_forms import naming_in
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Order of names and form of address; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="names",
        version="1",
        theme="quality",
        summary="Whether a reply names its person as the language does.",
    )

    language: Annotated[
        str | None, Meta(description="The replies' language; without it the case's attribute `locale` says.")
    ] = None
    honorific: Annotated[bool, Meta(description="Ask for a form of address as well.")] = False

    def score(self, subject: Subject) -> Scores:
        """1 where the person is named as the language does, 0 where not, no value where nobody is named."""
        attributes = {} if subject.case is None else subject.case.attributes
        given, family = (str(attributes.get(name) or "") for name in ("given", "family"))
        language = self.language or attributes.get("locale")
        if not isinstance(language, str):
            return (_unjudged("no language: set `language`, or give the case an attribute `locale`"),)
        if not given and not family:
            return (_unjudged("nobody is meant: give the case the attributes `given` and `family`"),)
        found = naming_in(subject.output or "", given, family, language)
        if found is None:
            return (_unjudged("the output names nobody"),)
        if found.ordered is False:
            return (_mark(0.0, "wrong order", f"{found.place!r} is not the order of {language}"),)
        if self.honorific and found.addressed is None:
            return (_unjudged(f"there are no forms of address for {language!r}"),)
        if self.honorific and not found.addressed:
            return (_mark(0.0, "not addressed", f"{found.place!r} has no form of address"),)
        return (_mark(1.0, "right", f"{found.place!r} is named as {language} does"),)


def _mark(value: float, label: str, why: str) -> Mark:
    return Mark(name="names", value=value, label=label, explanation=why)


def _unjudged(why: str) -> Mark:
    return Mark(name="names", explanation=why)
