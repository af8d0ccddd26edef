"""The pieces of a server-sent event stream, joined by what they belong to, with a way back to each piece.

A model's words come cut at any character. Pieces belong together when they stand at the same place of their events and
the events carry the same indices, whoever the provider is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from watchkeeper.engines.recorder.literals import Edit, Node, NotJson, Source, Value, unescape, walk

_LINE = re.compile(r"^data:[ \t]?(.*)$", re.MULTILINE)
_SAME_EACH_TIME = frozenset(
    {
        "id", "object", "model", "role", "type", "system_fingerprint", "service_tier", "finish_reason", "item_id",
        "obfuscation", "stop_reason", "status", "responseId", "modelVersion", "finishReason", "call_id",
    }
)  # fmt: skip
_KEYS = rb"content|text|delta|arguments|partial_json|thinking|reasoning|reasoning_content|refusal|transcript|input|code"
_PIECE = re.compile(rb'"(' + _KEYS + rb')"\s*:\s*"((?:[^"\\]|\\.)*)"')
_OTHER_INDEX = re.compile(rb'"(?:index|output_index|content_index)"\s*:\s*[1-9]')
_PLACE = re.compile(rb'"(index|output_index|content_index)"\s*:\s*(\d+)')


def looks_streamed(data: bytes) -> bool:
    """Whether some bytes are a stream of events."""
    if data[:1] == b"{":
        return False
    head = data[:512].lstrip()
    return head.startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def stream_values(data: bytes) -> bytes:
    """The pieces of a stream's text joined, for the screens alone: by name, and by index where there are some."""
    joined: dict[tuple[bytes, ...], list[bytes]] = {}
    if not _OTHER_INDEX.search(data):
        for name, piece in _PIECE.findall(data):
            joined.setdefault((name,), []).append(piece)
    else:
        for line in data.split(b"\n"):
            pieces = _PIECE.findall(line)
            if len({name for name, _ in pieces}) < len(pieces):
                return _read_whole(data.decode("utf-8", "surrogateescape"))
            places = tuple(b":".join(each) for each in _PLACE.findall(line))
            for name, piece in pieces:
                joined.setdefault((name, *places), []).append(piece)
    return b"\n".join(b"".join(pieces) for pieces in joined.values())


def _read_whole(text: str) -> bytes:
    """As `stream_values`, event by event: where one event carries pieces of several things."""
    channels = Channels()
    for start, end in lines_of(text):
        try:
            values = walk(text[start:end])
        except NotJson:
            continue
        for value in values:
            channels.take(value, text, start)
    return "\n".join(each.text for each in channels.all()).encode("utf-8", "surrogatepass")


def lines_of(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of what each data line of a stream carries."""
    for match in _LINE.finditer(text):
        start, end = match.span(1)
        yield start, end - 1 if text[end - 1 : end] == "\r" else end


class Channel:
    """Pieces that belong together: what they say in a row, and where each of them lies in the stream."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._begins: list[int] = []
        self._pieces: list[tuple[int, Source]] = []
        self._texts: list[str] = []
        self._size = 0

    def add(self, start: int, written: str) -> None:
        """Add the inside of a JSON string that lies at `start` in the stream."""
        source = unescape(written)
        if source.text:
            self._begins.append(self._size)
            self._pieces.append((start, source))
            self._texts.append(source.text)
            self._size += len(source.text)

    @property
    def text(self) -> str:
        """What the pieces say together."""
        return "".join(self._texts)

    def spread(self, edits: Sequence[Edit]) -> Iterator[Edit]:
        """Edits of the joined text as edits of the stream: the first piece takes the new text, the others lose theirs.

        Only the first of them counts for the rule; the others have an empty name.
        """
        for edit in edits:
            number = bisect_right(self._begins, edit.start) - 1
            instead, at = edit.text.replace("\\", "\\\\").replace('"', '\\"'), edit.start
            first = True
            while number < len(self._pieces) and (first or at < edit.end):
                start, source = self._pieces[number]
                begin = self._begins[number]
                left, right = at - begin, min(edit.end - begin, len(source.text))
                yield edit._replace(
                    start=start + source.place(left),
                    end=start + source.place(right),
                    text=instead if first else "",
                    rule=edit.rule if first else "",
                )
                at, first = begin + len(source.text), False
                number += 1


class Channels:
    """The channels of one stream."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Channel] = {}

    def take(self, value: Value, text: str, offset: int) -> bool:
        """Add a value of an event when it is a piece of something; says whether it is."""
        if value.kind != "text" or value.node.step in _SAME_EACH_TIME:
            return False
        key: list[str] = []
        node: Node | None = value.node
        while node is not None:
            key += (node.step, *(f"{name}={said}" for name, said in node.tags.items() if name != "role"))
            node = node.parent
        channel = self._known.get(tuple(key))
        if channel is None:
            channel = self._known[tuple(key)] = Channel(value.node)
        start = offset + value.start + 1
        channel.add(start, text[start : offset + value.end - 1])
        return True

    def all(self) -> Iterator[Channel]:
        """Every channel."""
        yield from self._known.values()
