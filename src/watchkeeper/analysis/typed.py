"""Turns payloads into text as a person would type it, so that what they type is found however it was escaped.

Method. Bytes are read as UTF-8; JSON escapes (\\u00e9, \\n, \\", and those of JSON within JSON) are undone; runs of
white space count as one space; letter case is folded as Unicode says. The same is done to what is looked for.

Limits. Whatever undoes escapes also undoes those that were meant literally: text about a backslash is found by what it
would stand for. Letters of the ASCII alphabet that a sender wrote as \\u0041 are found only together with others that
it wrote plainly.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ESCAPED = re.compile(r"\\+(u[0-9a-fA-F]{4}|[nrtbf\"/])")
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " ", '"': '"', "/": "/"}
_FOLDING = (
    "\u00df\u0130\u0149\u017f\u01f0\u1e96\u1e97\u1e98\u1e99\u1e9a\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
)
"""The letters beyond ASCII that fold to some within it: sharp s, the Kelvin sign, ligatures, ..."""
_FOLDING_BYTES = re.compile("|".join(_FOLDING).encode())
_FOLDING_ESCAPED = re.compile(rb"(?i:\\u(?:%s))" % "|".join(f"{ord(letter):04x}" for letter in _FOLDING).encode())
_PLAIN_RUN = re.compile(rb"[a-z0-9]+")


class Needle(NamedTuple):
    """What is looked for: folded text, and a run of plain letters and digits that any payload with it has."""

    text: str
    run: bytes


def needle_of(text: str) -> Needle:
    """What a person typed, made ready; raises `ValueError` when nothing is left of it."""
    folded = plain_text(text.encode("utf-8", "replace")).strip().casefold()
    if not folded:
        raise ValueError("there is nothing to look for: the text is empty or white space")
    runs = _PLAIN_RUN.findall(folded.encode())
    return Needle(folded, max(runs, key=len, default=b""))


def plain_text(payload: bytes) -> str:
    """A payload as text: escapes undone, white space as single spaces, letter case as it was."""
    text = payload.decode("utf-8", "replace")
    if "\\" in text:
        text = _ESCAPED.sub(_undo, text)
        if not text.isascii():
            text = _SURROGATES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return " ".join(text.split())


def folded_text(payload: bytes) -> str:
    """The same with letter case folded."""
    return plain_text(payload).casefold()


def excerpt(payload: bytes, needle: Needle, around: int = 80) -> tuple[str, str, str] | None:
    """The first place in a payload where the needle stands: what is before, itself and behind; None where it is not.

    Quick where it is not: bytes without the needle's plain run are not read as text at all.
    """
    if needle.run and needle.run not in payload.lower() and not _may_fold(payload):
        return None
    plain = plain_text(payload)
    folded = plain.casefold()
    at = folded.find(needle.text)
    if at < 0:
        return None
    end = at + len(needle.text)
    if len(plain) != len(folded):
        at, end = _unfolded(plain, at, end)
    return plain[max(0, at - around) : at], plain[at:end], plain[end : end + around]


def _may_fold(payload: bytes) -> bool:
    """Whether a payload may have plain letters, once it is folded, that do not stand in it."""
    if b"\\u" in payload and _FOLDING_ESCAPED.search(payload):
        return True
    return not payload.isascii() and _FOLDING_BYTES.search(payload) is not None


def _unfolded(plain: str, at: int, end: int) -> tuple[int, int]:
    """Where a part of the folded text begins and ends in the text itself."""
    places = [place for place, letter in enumerate(plain) for _ in letter.casefold()]
    return places[at], places[end - 1] + 1


def _undo(match: re.Match[str]) -> str:
    word = match[1]
    return chr(int(word[1:], 16)) if word[0] == "u" else _SIMPLE[word]
