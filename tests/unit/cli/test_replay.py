"""`replay` and `fork` read a recorded run, ask a model again without running a tool, and tell rates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.reading import S
from watchkeeper.cli import main
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import parse_script
from watchkeeper.lab.serving import LabServer
from watchkeeper.records.span import Span

pytestmark = pytest.mark.slow

NOW = 1_700_000_000 * S
TRACE = "c" * 32
RULES = """
- name: careful
  when: {model: lab-careful, last_role: user}
  calls: [{tool: find_order, arguments: {id: "17"}}]
- name: hasty
  when: {model: lab-hasty, last_role: user}
  chances:
    - {weight: 9, calls: [{tool: refund, arguments: {id: "17"}}]}
    - {weight: 1, calls: [{tool: find_order, arguments: {id: "17"}}]}
- name: done
  when: {last_role: tool}
  answer: It was shipped.
"""
USER = {"role": "user", "content": "Where is order 17?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find_order", "arguments": '{"id":"17"}'}}
HISTORY = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabServer]:
    with LabServer(LabConfig(rules=parse_script(RULES, "test"))) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A run of two steps: an order is looked up, and an answer given."""
    home = Home(tmp_path / "data")
    journal = Journal(home.journal, "gateway", home.secret("chunks"))
    tool = {"role": "tool", "tool_call_id": "call_1", "content": "shipped on Monday"}
    exchanges = [
        ([USER], {"role": "assistant", "content": None, "tool_calls": [CALL]}),
        ([*HISTORY, tool], {"role": "assistant", "content": "It was shipped."}),
    ]
    for number, (messages, said) in enumerate(exchanges, 1):
        request = json.dumps({"model": "lab-careful", "messages": messages, "temperature": 1}).encode()
        reply = json.dumps({"model": "lab-careful", "choices": [{"index": 0, "message": said}]}).encode()
        journal.append(
            Span(
                trace_id=TRACE,
                span_id=f"{number:016x}",
                start_ns=NOW + number * S,
                end_ns=NOW + number * S + 1,
                name="chat lab-careful",
                operation="chat",
                status="ok",
                request_model="lab-careful",
                bodies=(journal.put(request, "request"), journal.put(reply, "reply")),
                revision=1,
            )
        )
    journal.close()
    return home.path


def wk(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], catch_exceptions=False)


def told(data: Path, *words: str) -> Any:
    done = wk(data, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_replay_takes_each_step_again_with_the_recorded_results(data: Path, lab: LabServer) -> None:
    answer = told(data, "replay", TRACE, "--samples", "6", "--target", lab.base_url)
    first, second = answer["steps"]
    for step in (first, second):
        assert step["arm"]["same_step"]["value"] == step["arm"]["same_answer"]["value"] == 1
        assert step["arm"]["same_step"]["low"] < 1
    assert first["arm"]["endings"] == {"answered": 6}
    assert (first["rebuilt"], first["redactions"]) == (False, 0)


def test_a_fork_says_what_another_model_would_have_done(data: Path, lab: LabServer) -> None:
    words = ("fork", TRACE, "--at", "1", "--with", "model=lab-hasty", "--samples", "20", "--target", lab.base_url)
    answer = told(data, *words)
    first = {each["what"]: each for each in answer["differences"]}['first does find_order({"id":"17"})']
    assert first["verdict"] == "changed"
    assert first["difference"]["high"] < 0
    assert answer["unchanged"]["same_path"]["value"] == 1
    assert answer["changed"]["endings"]["unrecorded_call"] >= 10
    listed = told(data, "eval", "list")["items"]
    assert [row["suite"] for row in listed] == [f"fork of {TRACE} at step 1 with model=lab-hasty"]


def test_a_fork_with_nothing_changed_is_not_resolved(data: Path, lab: LabServer) -> None:
    words = ("fork", TRACE, "--at", "1", "--with", "temperature=0.1", "--samples", "8", "--target", lab.base_url)
    assert {each["verdict"] for each in told(data, *words)["differences"]} == {"not resolved"}
    shown = wk(data, *words).output
    assert "not resolved" in shown
    assert "8 walks on each side" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("replay", "d" * 32), "no trace"),
        (("replay", TRACE, "--step", "9"), "no step '9'"),
        (("replay", TRACE), "no upstream in the settings"),
        (("replay", TRACE, "--target", "nowhere"), "is no URL"),
        (("replay", TRACE, "--target", "http://127.0.0.1:9", "--key-env", "WK_NOT_SET"), "WK_NOT_SET is not set"),
        (("fork", TRACE, "--at", "1", "--with", "lab-hasty"), "is no change"),
        (("fork", TRACE, "--at", "1", "--with", "messages=[]"), "cannot be changed"),
        (("fork", TRACE, "--at", "1", "--with", "prompt=@/nowhere/at/all"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(data: Path, words: tuple[str, ...], says: str) -> None:
    done = wk(data, *words)
    assert done.exit_code == 2
    assert says in done.output


def test_an_endpoint_that_is_not_there_fails_every_walk(data: Path) -> None:
    done = wk(data, "replay", TRACE, "--step", "1", "--samples", "2", "--target", "http://127.0.0.1:9/v1")
    assert done.exit_code == 1
    assert "2 of 2 walks" in done.output
