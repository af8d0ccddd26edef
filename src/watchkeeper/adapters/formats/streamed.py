"""Adds up a recorded event stream to the reply that the provider would have sent in one piece.

Reads the streams of OpenAI chat completions, OpenAI Responses, Anthropic Messages, Gemini, Cohere and Bedrock (whose
binary frames carry one JSON object each). A stream that was cut, or that holds events nobody knows, adds up to what
arrived: the caller shows a reply, the raw bytes stay in the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_CONVERSE = frozenset(
    ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
)


def looks_streamed(data: bytes) -> bool:
    """Whether some bytes are a server-sent event stream."""
    head = data[:512].lstrip()
    return head.startswith((b"data:", b"event:", b":", b"id:", b"retry:")) or b":event-type" in head


def events(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream's data lines, in order; what is none ("[DONE]", a cut line) is passed over."""
    if b":event-type" in data[:512]:
        yield from _frames(data)
        return
    for block in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            continue
        try:
            value = msgspec.json.decode(b"\n".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(value, dict):
            yield value


def _frames(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of Bedrock's frames, each under the name of its event; checksums are not looked at.

    A frame is found by its header, so that a stream that was kept as text, its lengths spoilt, is read as well.
    """
    decoder, text = json.JSONDecoder(), data.decode("utf-8", "replace")
    at = text.find(":event-type")
    while at >= 0:
        opening = text.find("{", at)
        following = text.find(":event-type", at + 1)
        if opening < 0:
            return
        words = re.findall(r"[A-Za-z]{4,}", text[at + len(":event-type") : opening].split(":content-type")[0])
        try:
            value, _ = decoder.raw_decode(text, opening)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and words:
            yield _unwrapped(words[0], value)
        at = following


def _unwrapped(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """The event of a Converse frame under its name; of an invocation's frame the model's own event within it."""
    if isinstance(value.get("bytes"), str):
        try:
            inner = msgspec.json.decode(base64.b64decode(value["bytes"]))
        except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
            inner = None
        if isinstance(inner, dict):
            return inner
    return {kind: value}


def add_up(data: bytes) -> dict[str, Any]:
    """The whole reply of a stream, in the shape of its provider's unstreamed reply."""
    reply: dict[str, Any] = {}
    for event in events(data):
        kind = event.get("type")
        if isinstance(event.get("choices"), list):
            _chat(reply, event)
        elif isinstance(kind, str) and kind.startswith("response."):
            _responses(reply, event)
        elif isinstance(event.get("candidates"), list) or "usageMetadata" in event:
            _gemini(reply, event)
        elif isinstance(kind, str) and "-" in kind:
            _cohere(reply, event)
        elif isinstance(kind, str):
            _anthropic(reply, event)
        elif not _CONVERSE.isdisjoint(event):
            _converse(reply, event)
        elif "error" in event:
            reply["error"] = event["error"]
        elif event.get("usage") is not None:
            reply["usage"] = event["usage"]
    for block in reply.get("content") or ():
        if isinstance(block, dict) and "partial_json" in block:
            block["input"] = block.pop("partial_json")
    return reply


def _chat(reply: dict[str, Any], event: dict[str, Any]) -> None:
    for key in ("id", "model", "created", "usage", "system_fingerprint", "service_tier", "x_groq"):
        if event.get(key) is not None:
            reply[key] = event[key]
    choices: list[dict[str, Any]] = reply.setdefault("choices", [])
    for part in event["choices"]:
        if not isinstance(part, dict):
            continue
        choice = _at(choices, part.get("index", 0), "index")
        message = choice.setdefault("message", {"role": "assistant"})
        if part.get("finish_reason") is not None:
            choice["finish_reason"] = part["finish_reason"]
        delta = part.get("delta") or part.get("message")
        if isinstance(delta, dict):
            _merge_delta(message, delta)


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", [])
            for part in value:
                if isinstance(part, dict):
                    _merge_call(_at(calls, part.get("index", len(calls)), "index"), part)
        elif key != "role" and isinstance(value, str):
            old = message.get(key)
            message[key] = old + value if isinstance(old, str) else value
        elif value is not None:
            message[key] = value


def _merge_call(call: dict[str, Any], part: dict[str, Any]) -> None:
    for key in ("id", "type"):
        if part.get(key):
            call[key] = part[key]
    function = part.get("function")
    if isinstance(function, dict):
        target = call.setdefault("function", {"name": "", "arguments": ""})
        for key in ("name", "arguments"):
            if isinstance(function.get(key), str):
                target[key] += function[key]


def _at(items: list[dict[str, Any]], index: Any, key: str) -> dict[str, Any]:
    """The item whose `key` is `index`, added when it is new."""
    for item in items:
        if item.get(key) == index:
            return item
    item = {key: index}
    items.append(item)
    return item


def _responses(reply: dict[str, Any], event: dict[str, Any]) -> None:
    whole = event.get("response")
    if isinstance(whole, dict):
        output = whole.get("output") or reply.get("output") or []
        reply.clear()
        reply.update(whole, output=output)
        return
    if event["type"] == "response.output_item.done" and isinstance(event.get("item"), dict):
        reply.setdefault("output", []).append(event["item"])


def _gemini(reply: dict[str, Any], event: dict[str, Any]) -> None:
    for key in ("usageMetadata", "modelVersion", "responseId"):
        if event.get(key) is not None:
            reply[key] = event[key]
    candidates: list[dict[str, Any]] = reply.setdefault("candidates", [])
    for part in event.get("candidates") or ():
        if not isinstance(part, dict):
            continue
        candidate = _at(candidates, part.get("index", 0), "index")
        if part.get("finishReason") is not None:
            candidate["finishReason"] = part["finishReason"]
        content = part.get("content")
        if isinstance(content, dict):
            target = candidate.setdefault("content", {"role": "model", "parts": []})
            _merge_parts(target["parts"], content.get("parts"))


def _merge_parts(parts: list[Any], new: Any) -> None:
    for part in new if isinstance(new, list) else ():
        last = parts[-1] if parts else None
        if isinstance(part, dict) and set(part) == {"text"} and isinstance(last, dict) and set(last) == {"text"}:
            last["text"] = f"{last['text']}{part['text']}"
        else:
            parts.append(part)


def _anthropic(reply: dict[str, Any], event: dict[str, Any]) -> None:
    kind = event["type"]
    if kind == "message_start" and isinstance(event.get("message"), dict):
        reply.update(event["message"], content=[])
    elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
        reply.setdefault("content", []).append(dict(event["content_block"]))
    elif kind == "content_block_delta" and isinstance(event.get("delta"), dict) and reply.get("content"):
        _merge_block(reply["content"][-1], event["delta"])
    elif kind == "message_delta":
        reply.update({key: value for key, value in (event.get("delta") or {}).items() if value is not None})
        if isinstance(event.get("usage"), dict):
            reply["usage"] = (reply.get("usage") or {}) | event["usage"]
    elif kind == "error":
        reply["error"] = event.get("error")


def _merge_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("text", "thinking", "partial_json"):
        if isinstance(delta.get(key), str):
            block[key] = f"{block.get(key) or ''}{delta[key]}"


def _cohere(reply: dict[str, Any], event: dict[str, Any]) -> None:
    kind, delta = event["type"], event.get("delta")
    if kind == "message-start" and event.get("id"):
        reply["id"] = event["id"]
    if not isinstance(delta, dict):
        return
    if kind == "message-end":
        reply.update({key: value for key, value in delta.items() if value is not None})
    said = delta.get("message")
    message: dict[str, Any] = reply.setdefault("message", {"role": "assistant"})
    content = said.get("content") if isinstance(said, dict) else None
    if isinstance(content, dict) and isinstance(content.get("text"), str):
        message["content"] = [{"type": "text", "text": "".join(_said(message)) + content["text"]}]
    call = said.get("tool_calls") if isinstance(said, dict) else None
    if isinstance(call, dict):
        _merge_call(_at(message.setdefault("tool_calls", []), event.get("index", 0), "index"), call)


def _said(message: dict[str, Any]) -> Iterator[str]:
    for part in message.get("content") or ():
        yield str(part.get("text", ""))


def _converse(reply: dict[str, Any], event: dict[str, Any]) -> None:
    message = reply.setdefault("output", {}).setdefault("message", {"role": "assistant", "content": []})
    for kind, value in event.items():
        if kind == "messageStop" and isinstance(value, dict):
            reply["stopReason"] = value.get("stopReason")
        elif kind == "metadata" and isinstance(value, dict):
            reply.update({key: value[key] for key in ("usage", "metrics") if key in value})
        elif kind in ("contentBlockStart", "contentBlockDelta") and isinstance(value, dict):
            block = _at(message["content"], value.get("contentBlockIndex", 0), "index")
            _merge_content(block, value.get("start") or value.get("delta") or {})


def _merge_content(block: dict[str, Any], part: dict[str, Any]) -> None:
    """Add a piece of a content block: its texts grow, whatever they are nested in."""
    for key, value in part.items():
        if isinstance(value, dict):
            _merge_content(block.setdefault(key, {}), value)
        elif isinstance(value, str) and isinstance(block.get(key), str):
            block[key] += value
        else:
            block[key] = value
