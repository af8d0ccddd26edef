"""S52: a client times out and asks again three times, the server is killed in the middle: one charge, one result."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from watchkeeper.lab.processes import kill
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Answer, Watch

scenario = "S52"
promise = (
    "A call under an idempotency key is charged once, through three retries and a kill; only verified output reaches a "
    "consumer that asks for it; a cancelled job has no later effect."
)

CHAT = "/v1/chat/completions"
MODEL = "lab-small"
ANSWER = "The order 7 was refunded."
IMPATIENT_S = 0.4
CLAIMANTS = 12
WAIT_S = 30.0


def run(stage: Stage) -> Result:
    """Play the impatient client, the kill, the strict consumer and the cancelled job against one server."""
    notes = Notes()
    lab = stage.lab(Rule(name="order", when=When(last_user="order 7"), answer=ANSWER))
    watch = stage.serve(lab)
    stage.say("a client times out and asks again three times")
    _impatient(watch, lab, notes)
    stage.say("the gateway is killed during a call")
    _killed(watch, lab, notes)
    stage.say("a consumer takes verified output only")
    _verified(watch, notes)
    stage.say("a job is cancelled while its effect is being claimed")
    _cancelled(watch, notes)
    return notes.result()


def _impatient(watch: Watch, lab: LabServer, notes: Notes) -> None:
    before = len(lab.calls)
    given_up = 0
    for _ in range(3):
        try:
            _ask(watch, "impatient", fault="slow:2", timeout_s=IMPATIENT_S)
        except OSError:
            given_up += 1
    last = _ask(watch, "impatient", fault="slow:2")
    again = _ask(watch, "impatient", fault="slow:2")
    charged = len(lab.calls) - before
    notes.measure(retries_given_up=given_up, retries_charged=charged)
    notes.tell(f"{given_up} time-outs and 2 more requests: {charged} call at the provider")
    notes.check("three time-outs and their retries are one charge", given_up == 3 and charged == 1)
    same = last.status == again.status == 200 and last.body == again.body
    notes.check("every retry has the same reply, byte for byte", same and ANSWER.encode() in last.body)


def _killed(watch: Watch, lab: LabServer, notes: Notes) -> None:
    before = len(lab.calls)
    lost = threading.Thread(target=_quietly, args=(watch, "killed", "hang"))
    lost.start()
    arrived = _until(lambda: any(call.outcome == "hung" for call in lab.calls[before:]))
    kill([watch.gateway_pid()])
    lost.join(WAIT_S)
    watch.wait_ready()
    answers = [_ask(watch, "killed", fault="hang", timeout_s=20.0) for _ in range(3)]
    charged = len(lab.calls) - before
    codes = {_code(answer) for answer in answers}
    notes.measure(kill_arrived=arrived, kill_charged=charged, kill_answered=", ".join(sorted(codes)))
    notes.tell(f"after kill -9 in mid-call: {charged} call, answered {', '.join(sorted(codes))}")
    notes.check("a call that was under way when the server died is not made again by itself", arrived and charged == 1)
    notes.check("and its repeats are told that its end is unknown", codes == {"idempotency_unknown"})
    done = _ask(watch, "whole")
    calls = len(lab.calls)
    kill([watch.gateway_pid()])
    watch.wait_ready()
    replayed = _ask(watch, "whole")
    notes.check(
        "a reply that was given before the kill is given again after it",
        done.status == replayed.status == 200 and done.body == replayed.body and len(lab.calls) == calls,
    )


def _verified(watch: Watch, notes: Notes) -> None:
    wrong = _job(watch, [{"scorer": "exact", "expected": "Something else."}])
    right = _job(watch, [{"scorer": "exact", "expected": ANSWER}])
    bare = _job(watch, [])
    seen = []
    for job_id in (wrong, right, bare):
        answer = watch.http("GET", f"/api/v1/jobs/{job_id}?require=verified")
        seen.append((answer.status, json.loads(answer.body), ANSWER.encode() in answer.body))
    outcomes = [(body.get("job") or body)["outcome"] for _, body, _ in seen]
    notes.measure(outcomes=", ".join(outcomes), strict_consumer_got=", ".join(str(status) for status, _, _ in seen))
    notes.tell(f"a strict consumer of {', '.join(outcomes)} got {', '.join(str(status) for status, _, _ in seen)}")
    expected = ["completed-unverified", "completed-verified", "completed-unverified"]
    notes.check("a job is verified only when what it declared was checked and held", outcomes == expected)
    notes.check(
        "a consumer that requires verified output gets no other",
        [status for status, _, _ in seen] == [409, 200, 409]
        and [shown for _, _, shown in seen] == [False, True, False],
    )


def _cancelled(watch: Watch, notes: Notes) -> None:
    """Many claim the effects of one job while it is cancelled: none is granted after the cancellation was answered."""
    submitted = watch.post(
        "/api/v1/jobs", {"steps": [{"name": "refund", "effect": {"tool": "refund", "object": "order 0"}}]}
    )
    run, job_id = submitted["run"], submitted["id"]
    granted: list[float] = []
    refused: list[float] = []
    stop = threading.Event()

    def claim(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            wish = {
                "run": run, "step": "refund", "tool": "refund", "object": f"order {number}.{turn}",
                "claim": f"claim-{number}-{turn}",
            }  # fmt: skip
            began = time.monotonic()
            answer = watch.http("POST", "/api/v1/effects/claim", wish)
            if answer.status == 200 and json.loads(answer.body)["granted"]:
                granted.append(began)
            elif _code(answer) == "run_cancelled":
                refused.append(began)

    claimants = [threading.Thread(target=claim, args=(number,)) for number in range(CLAIMANTS)]
    for each in claimants:
        each.start()
    _until(lambda: len(granted) >= CLAIMANTS)
    watch.post(f"/api/v1/jobs/{job_id}/cancel")
    cancelled_at = time.monotonic()
    _until(lambda: len(refused) >= CLAIMANTS)
    stop.set()
    for each in claimants:
        each.join(WAIT_S)
    late = sum(began > cancelled_at for began in granted)
    ended = watch.get(f"/api/v1/jobs/{job_id}")
    notes.measure(effects_before_cancel=len(granted), effects_after_cancel=late, claims_refused=len(refused))
    notes.tell(f"{len(granted)} effects before the cancellation, {late} after it, {len(refused)} claims refused")
    notes.check("a cancelled job has no later effect", late == 0 and bool(granted) and bool(refused))
    notes.check("its outcome is cancelled", ended["outcome"] == "cancelled")
    _one_claim(watch, notes)


def _one_claim(watch: Watch, notes: Notes) -> None:
    granted: list[bool] = []

    def claim(number: int) -> None:
        wish = {
            "run": "race", "step": "pay", "tool": "pay", "object": "invoice 1", "claim": f"claimant-{number}",
        }  # fmt: skip
        granted.append(json.loads(watch.http("POST", "/api/v1/effects/claim", wish).body)["granted"])

    claimants = [threading.Thread(target=claim, args=(number,)) for number in range(CLAIMANTS)]
    for each in claimants:
        each.start()
    for each in claimants:
        each.join(WAIT_S)
    notes.measure(claimants=len(granted), claims_granted=sum(granted))
    notes.check(f"of {CLAIMANTS} claims to one effect one is granted", len(granted) == CLAIMANTS and sum(granted) == 1)


def _job(watch: Watch, postconditions: list[dict[str, Any]]) -> str:
    request = {"path": CHAT, "body": _body()}
    job = watch.post("/api/v1/jobs", {"request": request, "postconditions": postconditions})
    _until(lambda: watch.get(f"/api/v1/jobs/{job['id']}")["status"] == "ended")
    return str(job["id"])


def _body() -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "What became of order 7?"}]}


def _ask(watch: Watch, key: str, *, fault: str = "", timeout_s: float = WAIT_S) -> Answer:
    headers = {"Idempotency-Key": key, **({"X-Lab-Fault": fault} if fault else {})}
    return watch.http("POST", CHAT, _body(), headers=headers, timeout_s=timeout_s)


def _quietly(watch: Watch, key: str, fault: str) -> None:
    try:
        _ask(watch, key, fault=fault)
    except OSError:
        return  # the server was killed, as planned


def _code(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return str(answer.status)


def _until(is_so: Any) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
