"""Work that takes minutes, through real processes: jobs, events, effects, and what a kill leaves of them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import postgres
from watchkeeper.lab import processes
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When, sandbox_rules
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Answer, Watch, lab_settings

pytestmark = [pytest.mark.slow, pytest.mark.door]

CHAT = "/v1/chat/completions"
ANSWER = "A <b>report</b> of the lab."
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabServer]:
    rule = Rule(name="report", when=When(last_user="report"), answer=ANSWER)
    with LabServer(LabConfig(rules=(rule, *sandbox_rules()))) as running:
        yield running


@pytest.fixture(scope="module")
def watch(lab: LabServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    settings = lab_settings(lab.base_url) + "\n[idempotency]\nwait_s = 5.0\n"
    with Watch(tmp_path_factory.mktemp("longwork"), settings) as running:
        yield running


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "lab-small", "messages": [{"role": "user", "content": "Write a report."}], **changes}


def call(**changes: Any) -> dict[str, Any]:
    return {"path": CHAT, "body": body(**changes)}


def until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def job_of(watch: Watch, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = watch.get(f"/api/v1/jobs/{job_id}")
    return found


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


def claim(watch: Watch, token: str, **changes: Any) -> Answer:
    wish = {"run": "r", "step": "s", "tool": "refund", "object": "order 7", "claim": token, **changes}
    return watch.http("POST", "/api/v1/effects/claim", wish)


def run_program(watch: Watch, text: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "WATCHKEEPER_URL": watch.root_url}
    return subprocess.Popen(
        [sys.executable, "-c", text], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_job_waits_for_an_answer_over_a_kill_and_goes_on(watch: Watch, lab: LabServer) -> None:
    steps = [
        {"name": "draft", "request": call()},
        {"name": "approve", "ask": "May I send it?"},
        {"name": "send", "request": call(user="u")},
    ]
    (watch.folder / "job.json").write_text(json.dumps({"steps": steps, "name": "monthly"}))
    before = len(lab.calls)
    job_id = watch.cli("jobs", "submit", "job.json", "--watch", expect=(1,))["id"]
    assert job_of(watch, job_id)["outcome"] == "needs-input"
    processes.kill([watch.gateway_pid()])
    watch.wait_ready()
    watch.cli("jobs", "resume", job_id, "--input", "yes")
    ended = watch.cli("jobs", "watch", job_id)
    assert (ended["outcome"], ended["output"]["text"]) == ("completed-unverified", ANSWER)
    assert len(lab.calls) - before == 2
    assert watch.cli("jobs", "list", "--outcome", "completed-unverified")["items"][0]["job_id"] == job_id


def test_a_job_whose_server_is_killed_in_its_call_is_unknown_and_resumed_by_leave(watch: Watch, lab: LabServer) -> None:
    before = len(lab.calls)
    job_id = watch.post("/api/v1/jobs", {"request": call(model="lab-small!slow:3")})["id"]
    until(lambda: len(lab.calls) > before)
    processes.kill([watch.gateway_pid()])
    watch.wait_ready()
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    assert (job_of(watch, job_id)["outcome"], len(lab.calls) - before) == ("unknown", 1)
    watch.cli("jobs", "resume", job_id, "--retry")
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    assert job_of(watch, job_id)["outcome"] == "completed-unverified"
    assert len(lab.calls) - before == 2


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/messages", {"max_tokens": 50, "messages": [{"role": "user", "content": "Write a report."}]}),
        ("/v1/responses", {"max_output_tokens": 50, "input": "Write a report."}),
    ],
)
def test_a_job_speaks_every_dialect(watch: Watch, lab: LabServer, path: str, asked: dict[str, Any]) -> None:
    request = {"path": path, "body": {"model": "lab-small", **asked}}
    before = len(lab.calls)
    condition = {"name": "the report", "scorer": "exact", "expected": ANSWER}
    sent = {"request": request, "postconditions": [condition]}
    job_id = watch.post("/api/v1/jobs", sent)["id"]
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    job = job_of(watch, job_id)
    assert (job["outcome"], job["output"]["text"], job["model"]) == ("completed-verified", ANSWER, "lab-small"), job
    assert (job["cost_usd"] > 0, len(lab.calls) - before) == (True, 1)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_a_call_that_is_killed_is_unknown_in_every_dialect(watch: Watch, lab: LabServer, path: str) -> None:
    asked = {"messages": [{"role": "user", "content": "Go."}], "max_tokens": 9}
    asked = asked if path == "/v1/messages" else {"input": "Go.", "max_output_tokens": 9}
    before = len(lab.calls)
    request = {"path": path, "body": {"model": "lab-small!slow:3", **asked}}
    job_id = watch.post("/api/v1/jobs", {"request": request})["id"]
    until(lambda: len(lab.calls) > before)
    processes.kill([watch.gateway_pid()])
    watch.wait_ready()
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    job = job_of(watch, job_id)
    assert (job["outcome"], job["stop_reason"]) == ("unknown", "idempotency_unknown"), job
    assert len(lab.calls) - before == 1


def test_events_go_on_from_the_last_that_was_seen(watch: Watch) -> None:
    job_id = watch.post("/api/v1/jobs", {"request": call()})["id"]

    def events(last: str | None) -> tuple[int, list[str]]:
        host, _, port = watch.listen.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        headers = {} if last is None else {"Last-Event-ID": last}
        connection.request("GET", f"/api/v1/jobs/{job_id}/events", headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]

    status, seen = events(None)
    assert (status, seen) == (200, ["1", "2", "3", "4"])
    assert events("2") == (200, ["3", "4"])
    assert events("4") == (204, [])
    assert ANSWER not in watch.http("GET", f"/api/v1/jobs/{job_id}/events").body.decode()


def test_cancelling_stops_the_call_under_way(watch: Watch, lab: LabServer) -> None:
    before = len(lab.calls)
    job_id = watch.post("/api/v1/jobs", {"request": call(model="lab-small!hang")})["id"]
    until(lambda: len(lab.calls) > before)
    assert watch.cli("jobs", "cancel", job_id)["outcome"] == "cancelled"
    until(lambda: lab.calls[before].outcome in ("client_left", "hung"))
    assert claim(watch, "claim-after", run=job_of(watch, job_id)["run"]).status == 409


def test_a_kill_between_claim_and_effect_leaves_it_unknown_until_it_is_settled(watch: Watch) -> None:
    program = """
