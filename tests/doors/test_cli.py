"""Every command answers alike whether a server runs on the data or not, and says what is wrong where it cannot."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import COMMANDS, SECTIONS, main
from watchkeeper.lab.agents import analyser_and_verifier, crawler
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import sandbox_rules
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings
from watchkeeper.queries.registry import QUESTIONS, parameters

pytestmark = [pytest.mark.door, pytest.mark.slow]

MONITOR = """
[[monitors]]
use = "slo"
name = "outcomes"
with = {{ signal = "outcome", objective = 0.95, every_s = 3600 }}

[[notifiers]]
use = "webhook"
url = "http://127.0.0.1:{port}/quiet-secret"
"""
LOGGED = {
    "messages": [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "On its way."}],
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 12, "completion_tokens": 4},
    "session": "old-session",
}
CRAWLS = ("crawl-1", "crawl-2", "crawl-3")
ODD_BODY = b'{"model": "lab-small",\n "messages": [{"role":"user","content":"caf\\u00e9 \xc3\xa9"}],  "x": 1.0}\n'


class Hook(ThreadingHTTPServer):
    """Whoever is told of incidents: keeps what was posted."""

    def __init__(self) -> None:
        told: list[Any] = []

        class Ear(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Ear)
        self.told = told
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Scene:
    """A server with recorded traffic, its folder, and the times between which everything happened."""

    hook: Hook

    def __init__(self, watch: Watch, since_ns: int) -> None:
        self.watch, self.since_ns, self.until_ns = watch, since_ns, 0
        self.span = ""

    def wk(self, *words: str) -> Result:
        """A command in this process, on the data of the scene."""
        house = ("--data", str(self.watch.data), "--config", str(self.watch.folder / "watchkeeper.toml"))
        return CliRunner().invoke(main, [*words, *house], catch_exceptions=False)

    def json(self, *words: str) -> Any:
        """The JSON answer of a command that works."""
        done = self.wk(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def ask(self, question: str, *words: str) -> Any:
        """The answer to a question about all that was recorded while the scene was set."""
        within = {"since": self.since_ns, "until": self.until_ns}
        taken = [f"{name}={at}" for name, at in within.items() if name in QUESTIONS[question].__struct_fields__]
        return self.json("ask", question, *taken, *words)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three crawls that go well, a loop that nobody stops, an odd body, a bad end, and a file of old traffic."""
    folder = tmp_path_factory.mktemp("cli")
    old = folder / "old.jsonl"
    with (
        Hook() as hook,
        LabServer(LabConfig(rules=sandbox_rules())) as lab,
        Watch(folder, lab_settings(lab.base_url) + MONITOR.format(port=hook.server_port)) as at,
    ):
        found = Scene(at, time.time_ns())
        found.hook = hook
        with at.openai() as client:
            for name in CRAWLS:
                assert crawler(client, name, pages=6).ended_by == "done"
            assert analyser_and_verifier(client, "planted-loop", max_turns=16).ended_by == "turn_limit"
        answer = at.http("POST", "/v1/chat/completions", ODD_BODY)
        found.span = answer.headers["x-watchkeeper-span"]
        for name in (*CRAWLS, "planted-loop"):
            at.post("/api/v1/outcomes", {"session": name, "success": name != "planted-loop"})
        old.write_text(json.dumps(LOGGED | {"timestamp": time.time_ns()}) + "\n")
        assert found.wk("import", str(old)).exit_code == 0
        finding_and_incident(at)
        at.flush()
        found.until_ns = time.time_ns()
        yield found
        hook.shutdown()


def finding_and_incident(watch: Watch) -> None:
    """Forty sessions end badly, so that the monitor has something to say."""
    for number in range(40):
        watch.post("/api/v1/outcomes", {"session": f"bad-{number}", "success": False})
    watch.flush()
    watch.post("/api/v1/monitors/run")
    watch.flush()


