"""The how-to pages work as written: their settings are used, their programs run, their commands do what is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.documents import BLOCK
from tests.unit.adapters.formats.exports import payload
from watchkeeper.lab import processes
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import sandbox_rules
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import free_port

pytestmark = [pytest.mark.slow, pytest.mark.door]

ROOT = Path(__file__).resolve().parents[2]
FIRST_STEPS = ROOT / "docs" / "tutorial.md"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
"""The ids that pages name; those of the call that was recorded are put in their place."""
ROW = {
    "messages": [{"role": "user", "content": "a refund"}, {"role": "assistant", "content": "yes"}],
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    "session": "s-1",
}
KEPT = "Lamps can be returned within 30 days of delivery, unused and in the box."
TOLD = f"""
import openai
import watchkeeper

watchkeeper.init("http://127.0.0.1:8787")
client = openai.OpenAI(base_url="http://127.0.0.1:8787/v1", api_key="unused")
who = {{"X-Watchkeeper-Agent": "outreach", "X-Watchkeeper-Session": "told-session", "X-Watchkeeper-User": "mia"}}
call = {{"id": "c1", "type": "function", "function": {{"name": "resolve", "arguments": "{{}}"}}}}
with watchkeeper.context(query="How long can lamps be returned?") as context:
    context.enter(context.candidate("policies/returns.md", version="3", text="{KEPT}"))
    answer = client.chat.completions.with_raw_response.create(
        model="lab-small",
        messages=[
            {{"role": "system", "content": "You are the support desk. {KEPT}"}},
            {{"role": "user", "content": "Where is my parcel? How long can lamps be returned?"}},
            {{"role": "assistant", "tool_calls": [call]}},
            {{"role": "tool", "tool_call_id": "c1", "content": "done"}},
        ],
        extra_headers={{**context.headers(), **who}},
    )
