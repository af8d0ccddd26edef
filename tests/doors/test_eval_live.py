"""Evals against the gateway: what serves is what is tested, a killed run is taken up, nothing is asked twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow]
SYSTEM = "You are the harbour desk."
TOOLS = [{"type": "function", "function": {"name": "moor", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def lab() -> Iterator[LabServer]:
    with LabServer(LabConfig(rules=(Rule(name="calm", answer="All is well."),))) as running:
        yield running


def words(watch: Watch, *more: str) -> list[str]:
    return [sys.executable, "-m", "watchkeeper", *more, "--json", "--data", str(watch.data)]


def wk(watch: Watch, *more: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(words(watch, *more), capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def serve_one(watch: Watch, system: str, **fields: Any) -> None:
    with watch.openai() as client:
        assert isinstance(client, openai.OpenAI)
        messages: Any = [{"role": "system", "content": system}, {"role": "user", "content": "How is the ship?"}]
        client.chat.completions.create(
            model="lab-small", messages=messages, extra_headers={"X-Watchkeeper-Agent": "harbour"}, **fields
        )


def suite(folder: Path, target: dict[str, Any], cases: int) -> str:
    rows = [{"id": n, "input": f"How is ship {n}?", "expected": "All is well."} for n in range(cases)]
    path = folder / "harbour.yaml"
    path.write_text(yaml.safe_dump({"name": "harbour", "target": target, "cases": rows, "scorers": [{"use": "exact"}]}))
    return str(path)


def test_the_live_composition_is_tested_as_it_serves(tmp_path: Path, lab: LabServer) -> None:
    with Watch(tmp_path, lab_settings(lab.base_url)) as watch:
        path = suite(tmp_path, {"live": {"agent": "harbour"}}, 4)
        code, told, _ = wk(watch, "eval", "run", path)
        assert code == 2 and "no live call" in told["error"]["message"]
        serve_one(watch, SYSTEM + " Old.", temperature=0.2)
        serve_one(watch, SYSTEM, temperature=0.70, tools=TOOLS, user="mia", stream=False)
        code, told, said = wk(watch, "eval", "run", path)
        assert code == 0 and "1 other answered before" in said
        digest = _serving(watch)
        assert told["compositions"] == {digest: 4}
        run = told["experiment_id"]
        assert wk(watch, "eval", "status", run, "--agent", "harbour", "--since", "1h")[1]["state"] == "stale"
        serve_one(watch, SYSTEM, temperature=0.7, tools=TOOLS)
        assert _serving(watch) == digest  # another user, and no stream, is the same composition


def test_forms_of_the_answer_are_asked_of_what_serves(tmp_path: Path, lab: LabServer) -> None:
    with Watch(tmp_path, lab_settings(lab.base_url)) as watch:
        serve_one(watch, SYSTEM, temperature=0.7)
        path = suite(tmp_path, {"live": {"agent": "harbour"}}, 4)
        code, told, _ = wk(watch, "eval", "formats", path, "--margin", "0.5")
        assert code in (0, 3), told
        spans = wk(watch, "ask", "spans", "since=1h", "limit=200", "operation=chat")[1]["items"]
        details = [watch.get(f"/api/v1/spans/{span['trace_id']}/{span['span_id']}") for span in spans]
        assert {each["attributes"]["gen_ai.request.temperature"] for each in details} == {0.7}
        opened = [each["conversation"]["input"][0]["text"] for each in details]
        # One call served; each of five forms asks each case under what serves; a second pass has a prompt of its own.
        assert sum(text.startswith(SYSTEM) for text in opened) == 1 + 5 * 4


def _serving(watch: Watch) -> str:
    rows = wk(watch, "ask", "serving", "since=1h", "agent=harbour")[1]["items"]
    newest: str = max(rows, key=lambda row: row["last_ns"])["manifest"]
    return newest


def test_through_the_gateway_a_killed_run_goes_on_where_it_was(tmp_path: Path, lab: LabServer) -> None:
    with Watch(tmp_path, lab_settings(lab.base_url)) as watch:
        path = suite(tmp_path, {"model": "lab-small", "base_url": watch.base_url}, 150)
        begun = subprocess.Popen(words(watch, "eval", "run", path, "--concurrency", "2"), stdout=subprocess.DEVNULL)
        while len(lab.calls) < 30 and begun.poll() is None:
            time.sleep(0.005)
        begun.kill()
        begun.wait(30)
        before = len(lab.calls)
        code, told, _ = wk(watch, "eval", "run", path)
        assert (code, told["answered"], told["errors"]) == (0, 150, 0)
        assert told["asked"]["kept"] >= before - 2
        # Two may have been under way, and one kept answer is asked anew to learn that the gateway is still the same.
        assert len(lab.calls) <= 150 + 2 + 1
