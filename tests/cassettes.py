"""Recorded exchanges with providers, made ready to be served and asked again, and what their replies say they used."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FIXTURE = Path(__file__).parent / "data" / "provider-cassettes" / "exchanges.jsonl.gz"
_KNOWN = re.compile(r"/(?:chat/completions|responses(?:/[^?]*)?|embeddings|messages(?:/count_tokens)?)\Z")
_BY_SHAPE = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages"}


@dataclass(frozen=True)
class Recorded:
    """One exchange: `suffix` is its path after `/v1`; the bodies are the bytes that go each way."""

    name: str
    method: str
    suffix: str
    query: str
    request: bytes
    status: int
    media: str
    reply: bytes

    @property
    def asked_as(self) -> str:
        """The request's content type, which was not recorded."""
        try:
            json.loads(self.request or b"{}")
        except ValueError:
            return "application/octet-stream"
        return "application/json"


def whole(path: Path) -> Iterator[Recorded]:
    """The exchanges of a set of cassettes, one JSON object a line with its `interactions`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            cassette = json.loads(line)
            for number, each in enumerate(cassette["interactions"]):
                yield _recorded(f"{cassette['cassette']}#{number}", each)


def _recorded(name: str, each: Mapping[str, Any]) -> Recorded:
    where = urlsplit(each["uri"])
    known = _KNOWN.search(where.path)
    return Recorded(
        name=name,
        method=each["method"],
        suffix=known.group(0) if known else where.path,
        query=f"?{where.query}" if where.query else "",
        request=_bytes(each["request"]),
        status=each["status"],
        media=each["headers"].get("content-type") or "application/json",
        reply=_bytes(each["response"]),
    )


def cut() -> Iterator[Recorded]:
    """The exchanges that lie beside the tests: one for each kind of reply."""
    with gzip.open(FIXTURE, "rt", encoding="utf-8") as lines:
        for line in lines:
            each = json.loads(line)
            yield Recorded(
                name=f"{each['cassette']}#{each['shape']}",
                method="POST",
                suffix=_BY_SHAPE.get(each["shape"], "/v1beta/models/m:generateContent"),
                query="",
                request=_bytes(each["request"]),
                status=200,
                media="text/event-stream" if each["streamed"] else "application/json",
                reply=_bytes(each["response"]),
            )


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()


def used(each: Recorded) -> tuple[int | None, int | None]:
    """Input and output tokens as the reply states them: read apart from the code under test, for the main dialects."""
    read = {"/chat/completions": _chat, "/responses": _responses, "/messages": _messages, "/embeddings": _embeddings}
    if each.suffix not in read:
        return None, None
    inward = outward = None
    for said in _objects(each.reply):
        for place in (said, said.get("response"), said.get("message"), said.get("x_groq")):
            usage = place.get("usage") if isinstance(place, dict) else None
            if isinstance(usage, dict):
                more = read[each.suffix](usage)
                inward = inward if more[0] is None else more[0]
                outward = outward if more[1] is None else more[1]
    return inward, outward


def _objects(reply: bytes) -> Iterator[dict[str, Any]]:
    text = reply.decode()
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    for each in lines or [text]:
        try:
            value = json.loads(each)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _chat(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


def _embeddings(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    return usage.get("prompt_tokens"), 0


def _responses(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    return usage.get("input_tokens"), usage.get("output_tokens")


def _messages(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    if usage.get("input_tokens") is None:
        return None, usage.get("output_tokens")
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    return usage["input_tokens"] + cached, usage.get("output_tokens")