watchkeeper.flush()
print(context.trace_id, answer.headers["x-watchkeeper-span"])
"""
PAGES = (
    "answer-origins",
    "canaries",
    "charge-once",
    "capability-map",
    "check-the-reasons",
    "compare-behaviour",
    "compare-honestly",
    "clients",
    "erase-and-encrypt",
    "evals",
    "evidence-pack",
    "export",
    "format-tax",
    "import-last-week",
    "keep-and-delete",
    "keys-and-beyond-loopback",
    "limits",
    "locales-and-stress",
    "loops",
    "properties",
    "migrate",
    "prompt-clauses",
    "prove-a-record",
    "otlp",
    "overspend",
    "people-and-roles",
    "put-it-in-front",
    "redact",
    "replay-and-fork",
    "search",
    "survive-an-outage",
    "tokens-and-cost",
    "trust-a-judge",
    "watch-outcomes",
    "work-that-takes-minutes",
)
CELLS = "--by family --by difficulty --score right"
DRAWN = f"watchkeeper eval map draw cells-before.jsonl {CELLS} --order difficulty=easy,hard"
LOST = f"watchkeeper eval map diff cells-before.jsonl cells-after.jsonl {CELLS}"
PLANNED = (
    "watchkeeper eval sunset plan model:desk-1 model:desk-2 --signal outcome --drop 0.2 --out sunset.json --html "
    "sunset.html"
)
FOLLOWED = "watchkeeper eval sunset follow sunset.json --began 2=10d --began 3=10d"
GATED = "watchkeeper eval run gated.py --junit cells.xml --out gated.jsonl"
EXPECTED = {
    "python desk.py": "resolve .*refund|That is settled",
    "python brief.py": "^tool_use .*A-18",
    "watchkeeper doctor": "ok  settings: watchkeeper.toml",
    "watchkeeper policy list": "loop",
    "watchkeeper policy backtest --policy loop --since 7d": "In 1 run it would have told|stopped 0 of 0 runs",
    "python agents.py": "loop_cycle|same 2 tool calls",
    "watchkeeper ask decisions verdict=deny since=1h": "loop_cycle",
    "watchkeeper import last-week.jsonl.gz": "Read 3 spans",
    "watchkeeper export --format otlp -o week.pb --since 7d": "Wrote 3 spans",
    "watchkeeper export --format jsonl -o week.jsonl --since 7d --model gpt-4o": "Wrote 3 spans",
    "watchkeeper export --format parquet -o week.parquet --since 7d --json": '"spans":3',
    "watchkeeper import week.jsonl --data elsewhere": "Read 3 spans",
    "watchkeeper ask costs since=30d by=model --data elsewhere": "gpt-4o",
    "watchkeeper import export.pb traces.json": "Read 2 spans",
    "watchkeeper ask costs since=30d by=model": "gpt-4o",
    "watchkeeper search refund --since 30d": "refund",
    "watchkeeper eval prompt lint prompt.txt": "contradiction",
    "watchkeeper eval prompt profile returns.py --prompt prompt.txt": "load-bearing",
    "watchkeeper eval prompt trim returns.py --prompt prompt.txt --out short.txt": "passed",
    "watchkeeper eval prompt gate prompt.txt short.txt --suite returns.py": "passed",
    "watchkeeper eval migrate desk.py --to-prompt new.txt --slice language --html migration.html": "passed",
    "watchkeeper eval formats tasks.py --task task": "^extraction: json",
    "watchkeeper eval formats tasks.py --task task --masked": "^Masked: not measured.*the replies carried none",
    "watchkeeper verify": "holds",
    "watchkeeper rebuild": "Rebuilt the index",
    "watchkeeper ask outcomes since=1h width=1h": "good",
    "watchkeeper incident list": "There are no incidents",
    "watchkeeper eval resume": "No run has anything left to ask",
    "watchkeeper eval gate mine.yaml --at-least exact=0.1": "passed",
    "pytest test_mine.py": "2 passed",
    "watchkeeper eval run mine.yaml --model lab-large --against mine-before.jsonl": "not-worse against mine-before",
    "watchkeeper eval compare before.jsonl after.jsonl --margin 0.1": "not resolved|equivalent|better|worse",
    "watchkeeper eval compare scores.csv --item task --score correct --by version --a old --b new": (
        "new against old: better"
    ),
    "watchkeeper eval power --effect 0.03 --baseline 0.82": "2,402 items a side",
    "watchkeeper eval power --effect 0.03 --discordance 0.10": "870 items",
    "watchkeeper eval locales locales.jsonl --least 2": r"ja\s+not measured",
    "watchkeeper eval stress parcels.py --runs 5": "unreliability, in turns minus whole",
    "watchkeeper eval run locks.py --out locks.jsonl": "refusal",
    "watchkeeper eval locales locks.jsonl --suite locks.py": r"refusals, de minus en on 40 prompts: \+0\.5 .*unequal",
    "watchkeeper eval mutants --kit exercise": "EXERCISE.md",
    "watchkeeper eval mutants exercise/suite.py": r"caught 7 of 20 mutants; 0 of 10[\s\S]*unrehearsed: 0 of 12",
    "watchkeeper eval mutants better.py --against exercise/suite.py": "against .*: better. It kills",
    "watchkeeper eval properties letters.py": r"order\s+holds[\s\S]*addressed\s+broken[\s\S]*figures\s+broken",
    "watchkeeper eval properties loans.py --cases found.jsonl": r"any name\s+broken.*sensitive",
    "python peek.py": "better|non-inferior",
    "watchkeeper drill run not_resolved": "held",
    "watchkeeper judge audit judgments.csv": "length bias",
    "watchkeeper judge estimate scored.csv --item id --score judge --label people --by version": "the judge's bias",
    "watchkeeper key create ada --tenant shop --user ada --expires 90d": "^wk-",
    "watchkeeper key list": "ada",
    'watchkeeper key create nightly --scope call --model "lab-*" --limit usd=5/day --limit calls=60/minute': "^wk-",
    "watchkeeper people add root --role admin": r"^[\w-]{24}$",
    "watchkeeper people list": r"vera\s+viewer\s+shop",
    "watchkeeper people role vera operator --tenant shop": "vera is operator now",
    "watchkeeper people remove vera": "Removed vera",
    "watchkeeper ask audits act=person.added": "person:vera",
    "watchkeeper ask audits": "key.created",
    "watchkeeper price usage.jsonl": r"Priced 3 lines at \$0\.0094377\.",
    "watchkeeper price usage.jsonl --json": '"cost_usd":0.008289',
    "watchkeeper report tokens --since 7d": "Wrote tokens.html",
    "watchkeeper anchor --print > checkpoint.jsonl": "",
    "watchkeeper verify --anchors checkpoint.jsonl": "holds",
    f"watchkeeper lineage {TRACE}": r"policies/returns\.md\s+3\s.*entered",
    f"watchkeeper lineage {SPAN} --json": '"seen":"exact"',
    "watchkeeper lineage --document policies/returns.md --since 30d": "^1 answers rest on policies/returns.md",
    "watchkeeper lineage --document policies/returns.md --version 3 --export answers.jsonl": "found",
    'watchkeeper lineage --document policies/returns.md --withdraw --reason "The periods are wrong."': "found",
    f'watchkeeper lineage {TRACE} --expected "Lamps can be returned within 30 days." --corpus corpus.jsonl': "ignored",
    "watchkeeper lineage --cases wrong.jsonl --corpus corpus.jsonl --json": '"label":"ignored"',
    f"watchkeeper lineage {SPAN} --influence http://127.0.0.1:8787/v1 --samples 20": "policies/returns.md",
    "watchkeeper drill run answer_origins": "held",
    "watchkeeper report evidence --agent outreach --since 30d --out outreach.zip": "Wrote outreach.zip .*digest",
    "watchkeeper evidence verify outreach.zip": "holds: agent outreach",
    "watchkeeper evidence verify outreach.zip --journal": "in the journal at their place",
    "watchkeeper ask audits since=30d": "settings.first",
    "watchkeeper ask audits act=settings.changed": "",
    "watchkeeper drill run evidence_pack": "held",
    "watchkeeper drill run rescues": "held",
    "watchkeeper reload": "In force now: upstreams, routes|Nothing changed",
    "watchkeeper upstreams": "spare",
    "watchkeeper ask rescues since=24h width=1h": "",
    "watchkeeper erase --user ada@example.org --dry-run": "[1-9][0-9]* spans",
    "watchkeeper erase --user ada@example.org --yes": "^Erased ",
    "watchkeeper ask erasures": "ers_",
    "watchkeeper retention plan": "Nothing is due",
    "watchkeeper retention run": "Nothing was due",
    "watchkeeper ask kept": "",
    "watchkeeper ask thinnings": "",
    'watchkeeper ask body_rate text="I am sorry" since=30d --json': '"coverage":1.0,"calls":1,',
    "watchkeeper backup /mnt/backup/watchkeeper": "Proved: ",
    "watchkeeper backup /mnt/backup/watchkeeper --incremental": "were there",
    "watchkeeper backup week.tar": "Copied .* to week.tar",
    "watchkeeper restore /mnt/backup/watchkeeper --data new-directory": "The journal holds",
    "watchkeeper backup erasures.jsonl --erasures": "names no person",
    "watchkeeper restore /mnt/backup/watchkeeper --data another-directory --erasures erasures.jsonl": "holds",
    "watchkeeper ask drops": "",
    "python once.py": r"made\n(\S+ replayed\n){2}",
    "python refund.py": r"\Athe payment provider is asked\n(\{'refund': 're_1'\}\n){2}\Z",
    "watchkeeper effects list --run night-1": "done",
    "watchkeeper effects list --unsettled": "There are no effects",
    "watchkeeper effects end-run night-1 --json": '"cancelled":true',
    "watchkeeper jobs submit report.json --key report-1 --json": '"status":"queued"',
    "watchkeeper jobs list": "job_",
    "python approve.py": "completed-verified",
    "watchkeeper ask jobs outcome=completed-verified": "completed-verified",
    'watchkeeper search "where is my parcel" --since 30d': "Where is my parcel",
    "watchkeeper ask sessions since=30d sort=errors limit=10": "told-session",
    "watchkeeper ask first_tokens since=30d by=model": "lab-small",
    "watchkeeper budget list": "session|run",
    "watchkeeper budget set key k-7 --usd 20": "key k-7 is at 20 usd now",
    "watchkeeper budget raise key k-7 --usd 5": "key k-7 is at 25 usd now",
    "watchkeeper budget unset key k-7 usd": "now",
    "watchkeeper budget reconcile --older 1h": "0 settled",
    "watchkeeper drill run last_dollar": "held",
    "watchkeeper eval overclaim reasons.jsonl --by cohort": "fake_source: 1",
    "watchkeeper drill run overclaiming": "held",
    "watchkeeper eval behaviour old.jsonl new.jsonl": "format.fences",
    "watchkeeper eval behaviour old.jsonl new.jsonl --consumers consumers.toml": "ledger import: breaks",
    "watchkeeper eval behaviour old.jsonl new.jsonl --sunset --baseline 0.8 --drop 0.1": "stage 1: opt-in, all",
    "watchkeeper import before.jsonl after.jsonl": "Read 1,?570 spans",
    "watchkeeper eval behaviour model:desk-1 model:desk-2 --since 60d": "manner.preamble",
    "watchkeeper report behaviour model:desk-1 model:desk-2 --since 60d": "Wrote behaviour.html",
    PLANNED: "stage 3: default, deep, 50 users",
    FOLLOWED: r"\(default, deep\): stop",
    "watchkeeper drill run behaviour_change": "held",
    DRAWN: "dates / easy is easier than dates / hard and worse",
    LOST: r"^sums\s+easy\s.*\slost",
    "watchkeeper drill run jagged_frontier": "held",
    "watchkeeper drill run routed_frontier": "held",
    GATED: "poems, difficulty=easy: not resolved. Not measured: 0 items",
    "python ask.py": "map_stale;to=lab-large;decision=dec_.* lab-large",
    "watchkeeper ask decisions policy=frontier since=1h": "map_stale.*the map is stale",
    "watchkeeper eval map share map.json live.jsonl": r"live traffic: .* in failing ones",
    "watchkeeper lab overspend --target http://127.0.0.1:8787/v1 --upstream 127.0.0.1:8799 --cap-usd 0.2": "^held",
}
MAY_END_WITH_ONE = (
    "watchkeeper eval compare before.jsonl after.jsonl --margin 0.1",
    "watchkeeper eval behaviour old.jsonl new.jsonl --consumers consumers.toml",
    DRAWN,
    f"{DRAWN} --html map.html --out map.json",
    GATED,
    LOST,
    FOLLOWED,
    "watchkeeper eval properties loans.py --cases found.jsonl",
    "watchkeeper eval properties letters.py",
)


class Reader:
    """Somebody who follows a page in a folder, with one server at a time and ports of their own."""

    def __init__(self, folder: Path, lab: LabServer) -> None:
        self.folder = folder
        self._ports = {"8787": str(free_port()), "8799": str(free_port()), "8788": lab.root_url.rpartition(":")[2]}
        self.names = {"/mnt/backup": str(folder / "backup"), "ada@example.org": "mia"}
        self._server: subprocess.Popen[bytes] | None = None
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEPER_")}
        self._environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self._environ['PATH']}"

    def save(self, text: str) -> None:
        """Save a block whose first line names its file."""
        name, _, content = text.partition("\n")
        if re.fullmatch(r"# [\w.-]+", name):
            (self.folder / name.removeprefix("# ")).write_text(self.here(content), encoding="utf-8")

    def serve(self) -> None:
        """Start the server anew, as after Ctrl-C in its terminal."""
        self.end()
        listen = f"127.0.0.1:{self._ports['8787']}"
        words = [sys.executable, "-m", "watchkeeper", "serve", "--json", "--listen", listen]
        self._server = subprocess.Popen(words, cwd=self.folder, env=self._environ, stdout=subprocess.PIPE)
        assert self._server.stdout is not None
        assert self._server.stdout.readline(), "the server did not start"

    def end(self) -> None:
        """End the server."""
        if self._server is not None:
            processes.end(self._server, 30.0)
            self._server = None

    def do(self, command: str) -> str:
        """Run a command; returns what it said."""
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        allowed = (0, 1) if command in MAY_END_WITH_ONE else (0, 1, 3) if "eval locales" in command else (0,)
        assert done.returncode in allowed, f"$ {command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def here(self, text: str) -> str:
        """A text with the ports of this reader."""
        for written, port in self._ports.items():
            text = text.replace(f":{written}", f":{port}")
        for written, name in self.names.items():
            text = text.replace(written, name)
        return text


@pytest.fixture(scope="module")
def lab() -> Iterator[LabServer]:
    with LabServer(LabConfig(rules=sandbox_rules())) as running:
        yield running


@pytest.fixture
def reader(tmp_path: Path, lab: LabServer) -> Iterator[Reader]:
    found = Reader(tmp_path, lab)
    yield found
    found.end()


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    return [each for kind, text in blocks(page) if kind == "console" for each in lines_of(text)]


def lines_of(text: str) -> list[str]:
    """The commands of a block, without their remarks."""
    return [line.removeprefix("$ ").partition("   #")[0].rstrip() for line in text.splitlines()]


def after_first_steps(reader: Reader, name: str) -> None:
    """The files of First steps, and what was recorded with them; files to import; the suites."""
    for kind, text in blocks(FIRST_STEPS):
        if kind != "console":
            reader.save(text)
    shutil.copytree(ROOT / "examples" / "suites", reader.folder / "suites")
    if name == "evals":
        suite = reader.folder / "suites" / "desk.yaml"
        suite.write_text(reader.here(suite.read_text()))
    rows = [ROW | {"n": number, "timestamp": time.time_ns() - 10**9} for number in range(3)]
    (reader.folder / "last-week.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    reader.do("gzip last-week.jsonl")
    (reader.folder / "export.pb").write_bytes(payload({"span_id": b"\1" * 8, "trace_id": b"\1" * 16}))
    span = {"traceId": "2" * 32, "spanId": "2" * 16, "name": "x", "startTimeUnixNano": str(time.time_ns())}
    (reader.folder / "traces.json").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    reader.serve()
    if name in ("limits", "prove-a-record", "watch-outcomes"):
        reader.do("python first.py")
    if name in ("answer-origins", "erase-and-encrypt", "evidence-pack", "keep-and-delete", "redact", "search"):
        told(reader)
    if name == "limits":
        reader.do("python agents.py")
        shutil.copy(reader.folder / "agents.py", reader.folder / "again.py")
        text = (reader.folder / "agents.py").read_text()
        (reader.folder / "agents.py").write_text(text.replace("first-", "second-"))


def told(reader: Reader) -> None:
    """A call of agent `outreach` whose answer rests on a chunk, and what somebody needs to ask about it."""
    (reader.folder / "told.py").write_text(reader.here(TOLD))
    trace, span = reader.do("python told.py").split()
    reader.names |= {TRACE: trace, SPAN: span}
    (reader.folder / "corpus.jsonl").write_text(json.dumps({"text": KEPT}) + "\n")
    case = {
        "trace": trace,
        "expected": "Lamps can be returned within 30 days.",
        "question": "How long can lamps be returned?",
    }
    (reader.folder / "wrong.jsonl").write_text(json.dumps(case) + "\n")


def test_every_page_is_read() -> None:
    assert {page.stem for page in (ROOT / "docs" / "how-to").glob("*.md")} == set(PAGES)
    every = {command for name in PAGES for command in commands(ROOT / "docs" / "how-to" / f"{name}.md")}
    assert set(EXPECTED) <= every


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_as_written(reader: Reader, name: str) -> None:
    page = ROOT / "docs" / "how-to" / f"{name}.md"
    if name != "put-it-in-front":
        after_first_steps(reader, name)
    for kind, text in blocks(page):
        if kind != "console":
            reader.save(text)
            continue
        for command in lines_of(text):
            if command == "watchkeeper serve":
                reader.serve()
            elif command == "watchkeeper lab serve":
                continue  # the lab runs already, on a port of its own
            else:
                if command == "watchkeeper rebuild":
                    reader.end()
                said = reader.do(command)
                assert re.search(EXPECTED.get(command, ""), said, re.MULTILINE), f"$ {command}\n{said}"
    if name == "prove-a-record":
        sent = json.loads((reader.folder / "request.json").read_bytes())
        assert sent["model"] == "lab-small"
        assert json.loads((reader.folder / "digests.json").read_text())["holds"] is True
