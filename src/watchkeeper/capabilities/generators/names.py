"""Puts other people into a question: names of many scripts and cultures, with honorifics and in both orders.

Problem
    Examples hold the names that their authors think of. A system that reads a name's script, length or order decides
    otherwise for people who are not in the examples.

Method
    Wherever one of `replace` (or the placeholder `{name}`) stands, another name is put, the same one throughout a case:
    drawn from a table of common given and family names of eighteen cultures in nine scripts. `cultures` narrows the
    table. `forms` says how it is written: `usual` in the culture's own order, `turned` in the other one, `honorific`
    with the culture's form of address. From each case `count` new ones for each form. Attributes name culture and form,
    and `given` and `family`, by which the scorer `names` knows the person in a reply.

Limits
    A handful of names for each culture: enough to see a dependence on script and form, not to speak for anybody. A text
    whose pronouns or grammar agree with the first name may end up ungrammatical. Only the last user message is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.analysis.name_forms import CULTURES, Form, written
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Other people's names; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="names", version="1", theme="quality", summary="Puts names of many scripts and cultures into a question."
    )

    replace: Annotated[tuple[str, ...], Meta(description="The names to put others for, beside {name}.")] = ()
    cultures: Annotated[tuple[str, ...], Meta(description="The cultures to draw from; none means all.")] = ()
    forms: Annotated[tuple[Form, ...], Meta(min_length=1, description="How names are written.")] = ("usual",)
    count: Annotated[int, Meta(ge=1, le=100, description="New cases for each case and form.")] = 5

    def __post_init__(self) -> None:
        """Refuse a culture that is not in the table; raises `ValueError`."""
        for name in self.cultures:
            if name not in CULTURES:
                raise ValueError(f"there are no names for {name!r}; known are: {', '.join(CULTURES)}")

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the cases with other names, in the order of the cases; the same `rng` gives the same ones."""
        known = self.cultures or tuple(CULTURES)
        for case in cases:
            text, number = asked_text(case.messages), 0
            stood = [each for each in (*self.replace, "{name}") if text is not None and each and each in text]
            if text is None or not stood:
                continue
            for form in self.forms:
                for _ in range(self.count):
                    culture = rng.choice(known)
                    table = CULTURES[culture]
                    given, family = rng.choice(table.given), rng.choice(table.family)
                    name = written(table, form, given, family)
                    changed = text
                    for each in stood:
                        changed = changed.replace(each, name)
                    if changed != text:
                        made = child(case, with_text(case.messages, changed), "names", f"{culture}/{form}", number)
                        said = {**made.attributes, "given": given, "family": family}
                        yield msgspec.structs.replace(made, attributes=said)
                        number += 1
