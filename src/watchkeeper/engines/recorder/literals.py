"""Where the values of a JSON text lie in it, and what its escaped text says, place by place.

Redaction replaces single places and leaves every other byte as it came, so it needs positions, not values: `walk` gives
each value's begin and end with the path that leads to it, `unescape` gives plain text with a way back to its source.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

MOST_DEPTH = 512
_TOKEN = re.compile(r'\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{}\[\],:])|([^\s{}\[\],:"]+))', re.DOTALL)
LITERAL = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([^u])|u)", re.DOTALL
)
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_QUOTED = re.compile(r"%([2-7][0-9A-Fa-f])")


class Edit(NamedTuple):
    """A place of a text, what is to stand there instead, and by which rule ("": counted elsewhere)."""

    start: int
    end: int
    text: str
    rule: str


class NotJson(ValueError):
    """A text is not JSON from its beginning to its end."""


class Source(NamedTuple):
    """Plain text and where it came from: `marks` are (place in the plain text, place in the source), in order."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def place(self, at: int) -> int:
        """Where the character at a place of the plain text begins in the source."""
        if not self.marks:
            return at
        known = bisect_right(self.marks, (at, 1 << 62)) - 1
        if known < 0:
            return at
        plain, source = self.marks[known]
        return source + at - plain


def _undone(raw: str, escape: re.Pattern[str], meaning: Mapping[str, str] | None) -> Source:
    pieces: list[str] = []
    marks: list[tuple[int, int]] = []
    at = size = 0
    for match in escape.finditer(raw):
        before, said = raw[at : match.start()], _meant(match) if meaning is not None else chr(int(match.group(1), 16))
        pieces += (before, said)
        size += len(before) + len(said)
        at = match.end()
        marks.append((size, at))
    pieces.append(raw[at:])
    return Source("".join(pieces), tuple(marks))


def unescape(raw: str) -> Source:
    """What the inside of a JSON string says; an escape that is none stays as it is."""
    return _undone(raw, _ESCAPE, _SHORT) if "\\" in raw else Source(raw)


def unquote(raw: str) -> Source:
    """A text with its percent codes of ASCII characters undone."""
    return _undone(raw, _QUOTED, None)


def _meant(match: re.Match[str]) -> str:
    high, low, code, short = match.groups()
    if high is not None:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if code is not None:
        return chr(int(code, 16))
    return match.group() if short is None else _SHORT.get(short, short)


class Node(NamedTuple):
    """A place in a JSON value: the step that leads there from its parent, and what the object there says of itself."""

    parent: Node | None
    step: str
    tags: dict[str, str]

    def steps(self) -> Iterator[str]:
        """The steps from here up to the root; a name with dots counts as several."""
        node: Node | None = self
        while node is not None:
            if "." in node.step:
                yield from reversed(node.step.split("."))
            elif node.step:
                yield node.step
            node = node.parent


ROOT = Node(None, "", {})


class Value(NamedTuple):
    """A value's place in the text. `kind` is "text", "plain" (a number or word) or "whole" (an object or list)."""

    start: int
    end: int
    kind: str
    node: Node


class _Open(NamedTuple):
    node: Node
    start: int
    is_object: bool


_TAGS = frozenset({"role", "type", "index", "output_index", "content_index", "item_id"})


def walk(text: str, root: Node = ROOT) -> list[Value]:
    """All values of a JSON text, a container after what it holds; raises `NotJson` where it is not well-formed.

    Several values may follow one another, as in JSON lines.
    """
    return _Walk(text, root).values


class _Walk:
    """One reading of a text."""

    def __init__(self, text: str, root: Node) -> None:
        self.values: list[Value] = []
        self._text, self._root = text, root
        self._open: list[_Open] = []
        self._counts: list[int] = []
        self._key: str | None = None
        at, size = 0, len(text)
        while at < size:
            match = _TOKEN.match(text, at)
            if match is None:
                if text[at:].strip():
                    raise NotJson
                break
            at = match.end()
            self._token(match)
        if self._open:
            raise NotJson

    def _token(self, match: re.Match[str]) -> None:
        written, mark, plain = match.groups()
        if written is not None:
            self._string(match.start(1), match.end(1), written)
        elif plain is not None:
            self._add(match.start(3), match.end(3), "plain", plain)
        elif mark in "{[":
            if len(self._open) >= MOST_DEPTH:
                raise NotJson
            self._open.append(_Open(self._next(), match.start(2), mark == "{"))
            self._counts.append(0)
            self._key = None
        elif mark in "}]":
            if not self._open or self._open[-1].is_object != (mark == "}"):
                raise NotJson
            node, start, _ = self._open.pop()
            self._counts.pop()
            self._key = None
            self.values.append(Value(start, match.end(2), "whole", node))
        elif mark == ":" and self._key is None:
            raise NotJson

    def _string(self, start: int, end: int, written: str) -> None:
        if self._open and self._open[-1].is_object and self._key is None:
            self._key = unescape(written[1:-1]).text
            return
        self._add(start, end, "text", written[1:-1])

    def _next(self) -> Node:
        """The node of the value that begins now."""
        if not self._open:
            return Node(self._root, "", {})
        if self._open[-1].is_object:
            if self._key is None:
                raise NotJson
            return Node(self._open[-1].node, self._key, {})
        self._counts[-1] += 1
        return Node(self._open[-1].node, str(self._counts[-1] - 1), {})

    def _add(self, start: int, end: int, kind: str, said: str) -> None:
        node = self._next()
        if self._key in _TAGS and len(said) <= 200:
            self._open[-1].node.tags[self._key] = said
        self._key = None
        self.values.append(Value(start, end, kind, node))
