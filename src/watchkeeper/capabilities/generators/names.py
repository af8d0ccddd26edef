"""Makes variants of a case in which people have other names: of other cultures, in other scripts, in another order.

Problem
    Examples are written with the names that their author knows. A system that treats Anna and أحمد differently passes
    them all.

Method
    A name of the table below that stands in the last user message is replaced, everywhere in it, by another one of the
    table; with `scripts` only by names in these scripts. What was changed stands in the variant's attributes. The table
    holds given names that are common in their culture, and whole names in the order in which their bearers write them.

Limits
    Only names of the table are found; put one of them into your cases. Grammar that depends on a name (gender, case
    endings) is not adapted. A table of a few dozen names stands for no culture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.analysis.splices import Splice
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.variant import last_text, variant
from watchkeeper.records.case import Case

Script = Literal["latin", "latin_marks", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "han", "kana", "hangul"]
NAMES: dict[str, tuple[str, ...]] = {
    "latin": ("Anna", "John", "Maria", "Peter", "Fatima", "Kwame", "Priya", "O'Brien", "van der Berg"),
    "latin_marks": ("Zoë", "Jürgen", "José", "Nguyễn Thị Mai", "Łukasz", "Ægir", "Çağla", "Siân"),
    "cyrillic": ("Ольга", "Дмитрий", "Олександр"),
    "greek": ("Ελένη", "Γιώργος"),
    "arabic": ("أحمد", "فاطمة", "محمد علي"),
    "hebrew": ("נועה", "דוד"),
    "devanagari": ("प्रिया", "राहुल"),
    "han": ("王小明", "李娜"),
    "kana": ("さくら", "ユウキ"),
    "hangul": ("김민준", "이서연"),
}
_ALL = sorted((name for names in NAMES.values() for name in names), key=len, reverse=True)
_ANY = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in _ALL))


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Variants with other people's names; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="names", version="1", theme="quality", summary="Variants of a case with names of other cultures and scripts."
    )

    per_case: Annotated[int, msgspec.Meta(ge=1, le=1000, description="Variants of each case.")] = 1
    scripts: Annotated[
        tuple[Script, ...], msgspec.Meta(description="The scripts of the new names; empty: all of them.")
    ] = ()

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """The variants of each case that holds a name of the table."""
        known = [
            name for script, names in NAMES.items() if not self.scripts or script in self.scripts for name in names
        ]
        for case in cases:
            text = last_text(case)
            found = [] if text is None else list(_ANY.finditer(text))
            if not found:
                continue
            old = found[0].group()
            others = [name for name in known if name != old]
            for number in range(self.per_case):
                new = rng.choice(others)
                splices = [
                    Splice(start=match.start(), end=match.end(), text=new, kind="name")
                    for match in found
                    if match.group() == old
                ]
                yield variant(case, self.header.id, number, splices)