import time, watchkeeper
with watchkeeper.effect("pay", run="killed", step="pay", object="invoice 1", lease_s=1.0) as act:
    print("claimed", flush=True)
    time.sleep(60)
"""
    claimant = run_program(watch, program)
    assert claimant.stdout is not None
    assert claimant.stdout.readline() == "claimed\n"
    claimant.kill()
    claimant.wait()
    again = """
import watchkeeper
try:
    watchkeeper.once(lambda: 1 / 0, tool="pay", run="killed", step="pay", object="invoice 1", wait_s=10.0)
except watchkeeper.EffectUnknown as unknown:
    print(unknown.effect_id)
"""
    said, wrong = run_program(watch, again).communicate(timeout=60)
    effect_id = said.strip()
    assert effect_id.startswith("eff_"), wrong
    (found,) = watch.cli("effects", "list", "--unsettled", "--run", "killed")["items"]
    assert (found["effect_id"], found["status"]) == (effect_id, "unknown")
    watch.cli("effects", "settle", effect_id, "--as", "done", "--receipt", '{"id": 9}', "--note", "the bank says so")
    after = """
import watchkeeper
print(watchkeeper.once(lambda: 1 / 0, tool="pay", run="killed", step="pay", object="invoice 1"))
"""
    assert run_program(watch, after).communicate(timeout=60)[0] == "{'id': 9}\n"
    assert watch.cli("effects", "show", effect_id)["settled_by"] == "key:owner"


def test_a_status_callback_settles_what_nobody_knows(watch: Watch) -> None:
    assert json.loads(claim(watch, "claim-lost", run="asked", lease_s=1).body)["granted"]
    program = """
import watchkeeper
made = []
print(watchkeeper.once(
    lambda: made.append(1) or "new", tool="refund", run="asked", step="s", object="order 7",
    wait_s=10.0, status=lambda key: {"found": key},
), made)
"""
    said, wrong = run_program(watch, program).communicate(timeout=60)
    assert said == "{'found': 'asked/s/refund/order 7'} []\n", wrong


def test_a_block_that_raises_leaves_its_effect_unknown(watch: Watch) -> None:
    program = """
import watchkeeper
try:
    with watchkeeper.effect("pay", run="raised", step="pay", object="invoice 2"):
        raise TimeoutError("the bank did not answer")
except TimeoutError:
    pass
"""
    assert run_program(watch, program).wait(60) == 0
    (found,) = watch.cli("effects", "list", "--run", "raised")["items"]
    assert (found["status"], found["detail"]) == ("unknown", "TimeoutError: the block was left by an exception")


def test_without_a_server_nothing_is_done(tmp_path: Path) -> None:
    program = """
import watchkeeper
watchkeeper.init("http://127.0.0.1:9", ask_server=False)
try:
    watchkeeper.once(lambda: print("DONE"), tool="t", run="r", step="s", object="o")
