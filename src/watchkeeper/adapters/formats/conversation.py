"""Reads what a model was told and what it said, from any provider's JSON, as one neutral form for people to read.

A message is read by the shape of its parts and not by the name of its sender, because frameworks mix them:
OpenAI chat and Responses, Anthropic, Gemini, the parts of the GenAI conventions, and the AI SDK. What a part
is not understood as stays in `raw` and leaves a mark like "[image]" in the text, so that nothing disappears
from the page unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.streamed import add_up, looks_streamed
from watchkeeper.records.record import Record, as_json


class ToolCall(Record):
    """A tool that the model asked for; `arguments` is text as the model wrote it, usually JSON."""

    name: str
    arguments: str = ""
    call_id: str | None = None


class Message(Record):
    """One message. `role` is system, user, assistant or tool; `raw` is the message as it was sent."""

    role: str
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""
    raw: Any = None


class Conversation(Record):
    """What went into one call and what came out of it, in order."""

    input: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()


_ROLES = {
    "model": "assistant",
    "ai": "assistant",
    "human": "user",
    "developer": "system",
    "function": "tool",
    "data": "user",
}
_SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction")
_ASKED = ("messages", "input", "contents", "prompt", "query", "question", "new_message", "inputs")
_THOUGHT_TEXTS = ("thinking", "content", "text", "summary", "reasoning")
_PAIR_ROLES = frozenset(("system", "human", "user", "ai", "assistant", "developer", "tool"))
_CALLS = frozenset(("tool_call", "tool_use", "tool-call", "function_call", "custom_tool_call", "server_tool_use"))
_RESULTS = frozenset(
    ("tool_call_response", "tool_result", "tool-result", "function_call_output", "custom_tool_call_output")
)
_TEXTS = frozenset(("text", "input_text", "output_text", "refusal"))
_THOUGHTS = frozenset(("reasoning", "thinking", "redacted_thinking"))


def conversation_of(request: bytes, reply: bytes) -> Conversation:
    """The conversation of one recorded exchange; the reply may be JSON or a server-sent event stream, also a cut one.

    Bytes that are no JSON become one message holding their text.
    """
    asked = decode_json(request)
    answered = add_up(reply) if looks_streamed(reply) else decode_json(reply)
    try:
        inputs, outputs = tuple(messages_in(asked)), tuple(messages_out(answered))
        return told_once(inputs, outputs)
    except RecursionError:  # nested deeper than any message is: shown as the text that it is
        return Conversation(
            input=(Message(role="user", text=request.decode("utf-8", "replace")),) if request else (),
            output=(Message(role="assistant", text=reply.decode("utf-8", "replace")),) if reply else (),
        )


def told_once(inputs: tuple[Message, ...], outputs: tuple[Message, ...]) -> Conversation:
    """A conversation in which nothing stands twice because a framework gave its whole state as the input or the output.

    Output that begins with all of the input is cut to what came after it; input that ends in the answer loses it.
    """
    if inputs and len(outputs) > len(inputs):
        pairs = zip(inputs, outputs, strict=False)
        if all(one.role == two.role and one.text == two.text for one, two in pairs):
            outputs = outputs[len(inputs) :]
    if inputs and outputs and inputs[-1].role == "assistant" and inputs[-1].text == outputs[-1].text != "":
        inputs = inputs[:-1]
    return Conversation(input=inputs, output=outputs)


def plain_messages(said: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages of the neutral form as JSON values that `messages_of` reads back alike: OpenAI's message list."""
    plain = []
    for message in said:
        each: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.tool_calls:
            each["tool_calls"] = [
                {"id": c.call_id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in message.tool_calls
            ]
        if message.tool_call_id is not None:
            each["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            each["name"] = message.name
        if message.reasoning:
            each["reasoning"] = message.reasoning
        plain.append(each)
    return plain


def decode_json(data: bytes | str) -> Any:
    """The JSON value in some bytes, or their text when they hold none; empty is None."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace") if isinstance(data, bytes) else data


def messages_in(value: Any) -> Iterator[Message]:
    """The messages of a request in any shape: a message list, a body that holds one, a prompt, or plain text."""
    if isinstance(value, dict):
        config = value.get("config")
        spoken = [each for each in (value, config) if isinstance(each, dict)]
        system = [each[key] for each in spoken for key in _SYSTEM if each.get(key)]
        for each in system:
            yield from messages_of(each, "system")
        for key in _ASKED:
            if value.get(key) not in (None, "", [], {}):
                if key == "inputs" and isinstance(value[key], dict):
                    yield from messages_in(value[key])
                else:
                    yield from messages_of(value[key], "user")
                return
        if _is_message(value):
            yield from messages_of(value, "user")
            return
        if not system:
            yield Message(role="user", text=text_of(value), raw=value)
        return
    yield from messages_of(value, "user")


def messages_out(value: Any) -> Iterator[Message]:
    """The messages of a reply in any shape: choices, output items, content parts, candidates, or plain text."""
    if not isinstance(value, dict):
        yield from messages_of(value, "assistant")
        return
    if isinstance(choices := value.get("choices"), list):
        for choice in choices:
            if isinstance(choice, dict):
                said = choice.get("message") or choice.get("delta") or choice.get("text")
                yield from messages_of(said, "assistant")
        return
    if embedded := _embeddings(value.get("data")):
        yield Message(role="assistant", text=f"[{embedded} embedding{'s' if embedded > 1 else ''}]", raw=value)
        return
    if isinstance(candidates := value.get("candidates"), list):
        for candidate in candidates:
            if isinstance(candidate, dict):
                yield from messages_of(candidate.get("content"), "assistant")
        return
    said = value.get("content") if isinstance(value.get("messages"), list) else None
    if said is None and any(key in value for key in ("expected_output", "tasks_output")):
        said = value.get("raw")
    if isinstance(said, str) and said:
        yield Message(role="assistant", text=said, raw=value)  # a framework's whole run, with its answer on top
        return
    if isinstance(outputs := value.get("outputs"), dict):
        yield from messages_out(outputs)
        return
    for key in ("output", "messages", "message", "generations"):
        if isinstance(value.get(key), list | Mapping) and value[key]:
            yield from messages_of(value[key], "assistant")
            return
    if _is_message(value):
        yield from messages_of(value, "assistant")
    elif isinstance(value.get("content"), list | dict):
        yield from messages_of(value["content"], "assistant")
    elif isinstance(error := value.get("error"), dict):
        yield Message(role="error", text=str(error.get("message") or text_of(error)), raw=value)
    elif value:
        yield Message(role="assistant", text=text_of(value), raw=value)


def _embeddings(value: Any) -> int:
    """How many embeddings a reply holds."""
    held = isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "embedding" in value[0]
    return len(value) if held else 0


def messages_of(value: Any, role: str) -> Iterator[Message]:
    """The messages in a value that is one message, a list of them, a list of parts, or text; `role` is the default."""
    if value is None or value == "":
        return
    if isinstance(value, list):
        if _is_pair(value):
            yield Message(role=str(_ROLES.get(value[0], value[0])), text=value[1], raw=value)
        elif any(_is_list(each) or (isinstance(each, dict) and _is_message(each)) for each in value):
            for each in value:
                yield from messages_of(each, role)
        else:
            yield from _message(value, {}, role, value)
        return
    if not isinstance(value, dict):
        yield Message(role=role, text=text_of(value), raw=value)
        return
    inner = value.get("message")
    if isinstance(inner, dict) and (_is_message(inner) or "lc" in inner):
        yield from messages_of(inner, role)
        return
    if isinstance(kept := value.get("kwargs"), dict) and "lc" in value:
        # A LangChain message that was written out as a constructor: its class says whose it is.
        name = value["id"][-1] if isinstance(value.get("id"), list) and value["id"] else ""
        said = str(kept.get("type") or str(name).removesuffix("Chunk").removesuffix("Message") or role).lower()
        yield from messages_of({**kept, "role": kept.get("role") or said}, role)
        return
    if not _is_message(value):
        yield from _message(value["parts"] if isinstance(value.get("parts"), list) else [value], {}, role, value)
        return
    content = value.get("content")
    if content is None:
        content = value.get("parts", value.get("body", value.get("text")))
    if isinstance(content, str) and content.startswith('[{"'):
        content = _calls_in(content) or content
    yield from _message(content, value, role, value)


def _is_pair(value: list[Any]) -> bool:
    """Whether a list is a message written as (role, text), as LangChain takes them."""
    return len(value) == 2 and all(isinstance(each, str) for each in value) and value[0] in _PAIR_ROLES


def _is_list(value: Any) -> bool:
    """Whether a value is a list of messages within a list: one for each prompt of a batch, or (role, text)."""
    if not isinstance(value, list) or not value:
        return False
    return _is_pair(value) or (isinstance(value[0], dict) and (_is_message(value[0]) or "message" in value[0]))


def _calls_in(text: str) -> list[Any] | None:
    """Tool calls that a framework wrote into a message's text; None when the text is something else."""
    value = decode_json(text)
    if isinstance(value, list) and all(
        isinstance(each, dict) and isinstance(each.get("function"), dict) and "name" in each["function"]
        for each in value
    ):
        return value
    return None


def _is_message(value: Mapping[str, Any]) -> bool:
    if "role" in value or ("lc" in value and isinstance(value.get("kwargs"), dict)):
        return True
    kind = _kind(value)
    if kind in _CALLS or kind in _RESULTS or kind in _TEXTS or kind in _THOUGHTS:
        return kind in (
            "function_call",
            "function_call_output",
            "custom_tool_call",
            "custom_tool_call_output",
            "reasoning",
        )
    return "content" in value and (kind in ("message", "human", "ai", "system", "tool") or "event.name" in value)


def _kind(value: Mapping[str, Any]) -> str | None:
    kind = value.get("type")
    return kind if isinstance(kind, str) else None


class _Parts:
    """What the parts of one message add up to."""

    __slots__ = ("calls", "results", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.results: list[Message] = []

    def take(self, part: Any) -> None:
        """Add one part; an unknown kind leaves a mark in the text."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        if not isinstance(part, dict):
            self.texts.append(text_of(part))
            return
        kind = _kind(part)
        if kind in _CALLS or ("toolCallId" in part and "toolName" in part and kind not in _RESULTS):
            self.calls.append(_call(part))
        elif kind in _RESULTS:
            self.results.append(_result(part))
        elif kind in _THOUGHTS:
            self.thoughts.append(text_of(next((part[key] for key in _THOUGHT_TEXTS if part.get(key)), None)))
        elif kind == "function" and isinstance(function := part.get("function"), dict):
            if "arguments" in function or "parameters" not in function:
                self.calls.append(_call(part))
            else:
                self.texts.append(f"[definition of the tool {function.get('name')}]")
        elif isinstance(call := _first(part, "function_call", "functionCall", "toolUse"), dict):
            self.calls.append(_call(call))
        elif isinstance(answer := _first(part, "function_response", "functionResponse", "toolResult"), dict):
            self.results.append(_result(answer))
        elif isinstance(thought := part.get("reasoningContent"), dict):
            inner = thought.get("reasoningText")
            self.thoughts.append(text_of(inner.get("text") if isinstance(inner, dict) else inner))
        elif kind in _TEXTS or (kind is None and ("text" in part or "content" in part)):
            self.texts.append(text_of(part.get("text", part.get("content", part.get("refusal")))))
        else:
            self.texts.append(f"[{kind}]" if kind else text_of(part))


def _message(content: Any, message: Mapping[str, Any], role: str, raw: Any) -> Iterator[Message]:
    parts = _Parts()
    if not content and str(message.get("type")) in _CALLS | _RESULTS | _THOUGHTS:
        content = [{key: value for key, value in message.items() if key != "content"}]
    for part in content if isinstance(content, list) else [] if content is None else [content]:
        parts.take(part)
    calls, extra = message.get("tool_calls"), message.get("additional_kwargs")
    if not calls and not parts.calls and isinstance(extra, dict):
        calls = extra.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            parts.calls.append(_call(call))
    if isinstance(old := message.get("function_call"), dict):
        parts.calls.append(_call(old))
    said = str(message.get("role") or _event_role(message) or message.get("type") or role).lower()
    said = role if said in _CALLS | _RESULTS | _THOUGHTS | {"message"} else _ROLES.get(said, said)
    if said == "tool" and parts.calls and not parts.texts:
        said = "assistant"  # who calls a tool is not the tool
    yield from parts.results
    if parts.texts or parts.calls or parts.thoughts or not parts.results:
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        yield Message(
            role=said,
            text="\n".join(text for text in parts.texts if text) or text_of(message.get("refusal")),
            tool_calls=tuple(parts.calls),
            tool_call_id=_name(message.get("tool_call_id") or (message.get("id") if said == "tool" else None)),
            name=_name(message.get("name")),
            reasoning="\n".join([*parts.thoughts, *([thought] if isinstance(thought, str) and thought else [])]),
            raw=raw,
        )


def _event_role(message: Mapping[str, Any]) -> str | None:
    """The role in the name of a v1.36 event: "gen_ai.user.message" is the user's."""
    event = message.get("event.name")
    return str(event).split(".")[1] if isinstance(event, str) and event.count(".") >= 2 else None


def _call(part: Mapping[str, Any]) -> ToolCall:
    function = part.get("function")
    if not isinstance(function, dict):
        function = part
    return ToolCall(
        name=str(function.get("name") or part.get("toolName") or _name(part.get("function")) or "?"),
        arguments=text_of(_first(function, "arguments", "args", "input")),
        call_id=_name(_first(part, "call_id", "id", "toolCallId", "toolUseId")),
    )


def _result(part: Mapping[str, Any]) -> Message:
    value = _first(part, "response", "result", "content", "output")
    if isinstance(value, list):
        inner = _Parts()
        for each in value:
            inner.take(each)
        value = "\n".join(inner.texts)
    return Message(
        role="tool",
        text=text_of(value),
        tool_call_id=_name(_first(part, "call_id", "id", "tool_use_id", "toolCallId", "toolUseId")),
        name=_name(_first(part, "name", "toolName")),
        raw=part,
    )


def _first(value: Mapping[str, Any], *keys: str) -> Any:
    """The first of some entries that is there and not null."""
    for key in keys:
        if value.get(key) is not None:
            return value[key]
    return None


def _name(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def text_of(value: Any) -> str:
    """A value as text: strings as they are, None as nothing, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(value).decode()