def everything(scene: Scene) -> dict[str, Any]:
    """What every reading command says of the scene."""
    trace = scene.ask("spans", "run=planted-loop")["items"][0]["trace_id"]
    incident = scene.json("incident", "list")["items"][0]["incident_id"]
    needed = {
        "body_rate": ["text=parcel"],
        "incident_of": ["subject=slo:outcomes"],
        "previews": ["text=parcel"],
        "sli": ["score=outcome", "on=session"],
        "trace": [f"trace_id={trace}"],
    }
    answers = {
        name: scene.ask(name, *needed.get(name, []))
        for name, kind in QUESTIONS.items()
        if name in needed or not any(each.required for each in parameters(kind))
    }
    answers["incident show"] = scene.json("incident", "show", incident)
    answers["report"] = scene.json("report", "incident", incident)["blocks"]
    answers["keys"] = scene.json("key", "list")
    answers["backtest"] = scene.json("policy", "backtest", "--policy", "loop", "--since", str(scene.since_ns))
    answers["reconstruct"] = scene.json("reconstruct", scene.span)
    answers["verify"] = scene.json("verify")["holds"]
    return answers


def test_the_answers_are_the_same_with_and_without_a_server(scene: Scene) -> None:
    scene.json("key", "create", "for-the-list")
    assert scene.json("ask", "incident_of", "subject=slo:outcomes")["severity"] == "page"
    (incident,) = scene.json("incident", "list")["items"]
    scene.json("incident", "resolve", incident["incident_id"])  # a report on an open one says for how long it is open
    scene.watch.flush()
    with_server = everything(scene)
    scene.watch.stop()
    try:
        without_server = everything(scene)
        assert scene.json("rebuild")["records"] > 0
        rebuilt = everything(scene)
    finally:
        scene.watch.start()
    assert {"traces", "trace", "spans", "costs", "overview", "incidents", "decisions", "sli"} <= set(with_server)
    assert len(with_server["traces"]["items"]) > 20
    assert len(with_server["report"]) > 5
    for name, answer in with_server.items():
        assert without_server[name] == answer, name
        assert rebuilt[name] == answer, name


def test_a_backtest_finds_the_planted_loop_and_leaves_the_good_runs_alone(scene: Scene) -> None:
    gentle = scene.json("policy", "backtest", "--policy", "loop", "--since", "7d")
    assert (gentle["interventions"], gentle["told"], gentle.get("told_good", 0)) == ([], 1, 0)
    found = scene.json("policy", "backtest", "--policy", "loop", "--with", "action=stop", "--since", "7d")
    assert [each["run_id"] for each in found["interventions"]] == ["planted-loop"]
    stopped = found["interventions"][0]
    assert stopped["reason"] == "loop_cycle"
    assert stopped["success"] is False
    assert 0 < stopped["avoided_calls"] < 16
    assert stopped["avoided_usd"] > 0
    wrongly = found["wrongly"]
    assert (wrongly["value"], wrongly["n"], wrongly["low"]) == (0.0, len(CRAWLS), 0.0)
    assert 0 < wrongly["high"] < 1
    assert found["rightly"]["value"] == 1.0
    said = scene.wk("policy", "backtest", "--policy", "loop", "--with", "action=stop", "--since", "7d").stdout
    assert "would have stopped 1 of" in said
    assert "95% interval" in said


def test_a_backtest_takes_parameters_and_names_a_wrong_one(scene: Scene) -> None:
    strict = scene.json("policy", "backtest", "--policy", "budget", "--with", "per=run", "--with", "tokens=10")
    assert len(strict["interventions"]) >= 4
    wrong = scene.wk("policy", "backtest", "--policy", "loop", "--with", "repeats=1")
    assert wrong.exit_code == 2
    assert "with.repeats" in wrong.stderr
    unknown = scene.wk("policy", "backtest", "--policy", "lop")
    assert "known are: budget, frontier, key_limits, loop" in unknown.stderr
    assert scene.wk("policy", "backtest", "--policy", "loop", "--with", "repeats").exit_code == 2


def test_a_request_comes_back_byte_for_byte_through_a_pipe(scene: Scene) -> None:
    words = [sys.executable, "-m", "watchkeeper", "reconstruct", scene.span, "--data", str(scene.watch.data)]
    file = scene.watch.folder / "request.bin"
    with file.open("wb") as out:
        subprocess.run(words, stdout=out, check=True, timeout=60)
    assert file.read_bytes() == ODD_BODY
    told = scene.json("reconstruct", scene.span)
    assert told == {
        "span": scene.span,
        "bytes": len(ODD_BODY),
        "sha256": hashlib.sha256(ODD_BODY).hexdigest(),
        "file": None,
        "redactions": 0,
        "redacted_by": [],
    }
    assert scene.wk("reconstruct", scene.span, "--sent", "--out", str(file)).exit_code == 0
    assert file.read_bytes() == ODD_BODY


