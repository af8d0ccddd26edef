"""OpenAI's chat shapes as the lab serves them: replies, stream chunks, usage and errors.

Token counts are the lab's own: one token for every four bytes of UTF-8, rounded up. They are deterministic
and have nothing to do with any real vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

BYTES_PER_TOKEN = 4
OWNER = "watchkeeper-lab (not a model)"

Json = dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool as the model words it; `arguments` is JSON text, passed on as it is."""

    id: str
    name: str
    arguments: str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Lab tokens of one call. Prompt includes cached, completion includes reasoning; None: not reported."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def body(self) -> Json:
        usage: Json = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a model's reply: its text, and what `logprobs.content` is to say of it."""

    text: str
    said: Json


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab will say: text, tool calls, or both. `cut_short` is set where a token limit ended it.

    `usage` is set where a model counted by itself. `drawn` are its tokens, where log-probabilities were asked for, and
    `masked_mass` the probability that masks took away.
    """

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    cut_short: bool = False
    usage: Usage | None = None
    drawn: tuple[Drawn, ...] | None = None
    masked_mass: float | None = None

    @property
    def finish_reason(self) -> str:
        if self.cut_short:
            return "length"
        return "tool_calls" if self.tool_calls else "stop"


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of one answer share: its id, the time in unix seconds, and the model that it claims."""

    id: str
    created_s: int
    model: str

    def head(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": fingerprint(self.model),
        }


class LabError(Exception):
    """A refusal in OpenAI's error shape; `extra` is added to the error object under `lab`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.param = param
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def body(self) -> Json:
        error: Json = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        if self.extra:
            error["lab"] = self.extra
        return {"error": error}


def fingerprint(model: str) -> str:
    """A stable `system_fingerprint` for a model name: it begins with `lab-` and changes with the name."""
    return "lab-" + hashlib.blake2b(model.encode(), digest_size=6).hexdigest()


def lab_tokens(text: str) -> int:
    """Lab tokens of a text: its UTF-8 bytes divided by four, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def prompt_tokens(messages: Sequence[Any], tools: Sequence[Any]) -> int:
    """Lab tokens of a request: each message's text and tool calls, and each tool's schema as compact JSON."""
    total = sum(lab_tokens(msgspec.json.encode(tool).decode()) for tool in tools)
    for message in messages:
        if not isinstance(message, dict):
            continue
        total += lab_tokens(text_of(message.get("content")))
        for call in calls_of(message):
            total += lab_tokens(call.name + call.arguments)
    return total


def completion_tokens(reply: Reply) -> int:
    """Lab tokens of a reply: its text and its tool calls."""
    return lab_tokens(reply.content or "") + sum(lab_tokens(c.name + c.arguments) for c in reply.tool_calls)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list joined; other parts as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return msgspec.json.encode(content, order="deterministic").decode()
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: Any) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return msgspec.json.encode(part, order="deterministic").decode()


def calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The tool calls of an assistant message; those without the shape of a function call are left out."""
    found = []
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            continue
        found.append(
            ToolCall(
                id=str(call.get("id") or ""),
                name=str(function.get("name") or ""),
                arguments=str(function.get("arguments") or ""),
            )
        )
    return tuple(found)


def limited(reply: Reply, max_tokens: int | None) -> Reply:
    """The reply within a token limit: text is cut at the limit, tool calls are never cut."""
    if max_tokens is None or reply.tool_calls or reply.content is None:
        return reply
    if lab_tokens(reply.content) <= max_tokens:
        return reply
    kept = reply.content.encode()[: max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
    return Reply(content=kept, cut_short=True)


def wordier(reply: Reply, times: int) -> Reply:
    """The reply with its text said `times` times over; tool calls stay as they are."""
    if times <= 1 or not reply.content:
        return reply
    return Reply(content=" ".join([reply.content] * times), tool_calls=reply.tool_calls)


def completion(envelope: Envelope, reply: Reply, usage: Usage | None) -> Json:
    """A whole `chat.completion` body."""
    message: Json = {"role": "assistant", "content": reply.content, "refusal": None}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ]
    told = None if reply.drawn is None else logprobs(reply.drawn, reply.masked_mass)
    choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": reply.finish_reason}
    body = envelope.head("chat.completion") | {"choices": [choice]}
    return body if usage is None else body | {"usage": usage.body()}


def logprobs(drawn: Sequence[Drawn], masked_mass: float | None = None) -> Json:
    """Log-probabilities as OpenAI words them, and `masked_mass`, which is the lab's own word for the whole reply."""
    told: Json = {"content": [each.said for each in drawn], "refusal": None}
    return told if masked_mass is None else told | {"masked_mass": masked_mass}


def deltas(reply: Reply, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
    """The deltas of a streamed reply in order, each with the lab tokens that it carries."""
    yield {"role": "assistant", "content": "" if reply.content is not None else None}, 0
    for piece in pieces(reply.content or "", chunk_tokens):
        yield {"content": piece}, lab_tokens(piece)
    for index, call in enumerate(reply.tool_calls):
        opening = {"name": call.name, "arguments": ""}
        head = {"index": index, "id": call.id, "type": "function", "function": opening}
        yield {"tool_calls": [head]}, lab_tokens(call.name)
        for piece in pieces(call.arguments, chunk_tokens):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, lab_tokens(piece)


def chunks(
    envelope: Envelope, reply: Reply, usage: Usage | None, *, include_usage: bool, chunk_tokens: int
) -> Iterator[tuple[Json, int]]:
    """The `chat.completion.chunk` bodies of a streamed reply, each with the lab tokens that it carries.

    With `include_usage` a last chunk without choices carries the usage, unless there is none to tell.
    """
    head = envelope.head("chat.completion.chunk")
    if include_usage:
        head["usage"] = None
    if reply.drawn is None:
        for delta, tokens in deltas(reply, chunk_tokens):
            yield head | {"choices": [_choice(delta, None)]}, tokens
    else:
        yield head | {"choices": [_choice({"role": "assistant", "content": ""}, None)]}, 0
        for each in reply.drawn:
            yield head | {"choices": [_choice({"content": each.text}, None, logprobs([each]))]}, 1
    last = None if reply.drawn is None else logprobs((), reply.masked_mass)
    yield head | {"choices": [_choice({}, reply.finish_reason, last)]}, 0
    if include_usage and usage is not None:
        yield head | {"choices": [], "usage": usage.body()}, 0


def _choice(delta: Json, finish_reason: str | None, told: Json | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": told, "finish_reason": finish_reason}


def pieces(text: str, chunk_tokens: int) -> Iterator[str]:
    """A text in pieces of at most so many lab tokens of plain ASCII."""
    size = max(1, chunk_tokens) * BYTES_PER_TOKEN
    for start in range(0, len(text), size):
        yield text[start : start + size]
