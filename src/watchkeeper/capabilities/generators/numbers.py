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
from typing import Annotated, ClassVar, NamedTuple

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case


class _Format(NamedTuple):
    group: str
    point: str
    date: str
    digits: str = "0123456789"
    indian: bool = False


_FORMATS = {
    "ar": _Format("٬", "٫", "{d}/{m}/{y}", "٠١٢٣٤٥٦٧٨٩"),
    "de": _Format(".", ",", "{d:02}.{m:02}.{y}"),
    "de-CH": _Format("’", ".", "{d:02}.{m:02}.{y}"),
    "en-GB": _Format(",", ".", "{d:02}/{m:02}/{y}"),
    "en-IN": _Format(",", ".", "{d:02}-{m:02}-{y}", indian=True),
    "en-US": _Format(",", ".", "{m}/{d}/{y}"),
    "es": _Format(".", ",", "{d}/{m}/{y}"),
    "fr": _Format("\u202f", ",", "{d:02}/{m:02}/{y}"),
    "hi": _Format(",", ".", "{d}/{m}/{y}", "०१२३४५६७८९", True),
    "iso": _Format("", ".", "{y}-{m:02}-{d:02}"),
    "ja": _Format(",", ".", "{y}年{m}月{d}日"),
    "ko": _Format(",", ".", "{y}년 {m}월 {d}일"),
    "sv": _Format("\u00a0", ",", "{y}-{m:02}-{d:02}"),
}
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
        id="numbers", version="1", theme="quality", summary="Writes numbers and dates as another locale does."
    )

    locales: Annotated[tuple[str, ...], Meta(min_length=1, description="The formats to write in.")] = tuple(_FORMATS)

    def __post_init__(self) -> None:
        """Refuse a locale that is not in the table; raises `ValueError`."""
        for name in self.locales:
            if name not in _FORMATS:
                raise ValueError(f"there is no format for {name!r}; known are: {', '.join(_FORMATS)}")

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the cases in other formats, in the order of the cases; nothing is drawn, so `rng` stays unused."""
        for case in cases:
            text, number = asked_text(case.messages), 0
            if text is None:
                continue
            for locale in self.locales:
                form = _FORMATS[locale]
                changed = _FOUND.sub(lambda found, form=form: _write(found, form), text)  # type: ignore[misc]
                if changed != text:
                    yield child(case, with_text(case.messages, changed), "numbers", locale, number)
                    number += 1


def _write(found: re.Match[str], form: _Format) -> str:
    if found["number"] is None:
        day = _date(found[0])
        return found[0] if day is None else _own(form.date.format(d=day.day, m=day.month, y=day.year), form)
    whole, _, part = found[0].replace(",", "").partition(".")
    if "," not in found[0] and not part and 1000 <= int(whole) <= 2199 and len(whole) == 4:
        return found[0]  # as likely a year
    if len(whole) > 1 and whole.startswith("0"):
        return found[0]  # a code
    return _own(_grouped(whole, form) + (form.point + part if part else ""), form)


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


def _grouped(whole: str, form: _Format) -> str:
    head, tail, size = whole[:-3], whole[-3:], 2 if form.indian else 3
    parts = [tail]
    while head:
        parts.insert(0, head[-size:])
        head = head[:-size]
    return form.group.join(parts)


def _own(text: str, form: _Format) -> str:
    return text.translate(str.maketrans("0123456789", form.digits))
