"""Recomputes the sums that a text states: "12 x 40 = 480", "(1,496.5 - 1,202.9) / 1,202.9 = 24.4%".

An expression of numbers with + - x / and brackets, followed by an equals sign and a number, is computed exactly
(rational numbers) and held against the number as it was written: equal within half a unit of its last written digit, or
half a percent where it is called about (~, "approximately", the sign for about equal). A percent sign divides by a
hundred; where it stands on the result alone, a result given as a share is forgiven too, and currency signs and
thousands commas are read over.

Limits: sums in words ("twelve times forty") are not seen, nor are powers, roots and units; a list of numbers with
hyphens is no sum unless an equals sign follows.
"""

from __future__ import annotations

import re
from fractions import Fraction

from watchkeeper.records.record import Record

_NUM = r"[$\u20ac\u00a3\u00a5]?\s?\d+(?:,\d{3})*(?:\.\d+)?\s?%?"
_OPERATOR = r"[-+*/\u00d7\u00f7\u2212\u2013x]"
_SUM = re.compile(
    rf"(?<![\w.,])(?P<left>(?:-(?=\())?[(\s]*-?\s?(?:{_NUM})[\s)]*(?:{_OPERATOR}[\s(]*-?\s?(?:{_NUM})[\s)]*)+)"
    rf"\s?(?P<sign>=|\u2248|~|is about|is approximately|equals)\s*"
    rf"(?P<about>about |approximately |roughly |~)?(?P<right>-?\s?{_NUM})(?![\w]|\.\d|,\d)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|[-+*/()%]")
_SAME = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-", "x": "*", "X": "*"})
_ABOUT = Fraction(1, 200)
MOST_SUMS = 100
_DEEPEST = 20


class Sum(Record):
    """A stated sum: as written, what it gives (None: it divides by zero or cannot be read), and whether it is right.

    `operands` are the numbers of the left side and `result` that of the right side, plainly written.
    """

    text: str
    value: float | None
    right: bool
    operands: tuple[str, ...]
    result: str


def sums(text: str) -> tuple[Sum, ...]:
    """The stated sums of a text, at most 100, in order."""
    found = []
    for match in _SUM.finditer(text):
        found.append(_judged(match))
        if len(found) == MOST_SUMS:
            break
    return tuple(found)


def without_sums(text: str) -> str:
    """A text with its stated sums taken out: what is left is claimed and not computed."""
    return _SUM.sub(" ", text)


def _judged(match: re.Match[str]) -> Sum:
    left, right = match.group("left"), match.group("right")
    stated, unit = _plain(right)
    operands = tuple(_digits(each) for each in re.findall(_NUM, left))
    value = _value(left)
    if value is None:
        return Sum(text=match.group().strip(), value=None, right=False, operands=operands, result=_digits(right))
    about = match.group("sign") not in ("=", "equals") or match.group("about") is not None
    room = max(unit / 2, abs(stated) * _ABOUT if about else Fraction(0))
    percent = right.rstrip().endswith("%")
    readings = [value * 100, value] if percent else [value]
    is_right = any(abs(each - stated) <= room for each in readings)
    return Sum(text=match.group().strip(), value=float(value), right=is_right, operands=operands, result=_digits(right))


def _digits(written: str) -> str:
    return re.sub(r"[^\d.]", "", written)


def _plain(written: str) -> tuple[Fraction, Fraction]:
    """A number, and one unit of its last written digit."""
    digits = _digits(written)
    decimals = len(digits.partition(".")[2])
    value = Fraction(digits)
    return (-value if written.lstrip().startswith("-") else value), Fraction(1, 10**decimals)


def _value(written: str) -> Fraction | None:
    tokens = _TOKEN.findall(written.translate(_SAME))
    if written.count("(") != written.count(")"):  # brackets of the sentence around it
        tokens = [each for each in tokens if each not in "()"]
    try:
        value, at = _terms(tokens, 0, 0)
    except (ZeroDivisionError, IndexError, ValueError):
        return None
    return value if at == len(tokens) else None


def _terms(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _factors(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "+-":
        more, after = _factors(tokens, at + 1, depth)
        value, at = (value + more if tokens[at] == "+" else value - more), after
    return value, at


def _factors(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _single(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "*/":
        more, after = _single(tokens, at + 1, depth)
        value, at = (value * more if tokens[at] == "*" else value / more), after
    return value, at


def _single(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    if depth > _DEEPEST:
        raise ValueError("brackets too deep")
    token = tokens[at]
    if token == "-":
        value, at = _single(tokens, at + 1, depth + 1)
        return -value, at
    if token == "(":
        value, at = _terms(tokens, at + 1, depth + 1)
        if tokens[at] != ")":
            raise ValueError("a bracket stays open")
        at += 1
    else:
        value, at = Fraction(token.replace(",", "")), at + 1
    if at < len(tokens) and tokens[at] == "%":
        value, at = value / 100, at + 1
    return value, at
