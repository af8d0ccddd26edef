"""Tells whether two tool calls ask nearly the same thing, from short sketches that do not hold what was asked.

Method: the arguments are taken apart into leaves. What changes by itself (times, UUIDs, long hexadecimal names) is
masked. A leaf of running text becomes a b-bit minwise sketch of its words, and beside it stands a hash of the words
that hold a digit, because they name objects: order 1041 is not order 1042. Any other leaf becomes one hash. Two
sketches are near when they have the same leaves, the hashes are equal, and the resemblance of each text is estimated to
be at least `NEAR`. Sources: A. Broder, "On the resemblance and containment of documents" (1997); P. Li and A. C. König,
"b-Bit Minwise Hashing" (2010), of which the correction for chance agreement is taken.

Limits: with 24 hashes of 8 bits the estimate of a resemblance r has a standard error of about sqrt(r(1-r)/24), at most
0.10. Words are compared as they are: a synonym is another word. A short name without a digit that differs (Paris, Rome)
is another object. Beyond `MOST_LEAVES` leaves the rest must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any

HASHES = 24
NEAR = 0.5
MOST_LEAVES = 12
MOST_CHARS = 4096
"""How much of one text is read."""

_MASKS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b"), "<time>"),
    (re.compile(r"\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[ap]m)?\b", re.IGNORECASE), "<time>"),
    (re.compile(r"\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,}\b", re.IGNORECASE), "<id>"),
)
_WORD = re.compile(r"<\w+>|\w+")
_TEXT_WORDS = 3
_CHANCE = 1 / 256
_MERSENNE = (1 << 61) - 1
_FACTORS = tuple(
    int.from_bytes(blake2b(str(place).encode(), digest_size=7).digest(), "big") | 1 for place in range(2 * HASHES)
)


def masked(text: str) -> str:
    """A text with everything that changes by itself masked: times, UUIDs and long hexadecimal names."""
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return text


def sketch(value: Any) -> str:
    """The sketch of a JSON value: its leaves in the order of their names, as printable text."""
    marks: list[str] = []
    rest = blake2b(digest_size=6)
    for place, (path, leaf) in enumerate(_leaves(value, "")):
        if place < MOST_LEAVES:
            marks.append(f"{_short(path)}{_leaf(leaf)}")
        else:
            rest.update(f"{path}\0{leaf!r}\0".encode("utf-8", "surrogatepass"))
            place = MOST_LEAVES
    if len(marks) == MOST_LEAVES:
        marks.append(rest.hexdigest())
    return ";".join(marks)


def near(a: str, b: str) -> bool:
    """Whether two sketches are of nearly the same arguments. A sketch that is empty is near to nothing but itself."""
    if a == b:
        return True
    ours, theirs = a.split(";"), b.split(";")
    return len(ours) == len(theirs) and all(_near(mine, other) for mine, other in zip(ours, theirs, strict=True))


def _near(a: str, b: str) -> bool:
    if a == b:
        return True
    head_a, _, text_a = a.partition("~")
    head_b, _, text_b = b.partition("~")
    if not text_a or not text_b or head_a != head_b:
        return False
    same = sum(text_a[i : i + 2] == text_b[i : i + 2] for i in range(0, 2 * HASHES, 2)) / HASHES
    return (same - _CHANCE) / (1 - _CHANCE) >= NEAR


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        place, each = stack.pop()
        if isinstance(each, dict) and each:
            stack.extend((f"{place}.{key}", each[key]) for key in sorted(each, key=str, reverse=True))
        elif isinstance(each, list) and each:
            stack.extend((f"{place}[]", item) for item in reversed(each))
        else:
            yield place, each


def _leaf(leaf: Any) -> str:
    if not isinstance(leaf, str):
        return _short(masked(repr(leaf)))
    words = _WORD.findall(masked(leaf[:MOST_CHARS]).lower())
    plain = {word for word in words if not any(sign.isdigit() for sign in word)}
    names = sorted(word for word in words if any(sign.isdigit() for sign in word))
    if len(plain) < _TEXT_WORDS:
        return _short(" ".join(words) if words else leaf)
    return f"{_short(' '.join(names))}~{_minwise(plain)}"


def _minwise(words: set[str]) -> str:
    hashed = [_number(word) for word in words]
    least = (min((_FACTORS[2 * i] * each + _FACTORS[2 * i + 1]) % _MERSENNE for each in hashed) for i in range(HASHES))
    return "".join(f"{each & 0xFF:02x}" for each in least)


@lru_cache(maxsize=16384)
def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big")


def _short(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
