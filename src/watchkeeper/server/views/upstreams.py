"""Prepares the page of upstreams: what is avoided since when and why, calls by upstream, and rescues over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.records.document import Chart, Series
from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import UNKNOWN, count, count_of, duration, percent, plain
from watchkeeper.server.visible import visible

STATES = {"open": "avoided", "half_open": "on trial", "closed": "in use"}
ACT = "upstream."
MAX_MARKS = 12
RESCUES = {
    "retry": "asked again",
    "fallback": "fell over to another upstream",
    "continued": "broken streams continued",
    "repair": "answers repaired",
    "default": "defaults filled in",
    "client_retry": "retried by the caller's client",
}


class StateRow(Record):
    """How one upstream's breaker stands with one model; `step` says what to do next."""

    upstream: str
    model: str
    state: str
    tone: str
    since_ns: int
    why: str
    before: str
    step: str


class CallsRow(Record):
    """Calls of one upstream and model in the time range."""

    upstream: str
    model: str
    calls: str
    errors: str
    share: str
    p50: str
    p95: str
    last_ns: int
    bad: bool


def state_rows(acts: Iterable[Mapping[str, Any]], calls: Iterable[Mapping[str, Any]] = ()) -> list[StateRow]:
    """The latest recorded change of each breaker, what is avoided first.

    A breaker lives in a gateway's memory and begins closed, so an upstream that has answered since the record says that
    it was left is in use again, whatever the last change said.
    """
    well = {(row["upstream"], row["model"]): row["last_ok_ns"] or 0 for row in calls}
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for act in acts:
        key = (str(act["subject"]), str(_detail(act).get("model") or ""))
        if key not in latest or act["at_ns"] > latest[key]["at_ns"]:
            latest[key] = act
    rows = [_state(name, model, act, well.get((name, model), 0)) for (name, model), act in latest.items()]
    order = list(STATES.values())
    return sorted(rows, key=lambda row: (order.index(row.state), -row.since_ns))


def _state(upstream: str, model: str, act: Mapping[str, Any], last_ok_ns: int) -> StateRow:
    detail = _detail(act)
    said = str(act["act"]).removeprefix(ACT)
    why = str(detail.get("why") or "")
    since_ns = int(act["at_ns"])
    if said != "closed" and last_ok_ns > since_ns:
        said, since_ns = "closed", last_ok_ns
        why = f"it has answered since it was left ({why})"
    return StateRow(
        upstream=visible(upstream),
        model=visible(model) or "every model",
        state=STATES.get(said, STATES["open"]),
        tone={"closed": "ok", "half_open": "open"}.get(said, "error"),
        since_ns=since_ns,
        why=visible(why) or UNKNOWN,
        before=STATES.get(str(detail.get("before")), ""),
        step=_step(said, why),
    )


def _step(state: str, why: str) -> str:
    """What to do next about a state."""
    if state == "closed":
        return "Nothing: calls go there."
    if state == "half_open":
        return "Wait for its trials: one call at a time goes there until enough went well."
    if why.startswith("quality:"):
        return "Read the incident that opened it; once it is resolved, trials begin at once."
    if "unreachable" in why or "connect" in why:
        return "See that its address answers and that base_url is right; a trial follows by itself."
    if "401" in why or "403" in why or "credential" in why:
        return "See that its credential is still good; a trial follows by itself."
    return "Read the failed calls; a trial follows by itself when its time is over."


def _detail(act: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(act.get("detail") or "{}")
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def calls_rows(items: Iterable[Mapping[str, Any]]) -> list[CallsRow]:
    """The lines of calls by upstream and model."""
    return [
        CallsRow(
            upstream=visible(str(row["upstream"])),
            model=plain(row["model"]),
            calls=count(row["calls"]),
            errors=count(row["errors"]),
            share=percent(row["errors"], row["calls"]),
            p50=duration(row["p50_ns"]),
            p95=duration(row["p95_ns"]),
            last_ns=int(row["last_ns"]),
            bad=bool(row["errors"]),
        )
        for row in items
    ]


def rescue_chart(buckets: Sequence[Mapping[str, Any]], acts: Iterable[Mapping[str, Any]], since_ns: int) -> Chart:
    """Rescues for each success over time, with the changes of breakers as marks; a time without success has no point.

    At most the latest `MAX_MARKS` changes are marked.
    """
    known = [row for row in buckets if row["rescues_per_success"] is not None]
    points = tuple((int(row["bucket"]), float(row["rescues_per_success"])) for row in known)
    first = max(since_ns, points[0][0]) if points else since_ns
    changes = sorted((act for act in acts if act["at_ns"] >= first), key=lambda act: int(act["at_ns"]))[-MAX_MARKS:]
    marks = tuple((int(act["at_ns"]), _mark(act)) for act in changes)
    return Chart(
        title="Rescues for each call that succeeded", series=(Series(name="rescues per success", points=points),),
        marks=marks if points else (),
    )  # fmt: skip


def _mark(act: Mapping[str, Any]) -> str:
    detail = _detail(act)
    said = STATES.get(str(act["act"]).removeprefix(ACT), "changed")
    model = f" for {detail['model']}" if detail.get("model") else ""
    return f"{act['subject']}{model}: {said}"


def rescue_words(item: Mapping[str, Any]) -> str:
    """What the successes of a time took, in a sentence."""
    if not item["calls"]:
        return "No calls in this time."
    told = [f"{count(item[kind])} {words}" for kind, words in RESCUES.items() if item[kind]]
    ratio = item["rescues_per_success"]
    beside = "" if ratio is None else f", {ratio:.2g} for each success"
    rescued = f"{count_of(item['rescues'], 'rescue')} in {count_of(item['rescued'], 'call')}{beside}"
    head = f"{count(item['successes'])} of {count_of(item['calls'], 'call')} succeeded"
    return f"{head}; {rescued}: {', '.join(told)}." if told else f"{head}, none of them by a rescue."
