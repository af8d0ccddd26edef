"""The same composition digest in eval and serving: fresh, then stale when another prompt answers live calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest
import yaml

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow]
SYSTEM = "You are the harbour desk."


def wk(watch: Watch, *words: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper", *words, "--json", "--data", str(watch.data)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def call(watch: Watch, system: str) -> None:
    with watch.openai() as client:
        assert isinstance(client, openai.OpenAI)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "How is the ship?"}]
        client.chat.completions.create(model="lab-small", messages=messages, temperature=0)  # type: ignore[arg-type]


def test_a_score_is_fresh_while_its_composition_serves_and_stale_afterwards(tmp_path: Path) -> None:
    with (
        LabServer(LabConfig(rules=(Rule(name="calm", answer="All is well."),))) as lab,
        Watch(tmp_path, lab_settings(lab.base_url)) as watch,
    ):
        cases = [
            {
                "id": n,
                "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Ship {n}?"}],
                "expected": "All is well.",
            }
            for n in range(5)
        ]
        target = {"model": "lab-small", "base_url": watch.base_url, "parameters": {"temperature": 0}}
        suite = {"name": "desk", "target": target, "cases": cases, "scorers": [{"use": "exact"}]}
        (tmp_path / "desk.yaml").write_text(yaml.safe_dump(suite))
        code, ran = wk(watch, "eval", "run", str(tmp_path / "desk.yaml"))
        assert code == 0 and len(ran["compositions"]) == 1  # type: ignore[arg-type]
        run = str(ran["experiment_id"])
        assert wk(watch, "eval", "status", run)[0] == 3
        call(watch, SYSTEM)
        code, told = wk(watch, "eval", "status", run)
        assert (code, told["state"], told["share"]) == (0, "fresh", 1.0)
        call(watch, SYSTEM + " Promise a refund.")
        code, told = wk(watch, "eval", "status", run)
        assert (code, told["state"], told["share"]) == (1, "stale", 0.5)
        assert [each["layers"] for each in told["other"]] == [["system"]]  # type: ignore[attr-defined, index]


def test_a_deployment_is_gated_by_scores_about_what_serves_alone(tmp_path: Path) -> None:
    with (
        LabServer(LabConfig(rules=(Rule(name="calm", answer="All is well."),))) as lab,
        Watch(tmp_path, lab_settings(lab.base_url)) as watch,
    ):
        cases = [{"id": n, "input": f"Ship {n}?", "expected": "All is well."} for n in range(40)]
        target = {"live": {"since": "1h", "agent": "harbour"}}
        suite = {"name": "desk", "target": target, "cases": cases, "scorers": [{"use": "exact"}]}
        path = tmp_path / "desk.yaml"
        path.write_text(yaml.safe_dump(suite))
        serve(watch, SYSTEM)
        code, ran = wk(watch, "eval", "run", str(path))
        tested = next(iter(ran["compositions"]))  # type: ignore[call-overload]
        words = ("eval", "gate", str(path), "--at-least", "exact=0.8", "--agent", "harbour")
        code, told = wk(watch, *words, "--serving")
        assert (code, told["passed"], [each["passed"] for each in told["gates"]]) == (0, True, [True, True])  # type: ignore[attr-defined]
        assert wk(watch, *words, "--serving", tested[:12])[0] == 0
        assert wk(watch, *words, "--serving", "lab-small")[0] == 0
        assert wk(watch, *words, "--serving", "lab-large")[0] == 3
        assert wk(watch, *words, "--serving", "0" * 32)[0] == 1
        serve(watch, SYSTEM + " Promise a refund.")
        code, told = wk(watch, *words, "--serving")
        assert (code, told["passed"], told["serving"]["state"]) == (1, False, "stale")  # type: ignore[index]
        assert [each["gate"] for each in told["gates"]] == ["tested what serves"]  # type: ignore[attr-defined]
        assert told["run"] == [
            f"watchkeeper eval run {path}",
            f"watchkeeper eval gate {path} --serving --agent harbour --at-least exact=0.8",
        ]
        assert wk(watch, "eval", "run", str(path))[0] == 0
        assert wk(watch, *words, "--serving", "--since", "1h")[0] == 1  # the old prompt answered in that hour, too


def serve(watch: Watch, system: str) -> None:
    with watch.openai() as client:
        assert isinstance(client, openai.OpenAI)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "How is the ship?"}]
        client.chat.completions.create(
            model="lab-small",
            messages=messages,  # type: ignore[arg-type]
            extra_headers={"X-Watchkeeper-Agent": "harbour"},
        )
