"""OpenAI's Responses as the lab speaks them: items in and out, typed events, and responses that it keeps.

A response that runs in the background goes one step further each time it is asked about: queued, in progress, then at
its end; nothing depends on a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.lab.faults import split_model
from watchkeeper.lab.shapes import Json, LabError, Reply, lab_tokens, pieces, text_of
from watchkeeper.lab.speech import Answer, ChatRequest, field, object_of, run_of, wrong

MOST_KEPT = 10_000
_ENDED = ("completed", "incomplete", "cancelled", "failed")


class _Kept(msgspec.Struct):
    """A response that was stored: the body it will have at its end, its chat, its items, and how far it is."""

    body: Json
    messages: list[Any]
    items: list[Any]
    events: list[bytes]
    status: str


class ResponsesSpeech:
    """POST /v1/responses, and what follows on a response that is kept. One for each lab."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def read(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """Read a responses request as a chat; the earlier response's conversation comes first."""
        body = object_of(raw)
        model, words = split_model(field(body, "model", str, required=True))
        earlier = field(body, "previous_response_id", str)
        messages = list(self._find(earlier).messages) if earlier else []
        if body.get("instructions"):
            messages = [{"role": "system", "content": body["instructions"]}, *messages]
        messages += [message for item in _items(body) for message in as_chat(item)]
        if not messages:
            raise wrong("input", "a text, or an array of items with at least one in it")
        limit = field(body, "max_output_tokens", int)
        if limit is not None and limit < 1:
            raise wrong("max_output_tokens", f"1 or more, got {limit}")
        return ChatRequest(
            model=model,
            fault_words=words,
            messages=messages,
            tools=[_tool(tool) for tool in field(body, "tools", list) or []],
            stream=bool(field(body, "stream", bool)),
            include_usage=True,
            max_tokens=limit,
            run=run_of(body, headers),
            body=body,
        )

    def plain(self, request: ChatRequest, answer: Answer) -> Json:
        """A whole response; one in the background is only queued."""
        whole = _whole(request, answer)
        behind = request.body.get("background") is True
        if request.body.get("store") is not False:
            self._keep(request, answer, whole, "queued" if behind else whole["status"])
        return _state(whole, "queued") if behind else whole

    def events(self, request: ChatRequest, answer: Answer, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
        """The typed events of a streamed response."""
        whole = _whole(request, answer)
        if request.body.get("store") is not False:
            self._keep(request, answer, whole, whole["status"])
        yield from _numbered(whole, chunk_tokens)

    def error(self, error: LabError) -> Json:
        """OpenAI's error."""
        return error.body()

    def about(self, method: str, path: str) -> Json | None:
        """Answer a request about a kept response (`/v1/responses/ID...`); None where there is no such path."""
        response_id, _, act = path.removeprefix("/v1/responses/").partition("/")
        match method, act:
            case "GET", "":
                return self._advance(self._find(response_id))
            case "GET", "input_items":
                items = self._find(response_id).items
                return {"object": "list", "data": items, "first_id": None, "last_id": None, "has_more": False}
            case "DELETE", "":
                self._find(response_id)
                del self._kept[response_id]
                return {"id": response_id, "object": "response", "deleted": True}
            case "POST", "cancel":
                kept = self._find(response_id)
                if kept.status not in _ENDED:
                    kept.status = "cancelled"
                return _state(kept.body, kept.status)
        return None

    def replayed(self, path: str, after: int) -> Iterator[tuple[bytes, int]]:
        """The events of a kept response once more, those numbered above `after`."""
        kept = self._find(path.removeprefix("/v1/responses/"))
        kept.status = kept.body["status"]
        yield from ((each, 0) for each in kept.events[after + 1 :])

    def compacted(self, raw: bytes, headers: Mapping[str, str], number: int) -> Json:
        """A conversation made shorter: its last item stands for all of it."""
        request = self.read(raw, headers)
        tokens = sum(lab_tokens(text_of(message.get("content"))) for message in request.messages)
        kept = {"type": "compaction", "id": f"cmp_lab_{number}", "encrypted_content": "bGFi"}
        usage = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1} | _details(0, 0)
        head = {"id": f"resp_lab_{number}", "object": "response.compaction", "created_at": 0}
        return head | {"output": [kept], "usage": usage}

    def _keep(self, request: ChatRequest, answer: Answer, whole: Json, status: str) -> None:
        messages = [each for each in request.messages if each.get("role") != "system"]
        messages += [message for item in whole["output"] for message in as_chat(item)]
        events = [each for each, _ in _numbered(whole, 4)]
        items = [{"id": f"item_{n}", **item} for n, item in enumerate(_items(request.body))]
        self._kept[whole["id"]] = _Kept(whole, messages, items, events, status)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def _find(self, response_id: str) -> _Kept:
        kept = self._kept.get(response_id)
        if kept is None:
            text = f"Response with id '{response_id[:100]}' not found."
            raise LabError(404, "response_not_found", text, param="response_id")
        return kept

    def _advance(self, kept: _Kept) -> Json:
        said = _state(kept.body, kept.status)
        if kept.status not in _ENDED:
            kept.status = "in_progress" if kept.status == "queued" else kept.body["status"]
            said = _state(kept.body, kept.status)
        return said


