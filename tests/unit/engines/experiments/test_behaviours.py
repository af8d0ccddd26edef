"""Files of replies and of consumers are read, and what cannot be used is an error."""

import json
from pathlib import Path

import pytest

from watchkeeper.engines.experiments.behaviours import ConsumerError, read_consumers, read_replies
from watchkeeper.engines.experiments.rows import TableError


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
