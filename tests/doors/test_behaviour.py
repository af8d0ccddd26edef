"""Two versions served by a real server: the report's page says what differs, and a sunset is planned and followed."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow]
RULES = (
    Rule(name="old", when=When(system="You are old."), answer="Total: $count"),
    Rule(name="new", when=When(system="You are new."), answer="Sure, here it is.\n```\nTotal: $count\n```"),
)
REPORTS = """
[[reports]]
use = "behaviour"
[[reports.with.consumers]]
name = "ledger import"
regex = '\\ATotal: \\d+\\Z'
reads = ["format.fences"]
"""


def call(watch: Watch, desk: str, user: str, session: str) -> None:
    messages = [{"role": "system", "content": f"You are {desk}."}, {"role": "user", "content": "how much"}]
    answer = watch.http(
        "POST",
        "/v1/chat/completions",
        {"model": "lab-small", "messages": messages, "stream": True},
        headers={"X-Watchkeeper-User": user, "X-Watchkeeper-Session": session},
    )
    assert answer.status == 200


def versions(watch: Watch) -> dict[str, str]:
    watch.flush()
    found = {}
    for row in watch.get("/api/v1/serving")["items"]:
        span = watch.get(f"/api/v1/spans?manifest={row['manifest']}&limit=1")["items"][0]
        asked = watch.get(f"/api/v1/spans/{span['span_id']}/request?trace={span['trace_id']}")
        found[asked["messages"][0]["content"][8:-1]] = f"manifest:{row['manifest']}"
    return found


def words_of(page: bytes) -> str:
    """A page as its text."""
    text = re.sub(r"<style>.*?</style>", " ", page.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_says_what_differs_and_a_sunset_is_followed(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=RULES)) as lab, Watch(tmp_path, lab_settings(lab.base_url) + REPORTS) as watch:
        for n in range(20):
            call(watch, "old", f"u{n}", f"old-{n}")
        call(watch, "new", "tester", "trial")
        named = versions(watch)
        asked = f"/api/v1/reports/behaviour?subject=versions:{named['old'][:20]}..{named['new']}&format=html"
        few = words_of(watch.http("GET", asked).body)
        assert "Not resolved: 20 independent replies in A and 1 in B" in few

        plan = watch.cli(
            "eval", "sunset", "plan", named["old"], named["new"], "--out", "plan.json", "--html", "plan.html"
        )
        assert [each["kind"] for each in plan["stages"]][:2] == ["opt-in", "default"]
        assert plan["unnamed_calls"] == 0 and f'"u{3}"' not in (tmp_path / "plan.json").read_text()
        assert named["old"].partition(":")[2] in words_of((tmp_path / "plan.html").read_bytes())
        began = time.time_ns()
        for n in range(20):
            call(watch, "new", f"u{n}", f"new-{n}")
        watch.flush()
        page = words_of(watch.http("GET", asked).body)
        assert "These consumers read less of B: ledger import." in page
        assert "format.fences" in page and "manner.preamble" in page and "Cliff's delta" in page
        assert "pace.characters_per_s" in page and "system" in page

        outcomes = [{"session": f"{desk}-{n}", "success": desk == "old"} for desk in ("old", "new") for n in range(20)]
        waiting = followed(watch, began)
        assert waiting["stages"][1]["state"] == "not resolved yet" and waiting["stages"][1]["waiting"] == 20
        watch.post("/api/v1/outcomes", outcomes)
        stopped = followed(watch, began, "--html", "standing.html", code=1)
        assert stopped["stages"][1]["state"] == "stop" and stopped["stages"][1]["change"]["n"] < 20
        assert "which is a fall: route the cohort to composition" in words_of((tmp_path / "standing.html").read_bytes())


def followed(watch: Watch, began: int, *words: str, code: int = 0) -> dict[str, Any]:
    done = watch.command("eval", "sunset", "follow", "plan.json", "--began", f"2={began}", *words, "--json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plan", "model:none", "model:new"), "no named user has used model:none"),
        (("plan", "none", "model:new"), "names no version"),
        (("plan", "model:a", "model:b", "--since", "soon"), "is not a time"),
        (("plan", "model:a", "model:b", "--drop", "0.9"), "no named user"),
        (("follow", "nothing.json"), "cannot be read"),
        (("follow", "bad.json"), "is no plan"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    from click.testing import CliRunner

    from watchkeeper.cli import main

    (tmp_path / "bad.json").write_text("{}")
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "model": "m"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    data = ("--data", str(tmp_path / "data"))
    assert CliRunner().invoke(main, ["import", str(tmp_path / "a.jsonl"), *data]).exit_code == 0
    given = [str(tmp_path / word) if word.endswith(".json") else word for word in words]
    done = CliRunner().invoke(main, ["eval", "sunset", *given, *data])
    assert done.exit_code == 2 and says in done.output
