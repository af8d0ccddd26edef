"""Logs that Inspect wrote give traces, calls, tools, tokens and scores, from the archive as from the JSON."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.adapters.formats.conversation import conversation_of
from watchkeeper.adapters.formats.detect import UnknownFormat, read
from watchkeeper.adapters.formats.imported import Imported, ImportedSpan, Rejected
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Usage

LOGS = Path(__file__).parents[3] / "data" / "inspect-logs"
SAMPLE: dict[str, Any] = {"id": 1, "epoch": 1, "input": "hi", "started_at": "2026-01-01T00:00:00Z"}
HEAD = {"version": 2, "plan": {}, "eval": {"eval_id": "e", "task": "t", "model": "openai/gpt-4o"}}


def imported(value: Any) -> list[Imported]:
    return list(read(io.BytesIO(json.dumps(value).encode())))


def archive(members: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    file.seek(0)
    return file


def spans(found: list[Imported]) -> list[Span]:
    return [each.span for each in found if isinstance(each, ImportedSpan)]


@pytest.mark.parametrize("name", ["sums.eval", "sums.json"])
def test_a_log_gives_calls_with_messages_tokens_tools_and_scores(name: str) -> None:
    found = list(read(LOGS / name))
    assert not [each for each in found if isinstance(each, Rejected)]
    roots = {span.trace_id: span for span in spans(found) if span.parent_id is None}
    (sums,) = [span.trace_id for span in roots.values() if span.attributes["inspect.sample_id"] == "sum"]
    mine = [span for span in spans(found) if span.trace_id == sums]
    calls = [each for each in found if isinstance(each, ImportedSpan) and each.span.operation == "chat"]
    calls = [each for each in calls if each.span.trace_id == sums]
    assert [span.tool for span in mine if span.operation == "execute_tool"] == ["add"]
    assert [each.span.usage for each in calls] == [
        Usage(input_tokens=28, output_tokens=5, cache_read_tokens=8),
        Usage(input_tokens=40, output_tokens=7, reasoning_tokens=3),
    ]
    assert [each.span.finish_reasons for each in calls] == [("tool_calls",), ("stop",)]
    bodies = dict(calls[1].bodies)
    said = conversation_of(bodies["messages.input"], bodies["messages.output"])
    assert [m.role for m in said.input + said.output] == ["system", "user", "assistant", "tool", "assistant"]
    assert said.input[2].tool_calls[0].name == "add" and said.output[0].text == "ANSWER: 3"
    scores = {
        each.name: (each.value, each.label) for each in found if isinstance(each, Score) and each.trace_id == sums
    }
    assert scores == {"match": (1.0, "C"), "includes": (1.0, "C")}


def test_texts_that_were_moved_away_are_put_back() -> None:
    found = [each for each in read(LOGS / "sums.json") if isinstance(each, ImportedSpan)]
    (call,) = [e for e in found if e.span.operation == "chat" and b"What is 2" in dict(e.bodies)["messages.input"]]
    assert b"Think. Think." in dict(call.bodies)["messages.input"]
    assert b"attachment://" not in b"".join(data for each in found for _, data in each.bodies)


def test_steps_form_a_tree_below_the_sample() -> None:
    found = spans(list(read(LOGS / "sums.eval")))
    ids = {span.span_id for span in found}
    assert all(span.parent_id in ids for span in found if span.parent_id)
    assert len({span.trace_id for span in found if span.parent_id is None}) == 2


def test_reading_twice_gives_the_same_records() -> None:
    assert list(read(LOGS / "sums.eval")) == list(read(LOGS / "sums.eval"))


def test_a_broken_sample_is_named_and_the_others_are_read() -> None:
    members = {"header.json": json.dumps(HEAD).encode(), "samples/1_epoch_1.json": json.dumps(SAMPLE).encode()}
    found = list(read(archive(members | {"samples/2_epoch_1.json": b'{"id": 2', "samples/3_epoch_1.json": b"{}"})))
    assert len(spans(found)) == 1
    reasons = [each.reason for each in found if isinstance(each, Rejected)]
    assert len(reasons) == 2 and all("_epoch_1.json" in reason for reason in reasons)


def test_a_damaged_archive_is_refused_or_gives_what_is_whole() -> None:
    data = (LOGS / "sums.eval").read_bytes()
    for cut in range(0, len(data), 501):
        try:
            found = list(read(io.BytesIO(data[:cut] + bytes([data[cut] ^ 0xFF]) + data[cut + 1 :])))
        except UnknownFormat:
            continue
        assert found


def test_an_archive_of_something_else_is_refused_with_its_contents() -> None:
    with pytest.raises(UnknownFormat, match=r"photo\.png"):
        list(read(archive({"photo.png": b"x"})))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("C", (1.0, "C")), ("I", (0.0, "I")), ("P", (0.5, "P")), (0.25, (0.25, None)), (True, (1.0, None)),
        ("fluent", (None, "fluent")),
    ],
)  # fmt: skip
def test_grades_are_numbers_where_they_can_be(value: Any, expected: tuple[float | None, str | None]) -> None:
    found = imported(HEAD | {"samples": [SAMPLE | {"scores": {"judge": {"value": value}}}]})
    (score,) = [each for each in found if isinstance(each, Score)]
    assert (score.value, score.label, score.scorer) == (*expected, "inspect:judge")


@pytest.mark.parametrize(
    "sample",
    [7, {}, {"id": 1}, SAMPLE | {"started_at": "soon"}, SAMPLE | {"events": 3, "scores": []}],
)
def test_a_sample_of_another_shape_is_refused_or_read_and_never_crashes(sample: Any) -> None:
    found = imported(HEAD | {"samples": [sample, SAMPLE]})
    assert len(spans(found)) >= 1


def test_a_log_without_samples_says_so() -> None:
    (found,) = imported(HEAD)
    assert isinstance(found, Rejected) and "no samples" in found.reason