except watchkeeper.Denied as denied:
    print(denied.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ledger_unreachable\n", done.stderr


def test_what_callers_wrote_is_escaped_on_the_pages(watch: Watch) -> None:
    answer = json.loads(claim(watch, "claim-evil", tool=EVIL, object=EVIL, run=EVIL, detail=EVIL).body)
    job_id = watch.post("/api/v1/jobs", {"request": call(), "name": EVIL, "run": EVIL})["id"]
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    watch.post("/api/v1/ingest/flush")
    for page in ("/ui/jobs", f"/ui/jobs/{job_id}", "/ui/effects", f"/ui/effects/{answer['effect_id']}"):
        found = watch.http("GET", page)
        assert (found.status, EVIL.encode() in found.body) == (200, False), page
        assert b"&lt;script&gt;" in found.body, page
    assert watch.http("GET", "/ui/jobs/job_none").status == 404


@pytest.mark.parametrize(
    ("path", "value", "status", "said"),
    [
        ("/api/v1/jobs", {}, 422, "request"),
        ("/api/v1/jobs", {"request": {"path": "/etc/passwd", "body": {}}}, 422, "request.path"),
        ("/api/v1/jobs", {"steps": [{"name": "a", "ask": "b"}, {"name": "a", "ask": "b"}]}, 422, "steps"),
        ("/api/v1/jobs", {"request": {"path": CHAT, "body": {}}, "require": "verified"}, 422, "postconditions"),
        (
            "/api/v1/jobs",
            {"request": {"path": CHAT, "body": {}}, "postconditions": [{"scorer": "no_such"}]},
            422,
            "no_such",
        ),
        (
            "/api/v1/jobs",
            {"request": {"path": CHAT, "body": {}}, "postconditions": [{"policy": "budget"}]},
            422,
            "budget",
        ),
        (
            "/api/v1/jobs",
            {"request": {"path": "/v1/responses", "body": {"background": True}}},
            422,
            "background",
        ),
        ("/api/v1/jobs", b"{not json", 400, "not JSON"),
        ("/api/v1/jobs/job_none/cancel", {}, 404, "no job"),
        ("/api/v1/effects/claim", {"run": "r"}, 422, "step"),
        ("/api/v1/effects/settle", {"effect_id": "eff_none", "status": "done"}, 404, "eff_none"),
        ("/api/v1/effects/settle", {"effect_id": "e", "status": "done", "receipt": "x" * 20_000}, 422, "receipt"),
    ],
)
def test_bad_input_is_refused_by_name(watch: Watch, path: str, value: Any, status: int, said: str) -> None:
    answer = watch.http("POST", path, value)
    assert answer.status == status, answer.body
    assert said in json.loads(answer.body)["error"]["message"] + str(json.loads(answer.body)["error"]["param"])


def test_pages_of_other_sites_cannot_claim_or_submit(watch: Watch) -> None:
    for path in ("/api/v1/jobs", "/api/v1/effects/claim"):
        assert watch.http("POST", path, {}, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
        assert watch.http("POST", path, b"{}", headers={"Content-Type": "text/plain"}).status == 415


def test_a_tenant_sees_its_own_jobs_only(watch: Watch) -> None:
    keys = [watch.cli("key", "create", name, "--tenant", name)["secret"] for name in ("shop", "bank")]
    shop, bank = ({"X-Watchkeeper-Key": secret} for secret in keys)
    job_id = json.loads(watch.http("POST", "/api/v1/jobs", {"request": call()}, headers=shop).body)["id"]
    assert watch.http("GET", f"/api/v1/jobs/{job_id}", headers=shop).status == 200
    assert watch.http("GET", f"/api/v1/jobs/{job_id}", headers=bank).status == 404
    assert watch.http("POST", f"/api/v1/jobs/{job_id}/cancel", {}, headers=bank).status == 404
    until(lambda: job_of(watch, job_id)["status"] == "ended")
    wish = {"run": "r", "step": "s", "tool": "refund", "object": "order of shop", "claim": "claim-shop"}
    claimed = watch.http("POST", "/api/v1/effects/claim", wish, headers=shop)
    effect_id = json.loads(claimed.body)["effect_id"]
    settled = {"effect_id": effect_id, "status": "done"}
    assert watch.http("GET", f"/api/v1/effects/{effect_id}", headers=shop).status == 200
    assert watch.http("GET", f"/api/v1/effects/{effect_id}", headers=bank).status == 404
    assert watch.http("POST", "/api/v1/effects/settle", settled, headers=bank).status == 404
    watch.post("/api/v1/ingest/flush")
    for path in ("/api/v1/jobs", "/api/v1/effects", "/ui/jobs", "/ui/effects", f"/ui/jobs/{job_id}"):
        mine, theirs = (watch.http("GET", path, headers=each).body.decode() for each in (shop, bank))
        known = job_id if "jobs" in path else effect_id
        assert (known in mine, "order of shop" in theirs) == (True, False), path
        if path != f"/ui/jobs/{job_id}":
            assert known not in theirs, path
    assert watch.http("GET", f"/ui/jobs/{job_id}", headers=bank).status == 404
    assert watch.http("GET", f"/ui/effects/{effect_id}", headers=bank).status == 404


def test_scopes_say_what_a_key_does_with_jobs_and_effects(watch: Watch) -> None:
    def made(*scopes: str) -> dict[str, str]:
        wanted = [part for scope in scopes for part in ("--scope", scope)]
        return {
            "X-Watchkeeper-Key": watch.cli("key", "create", "-".join(scopes), "--tenant", "dock", *wanted)["secret"]
        }

    calls, other, reports, reads = made("call"), made("call"), made("ingest"), made("read")
    sent = {"request": call()}
    job_id = json.loads(watch.http("POST", "/api/v1/jobs", sent, headers=calls).body)["id"]
    path = f"/api/v1/jobs/{job_id}"
    assert [watch.http("GET", path, headers=each).status for each in (calls, other, reports, reads)] == [
        200,
        404,
        404,
        200,
    ]
    assert [code(watch.http("POST", "/api/v1/jobs", sent, headers=each)) for each in (reports, reads)] == [
        "scope_missing"
    ] * 2
    assert code(watch.http("POST", f"{path}/cancel", {}, headers=reads)) == "role_missing"
    wish = {"run": "dock", "step": "s", "tool": "t", "object": "o", "claim": "claim-dock"}
    assert code(watch.http("POST", "/api/v1/effects/claim", wish, headers=calls)) == "scope_missing"
    assert watch.http("POST", "/api/v1/effects/claim", wish, headers=reports).status == 200
    assert code(watch.http("POST", "/api/v1/runs/dock/cancel", {}, headers=reads)) == "scope_missing"
    assert watch.http("POST", "/api/v1/runs/dock/cancel", {}, headers=reports).status == 200


def test_a_run_is_cancelled_whatever_it_is_called(watch: Watch) -> None:
    run = "night/1 50%41 of ö"
    answer = watch.http("POST", f"/api/v1/runs/{quote(run, safe='')}/cancel", {})
    assert (answer.status, json.loads(answer.body)["run"]) == (200, run)
    assert code(claim(watch, "claim-night", run=run)) == "run_cancelled"
    assert claim(watch, "claim-other", run="night/1 50A of ö").status == 200


def test_a_run_that_a_policy_stopped_is_let_go_on_beside_the_runs_of_jobs(watch: Watch) -> None:
    answer = watch.http("POST", "/api/v1/runs/resume", {"run": "nobody-knows-it"})
    assert (answer.status, code(answer)) != (404, "no_such_path"), answer.body
    assert b"nobody-knows-it" in answer.body


def test_without_a_server_commands_read_and_settle(watch: Watch, lab: LabServer, tmp_path: Path) -> None:
    with Watch(tmp_path, lab_settings(lab.base_url)) as own:
        effect_id = json.loads(claim(own, "claim-here", lease_s=1).body)["effect_id"]
    time.sleep(1.1)
    (own.folder / "job.json").write_text(json.dumps({"request": call()}))
    assert own.cli("effects", "settle", effect_id, "--as", "failed")["status"] == "failed"
    job_id = own.cli("jobs", "submit", "job.json")["id"]
    assert own.cli("jobs", "show", job_id)["status"] == "queued"
    with own:
        until(lambda: job_of(own, job_id)["outcome"] == "completed-unverified")


def test_two_gateways_with_shared_cells_claim_one_effect_and_make_one_call(lab: LabServer, tmp_path: Path) -> None:
    if postgres.programs() is None:
        pytest.skip("there is no PostgreSQL server on this machine")
    with postgres.running() as server, ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGWORK_CELLS", server.dsn)
        settings = lab_settings(lab.base_url)
        houses = [Watch(tmp_path / name, settings, server='cells = "env:LONGWORK_CELLS"') for name in ("one", "two")]
        for house in houses:
            stack.enter_context(house)
        granted: list[bool] = []
        claimants = [
            threading.Thread(
                target=lambda n=n: granted.append(  # type: ignore[misc]
                    json.loads(claim(houses[n % 2], f"claim-{n:04}", run="shared").body)["granted"]
                )
            )
            for n in range(10)
        ]
        for each in claimants:
            each.start()
        for each in claimants:
            each.join(30)
        assert (len(granted), sum(granted)) == (10, 1)
        before = len(lab.calls)
        key = {"Idempotency-Key": "shared"}
        first = houses[0].http("POST", CHAT, body(), headers=key)
        other = houses[1].http("POST", CHAT, body(), headers=key)
        again = houses[0].http("POST", CHAT, body(), headers=key)
        assert (first.status, again.body == first.body, len(lab.calls) - before) == (200, True, 1)
        assert (other.status, code(other)) == (409, "idempotency_reply_not_kept")
