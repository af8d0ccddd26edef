"""The pages of upstreams and probes: what is avoided and why, what successes took, what probes were answered."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import MS, NOW_NS, House
from watchkeeper.engines.monitoring.probes import Probe, Prober
from watchkeeper.records.audit import Audit
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span
from watchkeeper.server.store_app import store_app
from watchkeeper.server.views.upstreams import rescue_words, state_rows

pytestmark = pytest.mark.anyio
EVIL = "<script>alert(1)</script>"
TOKEN = "the-visitors-token"
FORM = {
    "content-type": "application/x-www-form-urlencoded", "x-watchkeeper-actor": "person:root",
    "x-watchkeeper-role": "admin", "x-watchkeeper-form-token": TOKEN,
}  # fmt: skip
PROBE = Probe(name="colour", model="m", messages='[{"role":"user","content":"Colour?"}]')


def change(number: int, state: str, at_ns: int, why: str = "5 failures in a row", model: str = "m") -> Audit:
    return Audit(
        audit_id=f"aud_{number}", at_ns=at_ns, act=f"upstream.{state}", actor="gateway", subject="dead",
        detail=json.dumps({"upstream": "dead", "model": model, "before": "closed", "why": why}),
    )  # fmt: skip


def call(number: int, at_ns: int, **more: Any) -> Span:
    return Span(
        trace_id=f"{number + 900:032x}", span_id=f"{number + 900:016x}", name="chat m", operation="chat",
        start_ns=at_ns, end_ns=at_ns + MS, revision=1, request_model="m",
        **{"status": "ok", "upstream": "backup", **more},
    )  # fmt: skip


def answer(number: int, label: str | None, **more: Any) -> Score:
    return Score(
        score_id=f"scr_{number}", subject_kind="probe", subject_id="colour", name="probe", at_ns=NOW_NS + number,
        event_ns=NOW_NS - 1_000 + number, label=label, version=PROBE.digest[:16],
        attributes={"model": "m-2", "form": "text/stop", **more},
    )  # fmt: skip


def plain(*acts: Audit) -> list[dict[str, Any]]:
    return [{"act": a.act, "at_ns": a.at_ns, "subject": a.subject, "detail": a.detail} for a in acts]


async def test_an_upstream_that_is_avoided_says_since_when_why_and_what_to_do(house: House) -> None:
    await house.record(
        change(1, "closed", NOW_NS - 9_000 * MS), change(2, "open", NOW_NS - 5_000 * MS, f"upstream_unreachable {EVIL}")
    )
    await house.record(*(call(i, NOW_NS - i * 1_000 * MS, attributes={"watchkeeper.rescues": 1,
                         "watchkeeper.rescues.fallback": 1}) for i in range(4)))  # fmt: skip
    page = (await ask(store_app(house.parts()), "/ui/upstreams")).text
    assert '<span class="badge error">avoided</span>' in page
    assert "upstream_unreachable &lt;script&gt;" in page
    assert EVIL not in page
    assert "base_url" in page
    assert "4 fell over to another upstream" in page
    assert 'aria-label="Rescues for each call that succeeded' in page
    assert "dead for m: avoided" in page
    assert "<b>backup</b>" in page


async def test_without_upstreams_the_page_says_what_would_stand_there(house: House) -> None:
    page = (await ask(store_app(house.parts()), "/ui/upstreams")).text
    assert "No upstream was ever avoided." in page


def test_the_last_change_of_each_model_holds_and_what_is_avoided_comes_first() -> None:
    rows = state_rows(
        plain(change(1, "open", 10), change(2, "closed", 20), change(3, "half_open", 15, model="n"),
              change(4, "open", 5, "quality: bad", model="o"))
    )  # fmt: skip
    assert [(row.model, row.state) for row in rows] == [("o", "avoided"), ("n", "on trial"), ("m", "in use")]
    assert "incident" in rows[0].step


def test_an_upstream_that_has_answered_since_is_in_use_again() -> None:
    well = {"upstream": "dead", "model": "m", "last_ok_ns": 11}
    (row,) = state_rows(plain(change(1, "open", 10)), [well])
    assert (row.state, row.since_ns) == ("in use", 11)
    (row,) = state_rows(plain(change(1, "open", 10)), [{**well, "last_ok_ns": 10}])
    assert row.state == "avoided"


def test_a_detail_that_cannot_be_read_loses_nothing_else() -> None:
    act = {"act": "upstream.open", "at_ns": 1, "subject": "x", "detail": "not json"}
    (row,) = state_rows([act])
    assert (row.upstream, row.model, row.why) == ("x", "every model", "–")


def test_without_calls_no_success_is_claimed() -> None:
    assert rescue_words({"calls": 0}) == "No calls in this time."


async def test_probes_show_their_answers_and_their_baseline(house: House) -> None:
    await house.record(answer(1, "blue"), answer(2, f"red {EVIL}"), answer(3, "blue"), answer(4, None, error="timeout"))
    app = store_app(house.parts(prober=Prober((PROBE,), lambda: None, lambda _: None, lambda: NOW_NS)))
    page = (await ask(app, "/ui/probes")).text
    assert "red &lt;script&gt;" in page
    assert EVIL not in page
    assert "&#39;blue&#39; in 67%" in page
    assert "timeout" in page
    assert "never accepted" in page


async def test_a_baseline_is_accepted_on_the_page_by_an_admin_alone(house: House) -> None:
    await house.record(answer(1, "blue"))
    kept: list[Record] = []
    app = store_app(house.parts(prober=Prober((PROBE,), lambda: None, kept.append, lambda: NOW_NS)))
    path, body = "/ui/probes/colour/accept", urlencode({"csrf": TOKEN}).encode()
    for headers, status in (
        ({**FORM, "x-watchkeeper-role": "operator"}, 403),
        (FORM | {"x-watchkeeper-form-token": "z"}, 403),
    ):
        assert (await ask(app, path, "POST", headers, body)).status == status
    assert kept == []
    assert (await ask(app, "/ui/probes/other/accept", "POST", FORM, body)).status == 404
    assert (await ask(app, path, "POST", FORM, body)).status == 303
    await house.record(*kept)
    page = (await ask(app, "/ui/probes", headers=FORM)).text
    assert "accepted by person:root" in page
    viewer = (await ask(app, "/ui/probes", headers={**FORM, "x-watchkeeper-role": "viewer"})).text
    assert "Accept its answers" not in viewer


async def test_without_probes_the_page_shows_how_to_begin(house: House) -> None:
    assert "[[probes]]" in (await ask(store_app(house.parts()), "/ui/probes")).text