def test_a_span_that_is_not_there_is_an_error_and_no_empty_file(scene: Scene) -> None:
    for name in ("0" * 16, "../../keys", "nonsense"):
        done = scene.wk("reconstruct", name)
        assert (done.exit_code, done.stdout) == (2, "")
    told = json.loads(scene.wk("reconstruct", "0" * 16, "--json").stdout)
    assert told["error"]["code"] == "not_found"


def test_a_rebuild_is_refused_while_a_server_runs(scene: Scene) -> None:
    done = scene.wk("rebuild", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["code"] == "in_use"
    assert "Stop that process" in done.stderr
    assert scene.watch.listen in done.stderr


def test_an_incident_is_worked_on_through_the_server(scene: Scene) -> None:
    incident = scene.json("incident", "list")["items"][0]["incident_id"]
    assert scene.wk("incident", "note", incident, "the parcel lockers").exit_code == 0
    page = scene.watch.folder / "report.html"
    assert scene.wk("report", "incident", incident, "--out", str(page)).exit_code == 0
    assert b"the parcel lockers" in page.read_bytes()
    assert scene.wk("report", "incident", "inc_none").exit_code == 2


def test_the_webhook_was_told_and_its_address_is_in_no_log(scene: Scene) -> None:
    deadline = time.monotonic() + 30
    while not scene.hook.told and time.monotonic() < deadline:
        time.sleep(0.05)
    told = scene.hook.told[0]
    assert told["incident"]["subject"] == "slo:outcomes"
    assert "bad" in told["finding"]["sentence"]
    assert b"quiet-secret" not in (scene.watch.folder / "serve.log").read_bytes()
    assert "quiet-secret" not in scene.wk("doctor").output


def test_a_file_is_imported_while_the_server_runs_and_twice_gives_no_duplicates(scene: Scene) -> None:
    file = scene.watch.folder / "more.jsonl"
    rows = [json.dumps(LOGGED | {"session": "more", "at": time.time_ns() - n, "n": n}) for n in range(3)]
    file.write_text("\n".join([*rows, "not json"]) + "\n")
    first = scene.json("import", str(file))
    assert first["read"] == {"spans": 3, "rejected": 1}
    assert first["rejected"][0]["line"] == 4
    assert scene.json("import", str(file))["indexed"]["duplicates"] >= 3
    assert len(scene.json("ask", "spans", "session=more")["items"]) == 3


def test_a_command_right_after_the_start_waits_for_the_store(scene: Scene) -> None:
    scene.watch.stop()
    words = [sys.executable, "-m", "watchkeeper", "serve", "--config", "watchkeeper.toml"]
    process = subprocess.Popen(words, cwd=scene.watch.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lock = scene.watch.data / "lock"
        while b"address" not in lock.read_bytes():
            assert process.poll() is None
            time.sleep(0.01)
        assert scene.json("ask", "overview")["items"]
    finally:
        process.terminate()
        process.wait(60)
        scene.watch.start()


def test_ctrl_c_in_the_middle_of_an_import_leaves_nothing_broken(scene: Scene, tmp_path: Path) -> None:
    file, data = tmp_path / "long.jsonl", tmp_path / "data"
    row = json.dumps(LOGGED | {"timestamp": time.time_ns()})
    with file.open("w") as out:
        out.writelines(f'{row[:-1]}, "n": {number}}}\n' for number in range(60_000))
    words = [sys.executable, "-m", "watchkeeper", "import", str(file), "--data", str(data), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    writer = data / "journal" / "import"
    while not any(each.stat().st_size > 100_000 for each in writer.glob("*.wkj")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(2)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    told = json.loads(out)
    assert told["stopped"] is True
    assert 0 < told["read"]["spans"] < 60_000

    def here(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--data", str(data), "--json"])

    assert here("verify").exit_code == 0
    calls = json.loads(here("ask", "overview").stdout)["items"][0]["calls"]
    assert calls == told["read"]["spans"]


def test_the_help_lists_every_command_once_with_its_line() -> None:
    assert sorted(itertools.chain.from_iterable(SECTIONS.values())) == sorted(COMMANDS)
    said = " ".join(CliRunner().invoke(main, ["--help"], terminal_width=110).output.split())
    for name, (_, line) in COMMANDS.items():
        assert f"{name} {line}" in said