def as_chat(item: Mapping[str, Any]) -> list[Json]:
    """An item as messages of a chat."""
    kind = item.get("type") or "message"
    if kind == "message":
        content = item.get("content")
        return [{"role": item.get("role"), "content": text_of(content)}]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        return [{"role": "tool", "tool_call_id": item.get("call_id"), "content": text_of(item.get("output"))}]
    return []


def _items(body: Mapping[str, Any]) -> list[Any]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list | None) or not all(isinstance(item, dict) for item in given or []):
        raise wrong("input", "a text, or an array of items with at least one in it")
    return given or []


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {"name": tool.get("name"), "parameters": tool.get("parameters")}}


def _whole(request: ChatRequest, answer: Answer) -> Json:
    body, usage = request.body, answer.usage
    told: Json | None = None
    if usage is not None:
        into, out = usage.prompt_tokens, usage.completion_tokens
        told = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
        told |= _details(usage.cached_tokens or 0, usage.reasoning_tokens or 0)
    short = answer.reply.cut_short
    return {
        "id": "resp_" + _plain(answer.envelope.id),
        "object": "response",
        "created_at": answer.envelope.created_s,
        "status": "incomplete" if short else "completed",
        "background": body.get("background") is True,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": answer.envelope.model,
        "output": list(_output(answer.reply, answer.envelope.id, "incomplete" if short else "completed")),
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store") is not False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": told,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


def _details(cached: int, reasoning: int) -> Json:
    return {
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }


def _state(whole: Json, status: str) -> Json:
    """The response as it is before its end: nothing written yet, nothing counted."""
    if status == whole["status"]:
        return whole
    return whole | {"status": status, "output": [], "usage": None, "incomplete_details": None}


def _plain(envelope_id: str) -> str:
    return envelope_id.removeprefix("chatcmpl-").replace("-", "_")


def _output(reply: Reply, envelope_id: str, status: str) -> Iterator[Json]:
    name = _plain(envelope_id)
    if reply.content is not None:
        part = {"type": "output_text", "text": reply.content, "annotations": [], "logprobs": []}
        yield {
            "id": f"msg_{name}", "type": "message", "status": status, "role": "assistant", "content": [part],
        }  # fmt: skip
    for index, call in enumerate(reply.tool_calls):
        yield {
            "id": f"fc_{name}_{index}", "type": "function_call", "status": status, "call_id": call.id,
            "name": call.name, "arguments": call.arguments,
        }  # fmt: skip


def _numbered(whole: Json, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
    for number, (body, tokens) in enumerate(_events(whole, chunk_tokens)):
        data = msgspec.json.encode(body | {"sequence_number": number})
        yield f"event: {body['type']}\n".encode() + b"data: " + data + b"\n\n", tokens


def _events(whole: Json, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
    opening = _state(whole, "in_progress")
    yield {"type": "response.created", "response": opening}, 0
    yield {"type": "response.in_progress", "response": opening}, 0
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index}
        text = item["type"] == "message"
        opened: Json = {"content": []} if text else {"arguments": ""}
        begun = item | {"status": "in_progress"} | opened
        yield {"type": "response.output_item.added", "item": begun} | place, 0
        yield from _text(item, place, chunk_tokens) if text else _arguments(item, place, chunk_tokens)
        yield {"type": "response.output_item.done", "item": item} | place, 0
    yield {"type": f"response.{whole['status']}", "response": whole}, 0


def _text(item: Json, place: Json, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
    part = item["content"][0]
    place = place | {"item_id": item["id"], "content_index": 0}
    yield {"type": "response.content_part.added", "part": part | {"text": ""}} | place, 0
    for piece in pieces(part["text"], chunk_tokens):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []} | place, lab_tokens(piece)
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | place, 0
    yield {"type": "response.content_part.done", "part": part} | place, 0


def _arguments(item: Json, place: Json, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
    place = place | {"item_id": item["id"]}
    for piece in pieces(item["arguments"], chunk_tokens):
        yield {"type": "response.function_call_arguments.delta", "delta": piece} | place, lab_tokens(piece)
    done = {"type": "response.function_call_arguments.done", "arguments": item["arguments"], "name": item["name"]}
    yield done | place, 0
