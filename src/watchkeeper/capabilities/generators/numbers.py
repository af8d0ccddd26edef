"""Writes the numbers and dates of a question as another locale does.

Problem
    1.234 is one and a bit, or a thousand and more; 03/04 is in March, or in April. A system that reads them one way is
    wrong for whoever writes the other.

Method
    Numbers written as in English (1,234.50, or plain with a decimal point, or four digits and more) and dates that can
    be read one way only (2026-03-05, 5 March 2026, March 5, 2026) are found and written in the format of each of
    `locales`. Numbers within identifiers (A-12, v2.1.0), years alone and ordinary small numbers stay as they are. One
    new case for each case and locale in which something changes.

Limits
    Only the last user message. Digits stay ASCII except for `ar` and `hi`, whose own digits are used. Currencies and
    units keep their place. Day and month of numeric dates depend on the locale, so a case in `en-US` format is
    ambiguous by nature: that is the point, but its right answer must be known to the system from elsewhere.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.analysis.number_formats import FORMATS, Format, dated, grouped, own_digits
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_NAMES = "|".join(_MONTHS)
_FOUND = re.compile(
    rf"(?<![\w.,/-])(?:(?P<iso>\d{{4}}-\d\d-\d\d)|(?P<long>\d{{1,2}} (?:{_NAMES}) \d{{4}}|(?:{_NAMES}) \d{{1,2}}, \d{{4}})"  # noqa: E501
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\d{4,}))(?![\w/-]|[.,]\d)"
)


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers and dates as others write them; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="numbers", version="2", theme="quality", summary="Writes numbers and dates as another locale does."
    )

    locales: Annotated[tuple[str, ...], Meta(min_length=1, description="The formats to write in.")] = tuple(FORMATS)

    def __post_init__(self) -> None:
        """Refuse a locale that is not in the table; raises `ValueError`."""
        for name in self.locales:
            if name not in FORMATS:
                raise ValueError(f"there is no format for {name!r}; known are: {', '.join(FORMATS)}")

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the cases in other formats, in the order of the cases; nothing is drawn, so `rng` stays unused."""
        for case in cases:
            text, number = asked_text(case.messages), 0
            if text is None:
                continue
            for locale in self.locales:
                form = FORMATS[locale]
                changed = _FOUND.sub(lambda found, form=form: _write(found, form), text)  # type: ignore[misc]
                if changed != text:
                    yield child(case, with_text(case.messages, changed), "numbers", locale, number)
                    number += 1


def _write(found: re.Match[str], form: Format) -> str:
    if found["number"] is None:
        day = _date(found[0])
        return found[0] if day is None else own_digits(dated(day, form), form)
    whole, _, part = found[0].replace(",", "").partition(".")
    if "," not in found[0] and not part and 1000 <= int(whole) <= 2199 and len(whole) == 4:
        return found[0]  # as likely a year
    if len(whole) > 1 and whole.startswith("0"):
        return found[0]  # a code
    return own_digits(grouped(whole, form) + (form.point + part if part else ""), form)


def _date(text: str) -> dt.date | None:
    try:
        if text[4:5] == "-":
            return dt.date.fromisoformat(text)
        words = text.replace(",", "").split()
        month = next(word for word in words if word in _MONTHS)
        day = next(word for word in words[:2] if word.isdigit())
        return dt.date(int(words[2]), _MONTHS.index(month) + 1, int(day))
    except ValueError:
        return None
