"""Finds where two prompts of one conversation part, and what it is that changed.

A provider's prompt cache reads back the longest common prefix of a request with an earlier one. A request that extends
the last one should share all of it; a timestamp, a random id or a shuffled JSON object at its front ends the common
prefix there, and everything after it is billed anew. Prompts are compared part by part in the order in which providers
put them together (tools, then messages), and the first part that differs is named with its path, the byte offset in
the prompt and the texts on both sides.

Limits: which order a provider really uses, and how long a prefix must be to be cached, is its own matter; offsets are
those of the prompt's text and not of its tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from watchkeeper.records.record import Record

_AROUND = 40
_LONGEST = 120

Volatile = Literal["timestamp", "id", "counter", "key order", "white space", "text"]

_KINDS: tuple[tuple[Volatile, re.Pattern[str]], ...] = (
    ("timestamp", re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")),
    ("timestamp", re.compile(r"\b1[5-9]\d{8}(?:\d{3}){0,3}(?:\.\d+)?\b")),
    ("timestamp", re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\s?(?:[AaPp][Mm])?\b")),
    ("timestamp", re.compile(r"\b\d{1,2}[./ ](?:\d{1,2}|[A-Z][a-z]{2,8})[./ ]\d{2,4}\b")),
    ("id", re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")),
    ("id", re.compile(r"\b[0-9a-fA-F]{12,64}\b")),
    ("id", re.compile(r"\b[a-z]{2,12}_[0-9A-Za-z]{8,64}\b")),
    ("counter", re.compile(r"(?<![\w.])\d{1,9}(?![\w.])")),
)


class Part(Record):
    """One piece of a prompt: where it stands in the request, its role, and its text."""

    path: str
    role: str
    text: str


class Divergence(Record):
    """The first difference of two prompts: `offset` bytes are common; `old` and `new` are what stood there.

    `shared_bytes` counts what stands after the difference in both, in parts that are the same or behind the change
    within its part: what a stable prompt would have had cached. `total_bytes` is the length of the later prompt.
    """

    path: str
    role: str
    offset: int
    kind: Volatile
    old: str
    new: str
    shared_bytes: int
    total_bytes: int


def parts_of(request: Mapping[str, Any]) -> tuple[Part, ...]:
    """The pieces of a chat, Messages or Responses request in the order in which a prompt is made of them."""
    found: list[Part] = []
    for name in ("tools", "functions"):
        for index, tool in enumerate(_list(request.get(name))):
            found.append(Part(path=f"{name}[{index}]", role="tools", text=_plain(tool)))
    for name in ("system", "instructions"):
        found += [Part(path=path, role="system", text=text) for path, text in _texts(name, request.get(name))]
    for name in ("messages", "input"):
        given = request.get(name)
        if isinstance(given, str):
            found.append(Part(path=name, role="user", text=given))
        for index, message in enumerate(_list(given)):
            if isinstance(message, Mapping):
                role = str(message.get("role") or message.get("type") or "")
                found += [Part(path=p, role=role, text=t) for p, t in _message(f"{name}[{index}]", message)]
    return tuple(found)


def _message(path: str, message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _texts(f"{path}.content", message.get("content"))
    for name in ("tool_calls", "arguments", "output"):
        if message.get(name) is not None:
            yield f"{path}.{name}", _plain(message[name])


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    for index, part in enumerate(_list(value)):
        text = part.get("text") if isinstance(part, Mapping) else None
        yield (f"{path}[{index}].text", text) if isinstance(text, str) else (f"{path}[{index}]", _plain(part))


def divergence(before: Sequence[Part], after: Sequence[Part]) -> Divergence | None:
    """The first difference of two prompts; None when the earlier one is a prefix of the later, or the other way."""
    offset = 0
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        if one.role == other.role and one.text == other.text:
            offset += len(one.text.encode())
            continue
        common = _common(one.text, other.text) if one.role == other.role else 0
        old, new = _around(one.text, common, other.text), _around(other.text, common, one.text)
        behind = _behind(one.text[common:], other.text[common:])
        later = _later(before[index + 1 :], after[index + 1 :])
        return Divergence(
            path=other.path,
            role=other.role,
            offset=offset + len(other.text[:common].encode()),
            kind=kind_of(one.text, other.text, common),
            old=old,
            new=new,
            shared_bytes=behind + later,
            total_bytes=sum(len(part.text.encode()) for part in after),
        )
    return None


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _behind(one: str, other: str) -> int:
    """How many bytes two texts end with alike."""
    common = _common(one[::-1], other[::-1])
    return len(one[len(one) - common :].encode()) if common else 0


def _later(before: Sequence[Part], after: Sequence[Part]) -> int:
    return sum(
        len(one.text.encode())
        for one, other in zip(before, after, strict=False)
        if one.role == other.role and one.text == other.text
    )


def kind_of(one: str, other: str, at: int) -> Volatile:
    """What sort of text it is that differs at a place: the smallest known pattern around it that both have."""
    for kind, pattern in _KINDS:
        if _spans(pattern, one, at) and _spans(pattern, other, at):
            return kind
    if re.sub(r"\s+", "", one) == re.sub(r"\s+", "", other):
        return "white space"
    if canonical(one) is not None and canonical(one) == canonical(other):
        return "key order"
    return "text"


def _spans(pattern: re.Pattern[str], text: str, at: int) -> bool:
    begin = max(0, at - _AROUND)
    return any(m.start() + begin <= at <= m.end() + begin for m in pattern.finditer(text[begin : at + 2 * _AROUND]))


def _around(text: str, at: int, other: str) -> str:
    """The word or words that differ, with nothing of what both share behind them."""
    end = len(text) - len(_shared_end(text[at:], other[at:]))
    while at > 0 and not text[at - 1].isspace() and text[at - 1] not in "\"'`<>[]{}()":
        at -= 1
    while end < len(text) and not text[end].isspace() and text[end] not in "\"'`<>[]{}()":
        end += 1
    return text[at : min(max(end, at), at + _LONGEST)]


def _shared_end(one: str, other: str) -> str:
    common = _common(one[::-1], other[::-1])
    return one[len(one) - common :] if common else ""


def canonical(text: str) -> str | None:
    """A JSON text with its keys sorted and no spaces; None for what is no JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def _plain(value: Any) -> str:
    """A part that is no text as JSON, in the order of its keys, because that is what is sent."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
