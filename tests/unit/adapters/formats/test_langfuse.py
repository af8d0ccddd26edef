"""Traces of ten agent frameworks give messages, tool calls, models and tokens, and the page that says so is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import dialects
from watchkeeper.adapters.formats.conversation import Conversation, conversation_of
from watchkeeper.adapters.formats.imported import Imported, ImportedSpan, Rejected
from watchkeeper.adapters.formats.langfuse import looks_like, read_rows
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Usage

TRACES = {str(json.loads(line)["name"]).rsplit("-", 3)[0]: line for line in dialects.recorded()}
OBSERVED = {"id": "o1", "traceId": "t1", "startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:01Z"}


def read(*rows: Any) -> list[Imported]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return list(read_rows(enumerate(lines, 1)))


def spans(framework: str) -> list[tuple[Span, Conversation]]:
    found = [each for each in read(TRACES[framework]) if isinstance(each, ImportedSpan)]
    return [(each.span, talk(each)) for each in found]


def talk(found: ImportedSpan) -> Conversation:
    bodies = dict(found.bodies)
    return conversation_of(bodies.get("messages.input", b""), bodies.get("messages.output", b""))


def one(framework: str, name: str) -> tuple[Span, Conversation]:
    return next((span, said) for span, said in spans(framework) if span.name == name)


def test_the_page_of_dialects_is_what_the_readers_say_today() -> None:
    assert dialects.PAGE.read_text(encoding="utf-8") == dialects.page()


@pytest.mark.parametrize("framework", sorted(TRACES))
def test_every_framework_keeps_its_tree_and_names_its_models(framework: str) -> None:
    found = [span for span, _ in spans(framework)]
    ids = {span.span_id for span in found}
    given = json.loads(TRACES[framework])["trace"]["observations"]
    assert {span.span_id for span in found} >= {each["id"] for each in given}
    assert {span.span_id: span.parent_id for span in found if span.parent_id} == {
        each["id"]: each["parentObservationId"] for each in given if each["parentObservationId"]
    }
    assert all(span.parent_id is None or span.parent_id in ids for span in found)
    assert all(span.model for span in found if span.operation == "chat")
    assert any(span.usage != Usage() for span in found)


@pytest.mark.parametrize(
    ("framework", "name", "roles"),
    [
        ("agno", "OpenAIChat.invoke", ["system", "user", "tool", "assistant"]),
        ("google-adk", "call_llm", ["system", "user", "assistant", "tool", "assistant"]),
        ("koog", "llm.chat", ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]),
        ("crewai", "completion", ["system", "user", "assistant"]),
        ("langgraph-python", "agent", ["user", "assistant", "tool", "assistant"]),
        ("pydantic-ai", "qa_agent run", ["system", "user", "assistant"]),
        ("vercel-aisdk", "ai.generateText.doGenerate", ["user", "assistant"]),
    ],
)
def test_what_was_said_stands_in_messages_with_roles(framework: str, name: str, roles: list[str]) -> None:
    _, said = one(framework, name)
    assert [message.role for message in said.input + said.output] == roles


@pytest.mark.parametrize(
    ("framework", "name", "tool", "arguments"),
    [
        ("agno", "duckduckgo_search", "duckduckgo_search", '{"query":"currently trending on Twitter"}'),
        (
            "beeai",
            "tool.search.wikipedia.success-12",
            "wikipedia",
            '{"query":"Tourism in Barcelona","full_text":false}',
        ),
        ("google-adk", "execute_tool say_hello", "say_hello", "{}"),
        ("koog", "tool.ByeTool", "ByeTool", '{"name":"Bob"}'),
        ("langgraph-python", "Web-Search", "Web-Search", '{"query":"example"}'),
        ("microsoft-agent", "get_weather", "get_weather", '{"location":"Tokyo, Japan"}'),
        ("vercel-aisdk", "getWeather", "getWeather", '{"location":"San Francisco"}'),
    ],
)
def test_a_tool_s_span_tells_its_call_and_its_answer(framework: str, name: str, tool: str, arguments: str) -> None:
    span, said = one(framework, name)
    assert (span.operation, span.tool) == ("execute_tool", tool)
    assert [(call.name, call.arguments) for call in said.input[0].tool_calls] == [(tool, arguments)]
    assert said.output[0].role == "tool" and said.output[0].text
    assert said.output[0].tool_call_id == span.tool_call_id


def test_tool_calls_that_a_framework_wrote_as_text_are_calls() -> None:
    _, said = spans("koog")[-2] if spans("koog")[-2][0].name == "llm.chat" else one("koog", "llm.chat")
    calls = [call.name for message in said.input + said.output for call in message.tool_calls]
    assert calls == ["HelloTool", "ByeTool"]


def test_tokens_that_langfuse_counted_for_itself_are_marked() -> None:
    marked = {name: {s.name for s, _ in spans(name) if "watchkeeper.usage" in s.attributes} for name in TRACES}
    assert {name for name, found in marked.items() if found} == {"agno", "beeai", "koog"}


def test_pieces_of_a_stream_are_one_answer() -> None:
    _, said = one("beeai", "backend.openai.chat.success-16")
    assert len(said.output) == 1 and "**Montjuïc**" in said.output[0].text


def test_files_on_object_storage_name_their_fields_with_underscores() -> None:
    row = {
        "id": "o1", "trace_id": "t1", "project_id": "p", "type": "GENERATION", "start_time": "2026-01-01T00:00:00Z",
        "parent_observation_id": None, "provided_model_name": "gpt-4o", "usage_details": {"input": 3, "output": 2},
    }  # fmt: skip
    assert looks_like(row)
    (found,) = read(row)
    assert isinstance(found, ImportedSpan)
    assert (found.span.model, found.span.usage) == ("gpt-4o", Usage(input_tokens=3, output_tokens=2))


def test_traces_beside_their_observations_and_scores_are_put_together() -> None:
    trace = {"id": "t1", "timestamp": "2026-01-01T00:00:00Z", "sessionId": "s"}
    stray = OBSERVED | {"id": "o2", "traceId": "gone"}
    score = {"id": "x", "traceId": "t1", "name": "good", "value": 1, "timestamp": "2026-01-01T00:00:00Z"}
    found = read({"traces": [trace], "observations": [OBSERVED, stray], "scores": [score]})
    assert [type(each) for each in found] == [ImportedSpan, ImportedSpan, Score]
    sessions = [each.span.identity.session for each in found if isinstance(each, ImportedSpan)]
    assert sessions == ["s", None]


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"input": 40, "input_cache_read": 60, "output": 5, "total": 105}, (100, 5, 60)),
        ({"input": 100, "input_cache_read": 60, "output": 5, "total": 105}, (100, 5, 60)),
        ({"promptTokens": 7, "completionTokens": 1}, (7, 1, None)),
        ({"input": -1, "output": "x"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_tokens_include_the_cached_ones_however_they_are_told(details: Any, expected: tuple[int | None, ...]) -> None:
    (found,) = read(OBSERVED | {"type": "GENERATION", "model": "m", "usageDetails": details})
    assert isinstance(found, ImportedSpan)
    usage = found.span.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == expected


def test_a_dictionary_that_python_wrote_out_is_read_and_a_bomb_in_one_is_text() -> None:
    (found,) = read(OBSERVED | {"output": "{'role': 'assistant', 'text': 'hello'}"})
    assert isinstance(found, ImportedSpan) and [m.text for m in talk(found).output] == ["hello"]
    (bomb,) = read(OBSERVED | {"output": "{'a': " + "[" * 5000 + "]" * 5000 + "}"})
    assert isinstance(bomb, ImportedSpan) and len(talk(bomb).output) == 1


def test_rows_of_another_shape_are_refused_by_line() -> None:
    found = read({"id": "t"}, {"observations": 7, "timestamp": 0}, b"[1]", OBSERVED)
    assert [type(each) for each in found] == [Rejected, Rejected, Rejected, ImportedSpan]


def test_the_fixture_s_folder_names_its_licence() -> None:
    assert "MIT" in (Path(dialects.TRACES) / "README.md").read_text()
