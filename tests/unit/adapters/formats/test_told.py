"""A span survives the way out and in again: as JSON lines, as OTLP with either set of names, whole or marked."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from watchkeeper.adapters.formats.conversation import Conversation, Message, ToolCall, conversation_of
from watchkeeper.adapters.formats.detect import read
from watchkeeper.adapters.formats.imported import ImportedExport, ImportedSpan, Rejected
from watchkeeper.adapters.formats.otlp import decode, span_at
from watchkeeper.adapters.formats.otlp_export import Names, attributes_of, framed, json_line
from watchkeeper.adapters.formats.told import Kept, Told, line_of
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Happening, Span, Usage

START_NS = 1_760_000_000_000_000_000
CALL = Span(
    trace_id="a" * 32, span_id="b" * 16, parent_id="c" * 16, start_ns=START_NS, end_ns=START_NS + 1_234_567_891,
    name="chat gpt-4o", operation="chat", status="ok", door="gateway", service="shop", revision=1,
    identity=Identity(user="ann", session="s-1", run="r-1", agent="desk"), provider="openai", request_model="gpt-4o",
    response_model="gpt-4o-2024-08-06", response_id="chatcmpl-1", fingerprint="fp_1", stream=True,
    finish_reasons=("tool_calls",), cost=Cost(usd=0.000123456789, source="table of 2026-01-01"),
    usage=Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=5),
    first_token_ns=250_000_000, http_status=200, attributes={"customer.tier": "pro", "otel.scope.name": "shop.agents"},
    events=(Happening(name="retry", at_ns=START_NS + 5, attributes={"n": 1}),),
)  # fmt: skip
TALK = Conversation(
    input=(
        Message(role="system", text="Be kind."),
        Message(role="user", text='Where is "it"? 🙂'),
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments='{"a": 1}', call_id="c1"),)),
        Message(role="tool", text="on its way", tool_call_id="c1", name="find"),
    ),
    output=(Message(role="assistant", text="On its way.", reasoning="It was found."),),
)
DENIED = Span(
    trace_id="a" * 32, span_id="d" * 16, start_ns=START_NS, end_ns=START_NS, name="x", operation="chat", revision=1,
    status="denied", message="over budget", door="gateway",
)  # fmt: skip
OPEN = Span(trace_id="a" * 32, span_id="e" * 16, start_ns=START_NS, name="y", operation="chat", status="open")
TOOL = Span(
    trace_id="a" * 32, span_id="f" * 16, start_ns=START_NS, end_ns=START_NS + 1, name="execute_tool find", revision=1,
    operation="execute_tool", status="error", error_type="timeout", tool="find", tool_call_id="c1", door="sdk",
)  # fmt: skip
EXCHANGE = Conversation(
    input=(Message(role="assistant", tool_calls=(ToolCall(name="find", arguments='{"a": 1}', call_id="c1"),)),),
    output=(Message(role="tool", text="nothing", tool_call_id="c1", name="find"),),
)
SAME = tuple(name for name in Span.__struct_fields__ if name not in ("door", "identity", "attributes", "preview", "bodies", "origin", "revision", "events"))  # fmt: skip  # noqa: E501


def plain(talk: Conversation) -> list[tuple[Any, ...]]:
    return [(m.role, m.text, m.tool_calls, m.tool_call_id, m.reasoning) for m in talk.input + talk.output]


def over_otlp(told: list[Told], encoding: str, names: Names) -> list[tuple[Span, Conversation]]:
    data = framed(told, names) if encoding == "protobuf" else json_line(told, names)
    (export,) = read(io.BytesIO(data))
    assert isinstance(export, ImportedExport)
    spans = decode(export.payload).spans
    return [(span, span_at(export.payload, span.origin.item)[2]) for span in spans]


@pytest.mark.parametrize("names", ["v1.41", "next"])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(
    ("span", "talk"), [(CALL, TALK), (DENIED, Conversation()), (OPEN, Conversation()), (TOOL, EXCHANGE)],
    ids=["a call", "denied", "open", "a tool"],
)  # fmt: skip
def test_a_span_comes_back_over_otlp(span: Span, talk: Conversation, encoding: str, names: Names) -> None:
    ((back, said),) = over_otlp([Told(span=span, conversation=talk)], encoding, names)
    assert {name: getattr(back, name) for name in SAME} == {name: getattr(span, name) for name in SAME}
    who = ("user", "session", "run", "agent")
    assert [getattr(back.identity, n) for n in who] == [getattr(span.identity, n) for n in who]
    assert span.attributes.items() <= back.attributes.items() or not span.attributes
    assert plain(said) == plain(talk)


def test_the_names_are_those_of_the_conventions_asked_for() -> None:
    old, new = (attributes_of(Told(span=CALL), names) for names in ("v1.41", "next"))
    assert old["gen_ai.usage.cache_creation.input_tokens"] == new["gen_ai.usage.cache_write.input_tokens"] == 10
    assert "gen_ai.usage.cache_write.input_tokens" not in old and "gen_ai.system" not in old


def test_a_sender_at_the_door_cannot_say_what_a_call_cost() -> None:
    ((_, _),) = over_otlp([Told(span=CALL)], "protobuf", "v1.41")
    (span,) = decode(framed([Told(span=CALL)], "v1.41")[4:]).spans
    assert span.cost is None


def test_a_span_comes_back_over_json_lines_with_its_exact_bytes() -> None:
    request, reply = b'{"messages": [{"role":"user","content":"hi"}]}', b"data: \xff\xfe\n\n"
    kept = (Kept(name="request", media="application/json", data=request), Kept(name="reply", media="x", data=reply))
    (back,) = read(io.BytesIO(line_of(Told(span=CALL, conversation=TALK, bodies=kept))))
    assert isinstance(back, ImportedSpan)
    assert dict(back.bodies) == {"request": request, "reply": reply}
    assert {name: getattr(back.span, name) for name in SAME} == {name: getattr(CALL, name) for name in SAME}
    assert (back.span.door, back.span.attributes["watchkeeper.door"]) == ("import", "gateway")


def test_messages_stand_in_where_no_bytes_were_kept() -> None:
    (back,) = read(io.BytesIO(line_of(Told(span=CALL, conversation=TALK))))
    assert isinstance(back, ImportedSpan)
    bodies = dict(back.bodies)
    assert plain(conversation_of(bodies["messages.input"], bodies["messages.output"])) == plain(TALK)


def test_what_was_erased_or_redacted_is_marked_and_not_made_up() -> None:
    gone = Kept(name="request", media="application/json", gone="the payload of frame 3 was erased")
    veiled = Kept(name="reply", media="application/json", data=b"{}", redactions=2)
    told = Told(span=CALL, bodies=(gone, veiled))
    row = json.loads(line_of(told))
    assert row["bodies"] == [
        {"name": "request", "media": "application/json", "erased": "the payload of frame 3 was erased"},
        {"name": "reply", "media": "application/json", "redactions": 2, "text": "{}"},
    ]
    (back,) = read(io.BytesIO(line_of(told)))
    assert isinstance(back, ImportedSpan) and dict(back.bodies) == {"reply": b"{}"}
    words = attributes_of(told, "v1.41")
    assert (words["watchkeeper.erased"], words["watchkeeper.redactions"]) == (("request",), 2)
    assert json.loads(line_of(Told(span=CALL, gone="erased")))["erased"] == "erased"


@pytest.mark.parametrize(
    "change",
    [
        {"watchkeeper": 2}, {"span": {}}, {"span": {"trace_id": 1}}, {"bodies": [{"name": "x"}]},
        {"bodies": [{"name": "x", "base64": "?"}]},
    ],
)  # fmt: skip
def test_a_line_of_another_shape_is_refused_with_its_number(change: dict[str, Any]) -> None:
    good = line_of(Told(span=CALL))
    bad = json.dumps(json.loads(good) | change).encode() + b"\n"
    first, second = read(io.BytesIO(good + bad))
    assert isinstance(first, ImportedSpan) and isinstance(second, Rejected) and second.line == 2
