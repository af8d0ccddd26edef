"""How locales write numbers and dates: to write them so, and to tell whether a text does.

From the Unicode CLDR: what parts groups and decimals, the order of numeric dates, and own digits where they are usual.
Many tokens mean something in several formats (1.234 is a thousand and more, or one and a bit; 03/04 is in March, or in
April): those are `open`, never right or wrong. Limits: numeric dates only; white space between groups is looked for
only where the locale has it; currencies, units and times of day are not looked at.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal, NamedTuple

ASCII_DIGITS = "0123456789"
SPACES = (" ", "\u00a0", "\u202f")


class Format(NamedTuple):
    """What parts groups of digits and decimals, and a date as a template of `d`, `m` and `y`."""

    group: str
    point: str
    date: str
    digits: str = ASCII_DIGITS
    indian: bool = False


class Written(NamedTuple):
    """The numbers and dates of a text: those in the locale's format, and those that cannot be read in it."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    open: tuple[str, ...]


FORMATS = {
    "ar": Format("٬", "٫", "{d}/{m}/{y}", "٠١٢٣٤٥٦٧٨٩"),
    "de": Format(".", ",", "{d:02}.{m:02}.{y}"),
    "de-CH": Format("’", ".", "{d:02}.{m:02}.{y}"),
    "en-GB": Format(",", ".", "{d:02}/{m:02}/{y}"),
    "en-IN": Format(",", ".", "{d:02}-{m:02}-{y}", indian=True),
    "en-US": Format(",", ".", "{m}/{d}/{y}"),
    "es": Format(".", ",", "{d}/{m}/{y}"),
    "fr": Format("\u202f", ",", "{d:02}/{m:02}/{y}"),
    "hi": Format(",", ".", "{d}/{m}/{y}", "०१२३४५६७८९", True),
    "iso": Format("", ".", "{y}-{m:02}-{d:02}"),
    "it": Format(".", ",", "{d:02}/{m:02}/{y}"),
    "ja": Format(",", ".", "{y}年{m}月{d}日"),
    "ko": Format(",", ".", "{y}년 {m}월 {d}일"),
    "nl": Format(".", ",", "{d:02}-{m:02}-{y}"),
    "pt": Format(".", ",", "{d:02}/{m:02}/{y}"),
    "ru": Format("\u00a0", ",", "{d:02}.{m:02}.{y}"),
    "sv": Format("\u00a0", ",", "{y}-{m:02}-{d:02}"),
    "zh": Format(",", ".", "{y}年{m}月{d}日"),
}
_NUMBER = re.compile(r"(?<![\w.,/:’'-])\d+(?:[.,’'٬٫\u00a0\u202f]\d+)+(?![\w/:-]|[.,]\d)")
_SPACED = re.compile(r"(?<![\w.,/:-])\d{1,3}(?: \d{3})+(?:,\d+)?(?![\w/:-]|[.,]\d)")
_DATE = re.compile(r"(?<![\w./-])\d{1,4}([./-])\d{1,2}\1\d{1,4}(?![\w/-]|[.]\d)")
_EITHER = re.compile(r"\d{1,3}[.,]\d{3}")
"""A thousand and more, or one and a bit."""
_CJK = re.compile(r"\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일]")


def format_of(locale: str) -> Format | None:
    """The format of a locale (`de`, `de-AT`, `de_CH`); None where there is none.

    For English without a region it is that of numbers alone: what comes first in a date is not known.
    """
    tag = locale.replace("_", "-")
    language, _, region = tag.partition("-")
    known = {name.lower(): form for name, form in FORMATS.items()}
    found = known.get(tag.lower()) or known.get(language.lower())
    if found is None and language.lower() == "en":
        return FORMATS["en-GB" if region else "en-US"]._replace(date=FORMATS["en-GB"].date if region else "")
    return found


def grouped(whole: str, form: Format) -> str:
    """The digits of a whole number in groups."""
    head, tail, size = whole[:-3], whole[-3:], 2 if form.indian else 3
    parts = [tail]
    while head:
        parts.insert(0, head[-size:])
        head = head[:-size]
    return form.group.join(parts)


def dated(day: dt.date, form: Format) -> str:
    """A date in figures."""
    return form.date.format(d=day.day, m=day.month, y=day.year)


def own_digits(text: str, form: Format) -> str:
    """A text with the digits of a format."""
    return text.translate(str.maketrans(ASCII_DIGITS, form.digits))


def written_in(text: str, form: Format) -> Written:
    """Which numbers and dates of a text are written as the format says; own and ASCII digits count the same."""
    plain = text.translate(str.maketrans(form.digits, ASCII_DIGITS))
    found: dict[str, list[str]] = {"right": [], "wrong": [], "open": []}
    rest = plain
    for pattern, judge in ((_CJK, _cjk_date), (_DATE, _date), (_NUMBER, _number), (_SPACED, _number)):
        if pattern is _SPACED and form.group not in SPACES:
            continue
        for match in pattern.finditer(rest):
            found[judge(match[0], form)].append(match[0])
        rest = pattern.sub(" _ ", rest)
    return Written(*(tuple(found[name]) for name in Written._fields))


_Ruling = Literal["right", "wrong", "open"]


def _number(token: str, form: Format) -> _Ruling:
    if not any(_reads(token, each) for each in FORMATS.values()):
        return "open"  # a version, an address: nobody's number
    if not _reads(token, form):
        return "wrong"
    return "open" if _EITHER.fullmatch(token) else "right"


def _reads(token: str, form: Format) -> bool:
    group = f"[{''.join(SPACES)}]" if form.group in SPACES else "['’]" if form.group == "’" else re.escape(form.group)
    part = rf"(?:{re.escape(form.point)}\d+)?"
    inner = rf"\d{{1,2}}(?:{group}\d\d)*{group}\d{{3}}" if form.indian else rf"\d{{1,3}}(?:{group}\d{{3}})+"
    grouped_ = rf"|{inner}{part}" if form.group else ""
    return re.fullmatch(rf"\d+{re.escape(form.point)}\d+{grouped_}", token) is not None


def _cjk_date(token: str, form: Format) -> _Ruling:
    return "right" if {*form.date} & {*token} - {*ASCII_DIGITS, " "} else "wrong"


def _date(token: str, form: Format) -> _Ruling:
    """A date in figures: its order and what parts it. ISO dates are read everywhere, so they are open."""
    mark = next(sign for sign in token if not sign.isdigit())
    said = token.split(mark)
    ends = [int(each) for each in (said[0], said[2]) if len(each) == 4]
    if not (any(1900 <= year <= 2199 for year in ends) or all(len(each) == 2 for each in said)):
        return "open"  # a version, a number of something
    year_first = len(said[0]) == 4
    if not form.date or (mark == "-" and year_first and not form.date.startswith("{y}-")):
        return "open"
    if not form.date.isascii():  # years come first, whatever parts them
        return "right" if year_first else "wrong"
    names = re.findall(r"\{(\w)", form.date)
    if (mark == ".") != ("." in form.date):
        return "wrong"
    sizes = dict(zip(names, map(int, said), strict=True))
    if year_first != (names[0] == "y") or sizes["m"] > 12 or sizes["d"] > 31:
        return "wrong"
    return "open" if mark != "." and sizes["d"] <= 12 and not year_first else "right"
