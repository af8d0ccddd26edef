"""Files of replies and of consumers are read, and what cannot be used is an error."""

import json
from pathlib import Path

import pytest

from watchkeeper.engines.experiments.behaviours import ConsumerError, kept_reply, read_consumers, read_replies
from watchkeeper.engines.experiments.rows import TableError
from watchkeeper.engines.experiments.runner import said_in
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.score import Score


def test_recorded_traffic_and_runs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    span = {"span": {"start_ns": 5, "end_ns": 9, "identity": {"user": "mia", "session": "s"}},
            "messages": {"output": [{"role": "assistant", "content": "hello"}]}}  # fmt: skip
    path.write_text(json.dumps(span) + "\n" + json.dumps({"output": "a", "case_id": "c", "calls": "[]"}) + "\n")
    first, second = read_replies(path)
    assert (first.reply.text, first.user, first.cluster, first.at_ns) == ("hello", "mia", "s", 5)
    assert (second.cluster, second.reply.tools) == ("c", ())


def test_a_file_without_replies_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n')
    with pytest.raises(TableError, match="no reply"):
        read_replies(path)


@pytest.mark.parametrize("text", ['[[consumers]]\nname = "a"', '[[consumers]]\nname = "a"\nregex = "("', "x = ["])
def test_consumers_that_cannot_be_used_are_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConsumerError):
        read_consumers(path)


@pytest.mark.parametrize(
    ("kept", "noted", "text"),
    [
        ("the whole answer", None, "the whole answer"),
        ("another answer since", None, None),
        ("another answer since", "short", "short"),
        (None, "short", "short"),
        (None, "x" * 500, None),
    ],
)
def test_only_the_answer_that_was_judged_counts(kept: str | None, noted: str | None, text: str | None) -> None:
    whole = answer("the whole answer")
    attributes = {"kept_as": f"key:{said_in(whole)}", **({} if noted is None else {"output": noted})}
    score = Score(
        score_id="s", subject_kind="case", subject_id="c", name="exact", at_ns=1, event_ns=2, attributes=attributes
    )
    found = kept_reply(score, {"key": answer(kept)}.get if kept is not None else None)
    assert (None if found is None else found.reply.text) == text
    if found is not None:
        assert (found.cluster, found.at_ns) == ("c", 2)


def answer(output: str) -> Completion:
    return Completion(
        output=output, calls=None, finish_reason="stop", model="m", input_tokens=1, output_tokens=2, duration_ns=3
    )
