"""A map as a route in a real server: calls go where their cell lets them, and a new map is taken without a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Answer, Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow]
RULES = (
    Rule(name="small", when=When(model="lab-small"), answer="From the small one."),
    Rule(name="large", when=When(model="lab-large"), answer="From the large one."),
)
SETTINGS = """
[[routes]]
name = "desk"
targets = [{ upstream = "lab", model = "lab-small" }]
"""
POLICY = """
[[policies]]
use = "frontier"
with = { map = "map.json", models = ["desk"], to = "lab-large" MORE }
"""
ASKED: dict[str, Any] = {"model": "desk", "messages": [{"role": "user", "content": "When?"}], "max_tokens": 20}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabServer]:
    with LabServer(LabConfig(rules=RULES)) as running:
        yield running


@pytest.fixture
def watch(lab: LabServer, tmp_path: Path) -> Iterator[Watch]:
    """A server whose map was drawn of answers that it gave itself: dates fail, sums pass."""
    with Watch(tmp_path, lab_settings(lab.base_url) + SETTINGS) as running:
        first = ask(running, "family=sums")
        draw(running, {"dates": 5, "sums": 40}, first.headers["x-watchkeeper-composition"])
        yield running


def ask(watch: Watch, features: str | None = None, **changes: Any) -> Answer:
    headers = {} if features is None else {"X-Watchkeeper-Features": features}
    return watch.http("POST", "/v1/chat/completions", {**ASKED, **changes}, headers=headers)


def draw(watch: Watch, right: dict[str, int], composition: str) -> dict[str, Any]:
    """Draw the map of forty answers in each family, so many of them right; ends with 1 where a cell fails."""
    rows = [{"id": f"{f}{n}", "family": f, "right": int(n < some)} for f, some in right.items() for n in range(40)]
    (watch.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    watch.flush()
    words = ("--by", "family", "--score", "right", "--composition", composition, "--out", "map.json")
    drawn: dict[str, Any] = watch.cli("eval", "map", "draw", "answers.jsonl", *words, expect=(0, 1))
    return drawn


def settle(watch: Watch, more: str = "") -> Any:
    file = watch.folder / "watchkeeper.toml"
    file.write_text(file.read_text() + POLICY.replace(" MORE", more and f", {more}"))
    return watch.cli("reload")


def who(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["model"])


def decisions(watch: Watch) -> list[dict[str, Any]]:
    watch.flush()
    found: list[dict[str, Any]] = watch.cli("ask", "decisions", "policy=frontier")["items"]
    return found[::-1]


def test_calls_go_where_their_cell_lets_them_and_each_diverted_one_is_a_decision(watch: Watch) -> None:
    settle(watch)
    assert [who(ask(watch, f"family={each}")) for each in ("sums", "dates", "poems")] == [
        "lab-small", "lab-large", "lab-large",
    ]  # fmt: skip
    assert who(ask(watch)) == "lab-large"
    assert who(ask(watch, model="lab-small")) == "lab-small", "a model under its own name is none of the policy's"
    digest = json.loads((watch.folder / "map.json").read_bytes())["digest"]
    said = [(each["verdict"], each["reason"], each["facts"]["cell"]) for each in decisions(watch)]
    assert said == [
        ("allow", "cell_passing", "family=sums"),
        ("amend", "cell_failing", "family=dates"),
        ("amend", "cell_unmeasured", "family=poems"),
        ("amend", "cell_unmeasured", "family=unknown"),
    ]
    assert {each["facts"]["map"] for each in decisions(watch)} == {digest}


def test_a_real_client_is_diverted_by_its_metadata_in_streams_too(watch: Watch) -> None:
    settle(watch)
    with watch.openai() as client:
        assert isinstance(client, openai.OpenAI)
        said: Any = ASKED["messages"]
        stream = client.chat.completions.create(
            model="desk", messages=said, max_tokens=20, stream=True, metadata={"family": "dates"}
        )
        models = {chunk.model for chunk in stream}
        whole = client.chat.completions.create(model="desk", messages=said, max_tokens=20, metadata={"family": "sums"})
    assert models == {"lab-large"} and whole.model == "lab-small"


def test_a_budget_rules_on_the_model_that_answers(watch: Watch) -> None:
    file = watch.folder / "watchkeeper.toml"
    file.write_text(file.read_text() + '\n[[policies]]\nuse = "budget"\nwith = { per = "key", usd = 100.0 }\n')
    settle(watch)
    ask(watch, "family=dates")
    ask(watch, "family=sums")
    watch.flush()
    ruled = [each["model"] for each in watch.cli("ask", "decisions", "policy=budget")["items"]]
    assert sorted(ruled) == ["lab-large", "lab-small"]


def test_a_refused_and_a_held_call_are_not_sent(watch: Watch, lab: LabServer) -> None:
    settle(watch, 'failing = "refuse", unmeasured = "hold"')
    before = len(lab.calls)
    answers = [ask(watch, f"family={each}") for each in ("dates", "poems")]
    assert [(each.status, json.loads(each.body)["error"]["code"]) for each in answers] == [
        (403, "cell_failing"), (403, "cell_unmeasured"),
    ]  # fmt: skip
    assert len(lab.calls) == before
    assert [each["verdict"] for each in decisions(watch)] == ["deny", "hold"]


def test_a_stale_map_is_told_and_does_not_let_a_call_pass(watch: Watch) -> None:
    settle(watch)
    assert who(ask(watch, "family=sums", temperature=0.9)) == "lab-large"
    (made,) = decisions(watch)
    assert (made["reason"], made["facts"]["stale"]) == ("map_stale", "parameters")
    assert "what would answer is not what was measured" in made["sentence"]


def test_a_new_map_is_taken_at_a_reload_and_a_broken_one_changes_nothing(watch: Watch) -> None:
    settle(watch)
    composition = ask(watch, "family=sums").headers["x-watchkeeper-composition"]
    assert who(ask(watch, "family=dates")) == "lab-large"
    whole = (watch.folder / "map.json").read_bytes()
    (watch.folder / "map.json").write_bytes(whole[:-9])
    broken = watch.command("reload", "--json")
    assert broken.returncode == 2 and b"with.map" in broken.stderr and b"old settings stay" in broken.stderr
    assert who(ask(watch, "family=sums")) == "lab-small"
    draw(watch, {"dates": 40, "sums": 40}, composition)
    taken = watch.cli("reload")["changed"]
    assert taken in (["policies"], [])  # none where the server has looked at its changed settings in between
    assert who(ask(watch, "family=dates")) == "lab-small"
    assert watch.cli("reload")["changed"] == []


def test_a_policy_that_diverts_to_nobody_is_not_put_in_force(watch: Watch) -> None:
    file = watch.folder / "watchkeeper.toml"
    file.write_text(
        file.read_text().replace('credential = "none"', 'credential = "none"\nmodels = ["lab-small"]')
        + POLICY.replace(" MORE", "")
    )
    done = watch.command("reload", "--json")
    assert done.returncode == 2 and b"diverts calls to 'lab-large'" in done.stderr
    assert who(ask(watch, "family=dates")) == "lab-small"


def test_what_a_route_does_is_not_played_on_recorded_calls(watch: Watch) -> None:
    done = watch.command("policy", "backtest", "--policy", "frontier", "--with", "map=map.json")
    assert done.returncode == 2 and b"Run it with mode = 'shadow'" in done.stderr


def test_a_program_can_ask_where_a_call_should_go(watch: Watch) -> None:
    settle(watch, 'on_stale = "trust"')
    event = {"stage": "route", "model": "desk", "attributes": {"family": "dates"}}
    answer = watch.post("/api/v1/decide", event)
    (made,) = answer["decisions"]
    assert answer["allowed"] is True and "route" in answer["stages"]
    assert (made["verdict"], made["reason"], made["instead"]) == ("amend", "cell_failing", "lab-large")
