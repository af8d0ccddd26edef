"""Whatever a provider sends, people read the same conversation; a stream reads like the whole reply."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.adapters.formats.conversation import conversation_of, messages_in, messages_out
from watchkeeper.adapters.formats.messages import messages, preview_from, preview_of
from watchkeeper.adapters.formats.streamed import add_up, looks_streamed

DATA = Path(__file__).parents[3] / "data" / "provider-cassettes" / "exchanges.jsonl.gz"
EXCHANGES = [json.loads(line) for line in gzip.decompress(DATA.read_bytes()).splitlines()]


def as_bytes(value: Any) -> bytes:
    """A recorded body as it went over the wire: text as it is, an object as JSON."""
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@pytest.mark.parametrize("exchange", EXCHANGES, ids=[f"{x['shape']}-{x['cassette'][-40:]}" for x in EXCHANGES])
def test_every_recorded_exchange_has_something_to_read(exchange: dict[str, Any]) -> None:
    talk = conversation_of(as_bytes(exchange["request"]), as_bytes(exchange["response"]))
    assert talk.input and talk.output
    assert all(message.role in ("system", "user", "assistant", "tool") for message in talk.input + talk.output)
    assert any(message.text or message.tool_calls or message.reasoning for message in talk.output)
    assert not any(call.name == "?" for message in talk.output for call in message.tool_calls)
    assert preview_from(talk)


def test_embeddings_are_counted_and_not_spelt_out() -> None:
    reply = {"object": "list", "data": [{"embedding": [0.1] * 1000}, {"embedding": "AAAA"}], "model": "m"}
    talk = conversation_of(b'{"model": "m", "input": ["one", "two"]}', as_bytes(reply))
    assert [message.text for message in talk.output] == ["[2 embeddings]"]
    assert [message.text for message in messages_out({"data": []} | {"output": "x"})]


def test_openai_chat_with_tools_reads_in_order() -> None:
    request = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ]
    }
    reply = {"choices": [{"message": {"role": "assistant", "content": "It is 42."}, "finish_reason": "stop"}]}
    talk = conversation_of(as_bytes(request), as_bytes(reply))
    assert [(m.role, m.text) for m in talk.input] == [
        ("system", "Be brief."),
        ("user", "Look\n[image_url]"),
        ("assistant", ""),
        ("tool", "42"),
    ]
    assert (talk.input[2].tool_calls[0].name, talk.input[2].tool_calls[0].arguments) == ("f", '{"a":1}')
    assert talk.input[3].tool_call_id == "c1"
    assert [m.text for m in talk.output] == ["It is 42."]


def test_genai_parts_read_like_openai_messages() -> None:
    talk = messages(
        {
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": json.dumps(
                [
                    {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
                    {
                        "role": "assistant",
                        "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}}],
                    },
                    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"t": 21}}]},
                ]
            ),
            "gen_ai.output.messages": json.dumps(
                [
                    {
                        "role": "assistant",
                        "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "21."}],
                    }
                ]
            ),
        }
    )
    assert [(m.role, m.text) for m in talk.input] == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", '{"t":21}'),
    ]
    assert talk.input[2].tool_calls[0].arguments == '{"city":"Rome"}'
    assert (talk.output[0].text, talk.output[0].reasoning) == ("21.", "hm")


def test_numbered_attributes_of_openinference_and_traceloop_read_alike() -> None:
    inference = {
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "text",
        "llm.input_messages.0.message.contents.0.message_content.text": "hi",
        "llm.input_messages.1.message.role": "assistant",
        "llm.input_messages.1.message.tool_calls.0.tool_call.id": "c1",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "f",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": "{}",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "hello",
    }
    traceloop = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "hi",
        "gen_ai.prompt.1.role": "assistant",
        "gen_ai.prompt.1.tool_calls.0.id": "c1",
        "gen_ai.prompt.1.tool_calls.0.name": "f",
        "gen_ai.prompt.1.tool_calls.0.arguments": "{}",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "hello",
        "gen_ai.completion.0.finish_reason": "stop",
    }
    for attributes in (inference, traceloop):
        talk = messages(attributes)
        assert [(m.role, m.text, [c.name for c in m.tool_calls]) for m in talk.input] == [
            ("user", "hi", []),
            ("assistant", "", ["f"]),
        ]
        assert [m.text for m in talk.output] == ["hello"]
        assert preview_of(attributes) == "hi\nhello"


def test_the_messages_of_numbered_attributes_are_in_the_order_of_their_numbers() -> None:
    found = messages({f"gen_ai.prompt.{n}.content": str(n) for n in (10, 2, 0)}).input
    assert [m.text for m in found] == ["0", "2", "10"]


def test_a_tool_span_shows_its_arguments_and_result() -> None:
    span = {"gen_ai.tool.name": "f", "gen_ai.tool.call.arguments": '{"a":1}', "gen_ai.tool.call.result": "done"}
    talk = messages(span)
    assert (talk.input[0].tool_calls[0].name, talk.output[0].role, talk.output[0].text) == ("f", "tool", "done")
    assert preview_of(span) == '{"a":1}\ndone'


def test_a_preview_is_short_and_on_two_lines() -> None:
    long = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "a b\n" * 500}]}])
    preview = preview_of({"gen_ai.input.messages": long, "gen_ai.output.messages": long})
    assert len(preview) <= 601 and preview.count("\n") == 1


STREAM = b"".join(
    b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"
    for chunk in (
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"content": "lo"}}]},
        {
            "id": "c",
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a'}}]},
                }
            ],
        },
        {
            "id": "c",
            "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '":1}'}}]}}],
        },
        {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )
)


def test_a_chat_stream_adds_up_to_its_whole_reply() -> None:
    reply = add_up(STREAM + b"data: [DONE]\r\n\r\n")
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    (choice,) = reply["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "Hello")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(STREAM)))
def test_a_cut_stream_reads_as_far_as_it_came(end: int) -> None:
    talk = conversation_of(b'{"messages":[{"role":"user","content":"x"}]}', STREAM[:end])
    said = "".join(message.text for message in talk.output if looks_streamed(STREAM[:end]))
    assert "Hello".startswith(said)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(-9, 9), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["role", "content", "messages", "choices", "message", "type", "parts", "tool_calls", "function",
                 "output", "text", "input", "name", "arguments", "system", "delta", "candidates",
                 "event.name", "error", "result"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_no_json_value_breaks_the_reading(value: Any) -> None:
    list(messages_in(value))
    list(messages_out(value))
    raw = json.dumps(value).encode()
    conversation_of(raw, raw)
    conversation_of(raw, b"data: " + raw + b"\n\n")
    messages({"gen_ai.input.messages": raw.decode(), "ai.response.toolCalls": raw.decode(), "events": raw.decode()})
    preview_of({"gen_ai.input.messages": raw.decode(), "gen_ai.output.messages": raw.decode()})
