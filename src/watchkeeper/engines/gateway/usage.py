"""Reads what a reply says of itself: model, id, finish reasons, token usage and a little of its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from watchkeeper.analysis.replies import ToolUse, told
from watchkeeper.analysis.usage import Counts, find, read
from watchkeeper.records.span import Usage

PREVIEW_CHARS = 300
_MOST_REASONS = 128
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_object = msgspec.json.Decoder(dict[str, Any])


class Answer(msgspec.Struct, kw_only=True):
    """What was read from a reply so far; None is unknown. `readable` is False when it is no reply at all."""

    response_id: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    service_tier: str | None = None
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()
    text: str = ""
    tools: tuple[ToolUse, ...] = ()
    error_type: str | None = None
    message: str | None = None
    readable: bool = True


class _Call(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    function: _Call | None = None


class _Said(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Call | None = None


class Choice(msgspec.Struct):
    """One choice of a reply or of a chunk of a stream."""

    index: Any = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: Any = None
    finish_reason: Any = None

    @property
    def said(self) -> _Said | None:
        """What the choice holds, plain or streamed."""
        return self.message if self.message is not None else self.delta


_ABSENT = msgspec.Raw(b"null")


class Envelope(msgspec.Struct):
    """A chat reply, or one chunk of a streamed one; everything may be missing."""

    id: Any = None
    model: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = _ABSENT
    error: Any = None
    type: Any = None
    x_groq: Any = None
    candidates: Any = None

    @property
    def has_usage(self) -> bool:
        """Whether it carries a usage object."""
        return self.usage is not _ABSENT and bytes(self.usage) != b"null"


_envelope = msgspec.json.Decoder(Envelope)


def read_envelope(data: bytes | bytearray) -> Envelope | None:
    """Decode a reply or chunk; None when it is not JSON or not shaped like one."""
    try:
        return _envelope.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_answer(data: bytes) -> Answer:
    """Read a whole, plain reply."""
    envelope = read_envelope(data)
    if envelope is None:
        return Answer(readable=False)
    answer = Answer()
    note_head(answer, envelope)
    if envelope.choices is None:
        _note_other(answer, data)
        return answer
    choices = envelope.choices
    answer.finish_reasons = tuple(c.finish_reason for c in choices if isinstance(c.finish_reason, str))[:_MOST_REASONS]
    answer.text = next((text for text in map(said_text, choices) if text), "")[:PREVIEW_CHARS]
    return answer


def note_head(answer: Answer, envelope: Envelope) -> None:
    """Take over what an envelope says of the whole reply; what it does not say stays as it was."""
    # Every chunk of a stream says the same of these.
    if envelope.id != answer.response_id:
        answer.response_id = _name(envelope.id) or answer.response_id
    if envelope.model != answer.model:
        answer.model = _name(envelope.model) or answer.model
    if envelope.system_fingerprint != answer.fingerprint:
        answer.fingerprint = _name(envelope.system_fingerprint) or answer.fingerprint
    if envelope.service_tier != answer.service_tier:
        answer.service_tier = _name(envelope.service_tier) or answer.service_tier
    if envelope.has_usage:
        note_counts(answer, _counts(envelope.usage))
    elif isinstance(envelope.x_groq, Mapping) and (usage := find({"x_groq": envelope.x_groq})) is not None:
        note_counts(answer, read(usage))
    if envelope.error is not None:
        answer.error_type, answer.message = read_error(envelope.error)


def note_counts(answer: Answer, counts: Counts | None) -> None:
    """Take over counts, and the service tier that they name where the reply itself named none."""
    if counts is not None:
        answer.usage = counts.usage()
        answer.service_tier = answer.service_tier or _name(counts.tier)


def _note_other(answer: Answer, data: bytes) -> None:
    """Take over what a reply of another shape than chat completions says."""
    try:
        note_told(answer, _object.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return


def note_told(answer: Answer, body: Mapping[str, Any]) -> None:
    """Take over what a whole reply of any provider says; what it does not say stays as it was."""
    said = told(body)
    answer.response_id = said.response_id or answer.response_id
    answer.model = said.model or answer.model
    answer.service_tier = said.tier or answer.service_tier
    answer.finish_reasons = said.finish_reasons[:_MOST_REASONS] or answer.finish_reasons
    if said.counts is not None:
        note_counts(answer, said.counts)
    answer.tools = said.tools or answer.tools
    words = said.text or " ".join(f"{tool.name}({tool.arguments})" for tool in said.tools)
    answer.text = words[:PREVIEW_CHARS] or answer.text


def read_usage_only(data: bytes, api: str) -> Answer:
    """Model, error and usage of a plain reply whose content is not decoded; `api` says how its usage is meant."""
    envelope = read_envelope(data)
    if envelope is None:
        return Answer(readable=False)
    answer = Answer()
    note_head(answer, envelope)
    if envelope.has_usage:
        try:
            note_counts(answer, read(_object.decode(envelope.usage), api))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # a usage object that is none says nothing
    return answer


def read_error(error: object) -> tuple[str, str | None]:
    """The type and message of an error as upstreams write them: an object, or a bare sentence."""
    if not isinstance(error, Mapping):
        return "upstream_error", str(error)[:500]
    kind = error.get("code") or error.get("type")
    message = error.get("message")
    return (
        str(kind)[:200] if isinstance(kind, str | int) and kind else "upstream_error",
        message[:500] if isinstance(message, str) else None,
    )


def read_usage(raw: msgspec.Raw | bytes) -> Usage:
    """Tokens from the usage object of any provider. What is absent, negative or not a whole number is unknown.

    Input includes cached tokens and output includes reasoning tokens; see `analysis/usage.py`.
    """
    counts = _counts(raw)
    return Usage() if counts is None else counts.usage()


def _counts(raw: msgspec.Raw | bytes) -> Counts | None:
    try:
        return read(_object.decode(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def said_text(choice: Choice) -> str:
    """A choice's text for a preview: its content or refusal, else the tool calls it makes."""
    if isinstance(choice.text, str):
        return choice.text
    said = choice.said
    if said is None:
        return ""
    for words in (said.content, said.refusal):
        if isinstance(words, str) and words:
            return words
    calls = [call.function for call in said.tool_calls or [] if call.function is not None]
    if said.function_call is not None:
        calls.append(said.function_call)
    return " ".join(f"{call.name}({_words(call.arguments)})" for call in calls if isinstance(call.name, str))


def content_bytes(choice: Choice) -> int:
    """How many UTF-8 bytes of a chunk's choice the model wrote: text, reasoning, a refusal, tool calls."""
    said = choice.said
    if said is None:
        return _size(choice.text)
    calls = [call.function for call in said.tool_calls or []]
    calls.append(said.function_call)
    of_calls = sum(_size(call.name) + _size(call.arguments) for call in calls if call is not None)
    return of_calls + sum(map(_size, (said.content, said.refusal, said.reasoning_content or said.reasoning)))


def _size(words: object) -> int:
    return len(words.encode("utf-8", "replace")) if isinstance(words, str) else 0


def is_content(choice: Choice) -> bool:
    """Whether a chunk's choice carries something that the model wrote: text, reasoning, a refusal or a tool call."""
    said = choice.said
    if said is None:
        return bool(choice.text)
    return bool(
        said.content
        or said.tool_calls
        or said.refusal
        or said.reasoning_content
        or said.reasoning
        or said.function_call
    )


def _name(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""
