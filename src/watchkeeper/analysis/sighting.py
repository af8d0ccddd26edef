"""Finds a text within the recorded bytes of a request, so that "it was in the context" is evidence and not a claim.

A request is JSON, so a text stands in it escaped. It is looked for as the two common ways of escaping write it
(non-ASCII letters plain, or as backslash-u escapes; a slash plain or escaped), which finds it at exact byte offsets.
Where that fails, all strings of the request are unescaped with the offset of each character kept, white space is
folded on both sides, and it is looked for again. Where that fails too, the longest beginning that is there is found by
halving: a text whose beginning of n characters is in the request has every shorter beginning in it as well.

Limits: a text that stands in the request by chance, or because somebody else put it there, is found all the same;
texts below 12 characters are therefore not looked for. A beginning counts from 40 characters and a tenth of the text.
Requests above 4 MiB are searched for exact bytes only. An assembler that rewrites what it inserts is not recognised.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from watchkeeper.records.record import Record

SHORTEST = 12
SHORTEST_PART = 40
LEAST_SHARE = 0.1
MOST_FOLDED_BYTES = 4 << 20

_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SPACE = re.compile(r"\s+")


class Sighting(Record):
    """Where a text was found: `how` is "exact", "normalised" or "part"; bytes [`start`, `end`); how many characters."""

    how: str
    start: int
    end: int
    chars: int


class Page:
    """One request that texts are looked for in. Unescaped at most once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._folded: _Folded | None = None

    def find(self, text: str) -> Sighting | None:
        """Where a text is, or its longest beginning; None where neither is, or where it is too short to tell."""
        if len(text.strip()) < SHORTEST:
            return None
        exact = self._exact(text)
        if exact is not None:
            return exact
        if len(self._body) > MOST_FOLDED_BYTES:
            return None
        if self._folded is None:
            self._folded = _Folded(self._body)
        return self._folded.find(text)

    def _exact(self, text: str) -> Sighting | None:
        for written in _spellings(text):
            at = self._body.find(written)
            if at >= 0:
                return Sighting(how="exact", start=at, end=at + len(written), chars=len(text))
        return None


def find(text: str, body: bytes) -> Sighting | None:
    """Where a text is in a request; for several texts make one `Page`."""
    return Page(body).find(text)


def _spellings(text: str) -> list[bytes]:
    """A text as JSON writers escape it, the plain one first."""
    found = []
    for ascii_only in (False, True):
        written = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogatepass")
        found += [written, written.replace(b"/", b"\\/")]
    return list(dict.fromkeys(found))


class _Folded:
    """All strings of a JSON text, unescaped and with white space folded; `starts` gives the byte of each character."""

    def __init__(self, body: bytes) -> None:
        texts: list[str] = []
        self._starts: list[int] = []
        self._bytes: list[int] = []
        length = 0
        for match in _STRING.finditer(body):
            for text, offset in _pieces(match.group(1), match.start(1)):
                self._starts.append(length)
                self._bytes.append(offset)
                texts.append(text)
                length += len(text)
            self._starts.append(length)
            self._bytes.append(match.end(1))
            texts.append("\x00")  # no text runs on from one string into the next
            length += 1
        raw = "".join(texts)
        self._text, self._places = _fold(raw)
        self._raw = raw

    def find(self, text: str) -> Sighting | None:
        wanted = _SPACE.sub(" ", text).strip()
        at = self._text.find(wanted)
        if at >= 0:
            return self._sighting("normalised", at, len(wanted), len(text))
        low, high = 0, len(wanted) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._text.find(wanted[:middle]) >= 0:
                low = middle
            else:
                high = middle - 1
        if low < max(SHORTEST_PART, LEAST_SHARE * len(wanted)):
            return None
        return self._sighting("part", self._text.find(wanted[:low]), low, low)

    def _sighting(self, how: str, at: int, length: int, chars: int) -> Sighting:
        first, last = self._places[at], self._places[at + length - 1]
        return Sighting(how=how, start=self._byte(first), end=self._byte(last + 1), chars=chars)

    def _byte(self, place: int) -> int:
        piece = bisect_right(self._starts, place) - 1
        within = self._raw[self._starts[piece] : place]
        return self._bytes[piece] + len(within.encode("utf-8", "surrogatepass"))


_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN = {b"n": "\n", b"t": "\t", b"r": "\r", b"b": "\b", b"f": "\f"}


def _pieces(raw: bytes, offset: int) -> list[tuple[str, int]]:
    """A string's content cut at its escapes: (text, the byte where it stands); pairs of surrogates are joined."""
    pieces: list[tuple[str, int]] = []
    at = 0
    for match in _ESCAPE.finditer(raw):
        if match.start() > at:
            pieces.append((raw[at : match.start()].decode("utf-8", "replace"), offset + at))
        code = match.group()[1:]
        text = chr(int(code[1:], 16)) if len(code) == 5 else _PLAIN.get(code, code.decode("latin-1"))
        if pieces and _is_low(text) and _is_high(pieces[-1][0]):
            high, start = pieces.pop()
            text = (high + text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            pieces.append((text, start))
        else:
            pieces.append((text, offset + match.start()))
        at = match.end()
    if at < len(raw):
        pieces.append((raw[at:].decode("utf-8", "replace"), offset + at))
    return pieces


def _is_high(text: str) -> bool:
    return len(text) == 1 and "\ud800" <= text <= "\udbff"


def _is_low(text: str) -> bool:
    return len(text) == 1 and "\udc00" <= text <= "\udfff"


def _fold(text: str) -> tuple[str, list[int]]:
    """A text with runs of white space as one blank, and the place of each character that is left."""
    kept: list[str] = []
    places: list[int] = []
    blank = False
    for place, character in enumerate(text):
        if character.isspace():
            if blank:
                continue
            blank, character = True, " "
        else:
            blank = False
        kept.append(character)
        places.append(place)
    return "".join(kept), places
