"""Finds the conversation in a span's attributes and events, whichever dialect wrote it, and its short preview.

Reads the GenAI message attributes (JSON of roles and parts), the v1.36 events, OpenInference's and Traceloop's
numbered attributes, Vercel's AI SDK, Langfuse's observation input and output, and the arguments and results of
tool spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.conversation import (
    Conversation,
    Message,
    ToolCall,
    decode_json,
    messages_in,
    messages_of,
    messages_out,
    text_of,
    told_once,
)

PREVIEW_CHARACTERS = 300
_DEEPEST = 12

_INPUT_JSON = (
    "gen_ai.input.messages", "pydantic_ai.all_messages", "ai.prompt.messages", "ai.prompt", "gen_ai.prompt",
    "langfuse.observation.input", "traceloop.entity.input", "input.value", "gcp.vertex.agent.llm_request",
    "ai.value", "ai.values", "gen_ai.retrieval.query.text", "gen_ai.input.message", "request_data",
)  # fmt: skip
_OUTPUT_JSON = (
    "gen_ai.output.messages", "ai.response.text", "ai.response.object", "gen_ai.completion", "final_result",
    "langfuse.observation.output", "traceloop.entity.output", "output.value", "gcp.vertex.agent.llm_response",
    "gen_ai.retrieval.documents", "gen_ai.output.message", "response_data",
)  # fmt: skip
_ARGUMENTS = (
    "gen_ai.tool.call.arguments", "ai.toolCall.args", "tool_arguments", "gcp.vertex.agent.tool_call_args",
    "gen_ai.tool.arguments", "tool.parameters",
)  # fmt: skip
_RESULTS = (
    "gen_ai.tool.call.result", "ai.toolCall.result", "tool_response", "gcp.vertex.agent.tool_response",
    "gen_ai.tool.output",
)  # fmt: skip
_TOOL_NAMES = ("gen_ai.tool.name", "ai.toolCall.name", "tool.name")
_TOOL_CALL_IDS = ("gen_ai.tool.call.id", "ai.toolCall.id", "tool_call.id", "tool_call_id")
_NOTHING = (None, "", "null", "{}", "None")
_NUMBERED_DOCUMENTS = ("retrieval.documents.", "reranker.output_documents.")
_MOST_PIECES_APART = 8
_PIECE_CHARACTERS = 24
_NUMBERED_IN = ("llm.input_messages.", "gen_ai.prompt.", "llm.prompts.", "embedding.embeddings.")
_NUMBERED_OUT = ("llm.output_messages.", "gen_ai.completion.", "llm.completions.")


def messages(attributes: Mapping[str, Any], events: Iterable[Mapping[str, Any]] = ()) -> Conversation:
    """The conversation of a span; `events` are its events as flat mappings that name themselves in "event.name"."""
    tool = _tool_exchange(attributes)
    if tool is not None:
        return tool
    try:
        said = _from_events([*_listed(attributes.get("all_messages_events") or attributes.get("events")), *events])
        inputs = tuple(_input(attributes)) or said.input
        outputs = tuple(_output(attributes)) or said.output
    except RecursionError:  # nested deeper than any message is; the attributes show it as it came
        return Conversation()
    return told_once(inputs, outputs)


def preview_of(content: Mapping[str, Any]) -> str:
    """The last thing the user said and what came of it, at most 300 characters each, on two lines."""
    if not content:
        return ""
    plain = _plain_preview(content)
    if plain is not None:
        return plain
    tool = _tool_exchange(content)
    if tool is not None:
        asked, answered = (tool.input[0].tool_calls[0].arguments if tool.input else ""), _text(tool.output)
    else:
        asked, answered = _last_user(content), _text(tuple(_output(content)))
        if not asked and not answered and ("all_messages_events" in content or "events" in content):
            said = messages(content)
            asked, answered = _text(said.input[-1:]), _text(said.output)
    return "\n".join(short for text in (asked, answered) if (short := short_text(text)))


class _Part(msgspec.Struct):
    type: str = "text"
    content: str | None = None


class _Said(msgspec.Struct):
    role: str
    parts: list[_Part] = []


_said_lists = msgspec.json.Decoder(list[_Said])


def _plain_preview(content: Mapping[str, Any]) -> str | None:
    """The preview of GenAI messages whose parts are all text: the common case, read at a tenth of the cost."""
    asked, answered = content.get("gen_ai.input.messages"), content.get("gen_ai.output.messages")
    if not isinstance(asked, str) or not isinstance(answered, str):
        return None
    try:
        inputs, outputs = _said_lists.decode(asked), _said_lists.decode(answered)
    except msgspec.MsgspecError:
        return None
    user = next((said for said in reversed(inputs) if said.role == "user" and said.parts), None)
    if user is None or not outputs:
        return None
    lines = []
    for said in (user, outputs[-1]):
        if len(said.parts) != 1 or said.parts[0].type != "text" or not said.parts[0].content:
            return None
        lines.append(short_text(said.parts[0].content))
    return "\n".join(lines)


def preview_from(conversation: Conversation) -> str:
    """The preview of a conversation that was read already."""
    asked = next((m.text for m in reversed(conversation.input) if m.role == "user" and m.text), "")
    if not asked and conversation.input:
        asked = _text(conversation.input[-1:])
    return "\n".join(short for text in (asked, _text(conversation.output)) if (short := short_text(text)))


def short_text(text: str) -> str:
    """At most 300 characters on one line."""
    cut = text[:PREVIEW_CHARACTERS]
    return " ".join(cut.split()) if "\n" in cut or "\t" in cut or cut[:1] == " " else cut


def _text(said: tuple[Message, ...]) -> str:
    return "\n".join(m.text or ", ".join(f"{c.name}({c.arguments})" for c in m.tool_calls) for m in said)


def _last_user(content: Mapping[str, Any]) -> str:
    """The last user text; a list is read from its end, so that a long history costs no more than a short one."""
    for key in _INPUT_JSON:
        raw = content.get(key)
        if not raw:
            continue
        value = decode_json(raw) if isinstance(raw, str) else raw
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            value = value["messages"]
        if isinstance(value, list) and value and isinstance(value[-1], dict) and "role" in value[-1]:
            for each in reversed(value):
                for message in messages_of(each, "user"):
                    if message.role == "user" and message.text:
                        return message.text
            return _text(tuple(messages_of(value[-1], "user")))
        found = tuple(messages_in(value))
        return next((m.text for m in reversed(found) if m.role == "user" and m.text), _text(found[-1:]))
    found = tuple(_numbered_messages(content, _NUMBERED_IN))
    return next((m.text for m in reversed(found) if m.role == "user" and m.text), _text(found[-1:]))


def _input(attributes: Mapping[str, Any]) -> Iterator[Message]:
    system = attributes.get("gen_ai.system_instructions")
    if system:
        yield from messages_of(_value(system), "system")
    numbered = list(_numbered_messages(attributes, _NUMBERED_IN))
    if numbered and not attributes.get("gen_ai.input.messages"):
        yield from numbered
        return
    for key in _INPUT_JSON:
        if attributes.get(key):
            yield from messages_in(_value(attributes[key]))
            return


def _output(attributes: Mapping[str, Any]) -> Iterator[Message]:
    numbered = list(_numbered_messages(attributes, _NUMBERED_OUT, "assistant")) or list(_documents(attributes))
    if numbered and not attributes.get("gen_ai.output.messages"):
        yield from _joined(numbered)
        return
    for key in _OUTPUT_JSON:
        if attributes.get(key):
            yield from messages_out(_value(attributes[key]))
            break
    if thought := attributes.get("ai.response.reasoning"):
        yield Message(role="assistant", reasoning=text_of(thought), raw=thought)
    if calls := attributes.get("ai.response.toolCalls"):
        yield from messages_of({"role": "assistant", "content": None, "tool_calls": _value(calls)}, "assistant")


def _value(raw: Any) -> Any:
    return decode_json(raw) if isinstance(raw, str) else raw


def _tool_exchange(attributes: Mapping[str, Any]) -> Conversation | None:
    arguments = next((attributes[key] for key in _ARGUMENTS if attributes.get(key) not in _NOTHING), None)
    result = next((attributes[key] for key in _RESULTS if attributes.get(key)), None)
    named = next((attributes[key] for key in _TOOL_NAMES if attributes.get(key)), None)
    if arguments is None and named is not None and attributes.get("openinference.span.kind", "TOOL") == "TOOL":
        arguments = attributes.get("input.value")
    if arguments is None and result is not None and "{}" in (attributes.get(key) for key in _ARGUMENTS):
        arguments = "{}"
    if arguments is None and result is None:
        return None
    name = "?" if named is None else str(named)
    found = next((attributes[key] for key in _TOOL_CALL_IDS if attributes.get(key)), None)
    call_id = None if found is None else str(found)
    call = ToolCall(name=name, arguments=text_of(arguments), call_id=call_id)
    asked = (Message(role="assistant", tool_calls=(call,), raw=arguments),) if arguments is not None else ()
    answered: tuple[Message, ...] = ()
    if result is not None:
        answered = (Message(role="tool", text=text_of(result), tool_call_id=call_id, name=name, raw=result),)
    elif attributes.get("output.value"):
        answered = (Message(role="tool", text=text_of(attributes["output.value"]), tool_call_id=call_id, name=name),)
    return Conversation(input=asked, output=answered)


def tool_exchange(name: str, call_id: str | None, arguments: Any, result: Any) -> Conversation:
    """What a tool was asked and what it answered, as the messages that a model would see of it."""
    call = ToolCall(name=name, arguments=text_of(arguments), call_id=call_id)
    answer = Message(role="tool", text=text_of(result), tool_call_id=call_id, name=name, raw=result)
    return Conversation(
        input=(Message(role="assistant", tool_calls=(call,), raw=arguments),),
        output=() if result is None else (answer,),
    )


def _documents(attributes: Mapping[str, Any]) -> Iterator[Message]:
    """The documents that a retriever or reranker gave back, each under its id."""
    for prefix in _NUMBERED_DOCUMENTS:
        tree = nested((key[len(prefix) :], value) for key, value in attributes.items() if key.startswith(prefix))
        for index in sorted(tree, key=_order):
            found = _unwrapped(tree[index], "document")
            if isinstance(found, dict):
                named = found.get("id")
                yield Message(
                    role="tool",
                    text=text_of(found.get("content")),
                    name=None if named is None else str(named),
                    raw=found,
                )


def _joined(said: list[Message]) -> list[Message]:
    """The messages of a reply; the pieces of a stream that were reported as a message each become one."""
    pieces = [m for m in said if m.role == "assistant" and not m.tool_calls and len(m.text) <= _PIECE_CHARACTERS]
    if len(said) <= _MOST_PIECES_APART or len(pieces) < len(said) - 1:
        return said
    return [Message(role="assistant", text="".join(m.text for m in said), raw=[m.raw for m in said])]


def _listed(raw: Any) -> list[Mapping[str, Any]]:
    value = _value(raw) if raw else None
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _from_events(events: Iterable[Mapping[str, Any]]) -> Conversation:
    """Reads the v1.36 events, one per message and choice, and the details event that replaced them."""
    inputs: list[Message] = []
    outputs: list[Message] = []
    for event in events:
        name = str(event.get("event.name") or "")
        body = _value(event.get("gen_ai.event.content") or event.get("body"))
        whole: Mapping[str, Any] = {**event, **body} if isinstance(body, dict) else event
        if name == "gen_ai.choice":
            outputs += messages_of(_value(whole.get("message")) or whole.get("content"), "assistant")
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            plain = {key: value for key, value in whole.items() if not key.startswith("gen_ai.")}
            inputs += messages_of({"role": name.split(".")[1]} | plain, "user")
        elif name in (
            "gen_ai.content.prompt",
            "gen_ai.content.completion",
            "gen_ai.client.inference.operation.details",
        ):
            inputs += _input(event)
            outputs += _output(event)
    return Conversation(input=tuple(inputs), output=tuple(outputs))


def _numbered_messages(
    attributes: Mapping[str, Any], prefixes: tuple[str, ...], role: str = "user"
) -> Iterator[Message]:
    for prefix in prefixes:
        found = [(key[len(prefix) :], value) for key, value in attributes.items() if key.startswith(prefix)]
        if not found:
            continue
        tree = nested(found)
        for index in sorted(tree, key=_order):
            item = tree[index]
            if isinstance(item, dict):
                yield from messages_of(_plain_message(item, role), role)
        return


def _order(key: str) -> tuple[int, str]:
    return (int(key), key) if key.isascii() and key.isdigit() and len(key) < 12 else (1 << 60, key)


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted keys as nested mappings: ("0.role", x) is {"0": {"role": x}}; a key below a plain value is left out."""
    tree: dict[str, Any] = {}
    for key, value in pairs:
        place: Any = tree
        *parents, leaf = key.split(".", _DEEPEST)
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                break
        if isinstance(place, dict) and not isinstance(place.get(leaf), dict):
            place[leaf] = value
    return tree


def _plain_message(item: Mapping[str, Any], role: str) -> dict[str, Any]:
    """A numbered message as one JSON message; OpenInference wraps every level in its own name."""
    inner = item.get("message") or item.get("embedding") or item.get("prompt")
    message = dict(inner) if isinstance(inner, dict) else dict(item)
    plain: dict[str, Any] = {
        key: message[key] for key in ("content", "text", "tool_call_id", "name", "reasoning") if key in message
    }
    plain["role"] = message.get("role") or role
    if isinstance(calls := message.get("tool_calls"), dict):
        plain["tool_calls"] = [_unwrapped(calls[index], "tool_call") for index in sorted(calls, key=_order)]
    if isinstance(parts := message.get("contents"), dict):
        plain["content"] = [_unwrapped(parts[index], "message_content") for index in sorted(parts, key=_order)]
    if isinstance(text := plain.get("content"), str) and text.startswith("[{"):
        parsed = decode_json(text)
        if isinstance(parsed, list) and all(isinstance(each, dict) and "type" in each for each in parsed):
            plain["content"] = parsed
    return plain


def _unwrapped(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, dict) and isinstance(item.get(name), dict) else item
