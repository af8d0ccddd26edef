"""Every page shows what it should, escapes what models wrote, and works for a newcomer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import EVIL, MS, NOW_NS, TRACE, House, agent, eventful_hour
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.capabilities.reports.incident import IncidentReport
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.incident import Entry, Incident
from watchkeeper.records.score import Score
from watchkeeper.records.span import Operation
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
FORM = {"content-type": "application/x-www-form-urlencoded", "x-watchkeeper-form-token": "right"}
PAGES = [
    "/",
    "/ui/traces",
    "/ui/traces?text=seats&status=denied",
    f"/ui/traces/{TRACE}",
    f"/ui/traces/{TRACE}?span={7:016x}",
    f"/ui/traces/{TRACE}/{7:016x}",
    "/ui/decisions",
    "/ui/incidents",
    "/ui/incidents/inc_1",
    "/ui/drops",
]


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_lets_what_models_wrote_become_markup(house: House, path: str) -> None:
    got = await ask(store_app(house.parts()), path)
    assert got.status == 200
    page = got.text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert 'href="javascript:' not in page
    for hidden in ("\u202e", "\x1b", "\u200b"):
        assert hidden not in page
    assert " style=" not in page
    assert "<script>" not in page
    assert "http://" not in page.replace("http://127.0.0.1:8787", "").replace("http://www.w3.org", "")


async def test_every_page_says_the_same_over_the_real_index(house: House, tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    other = House(tmp_path / "other", log)
    try:
        await eventful_hour(other)
        for path in PAGES:
            asked = (await ask(store_app(each.parts()), path) for each in (house, other))
            plain, indexed = [got.text async for got in asked]
            assert indexed == plain
    finally:
        other.close()
        await log.close()


async def test_a_page_carries_headers_that_forbid_inline_script_and_framing(house: House) -> None:
    headers = (await ask(store_app(house.parts()), "/")).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


async def test_the_messages_of_a_call_are_shown_as_they_were_said(house: House) -> None:
    page = (await ask(store_app(house.parts()), f"/ui/traces/{TRACE}/{7:016x}")).text
    assert "HAT101 at $311 is the cheapest with seats." in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "⟦ESC⟧[31mred" in page
    assert "abc⟦RLO⟧txt.exe" in page
    assert "hidden characters" in page
    assert "&#34;from&#34;: &#34;SFO&#34;" in page
    assert "&#34;price&#34;: 311" in page


async def test_unknown_cost_and_tokens_are_dashes(house: House) -> None:
    page = (await ask(store_app(house.parts()), f"/ui/traces/{TRACE}/{8:016x}")).text
    tokens = page[page.index("Tokens and cost") : page.index("Messages")]
    assert tokens.count("<dd>–") == 3
    assert "the call was not sent" in tokens
    assert "<dd>0" not in tokens


async def test_a_denied_call_shows_the_ruling_and_the_facts_it_read(house: House) -> None:
    page = (await ask(store_app(house.parts()), f"/ui/traces/{TRACE}/{8:016x}")).text
    assert "budget_exceeded" in page
    assert "500,000,000 ($0.5000)" in page
    assert "shadow" in page


async def test_the_ruling_that_stopped_a_call_is_read_before_its_timing(house: House) -> None:
    app = store_app(house.parts())
    stopped = (await ask(app, f"/ui/traces/{TRACE}/{8:016x}")).text
    assert stopped.index("budget_exceeded") < stopped.index("no_loop") < stopped.index("Duration")
    assert stopped.count("The session has used $0.50 of $0.50.") == 1


async def test_a_trace_opens_on_what_was_denied(house: House) -> None:
    page = (await ask(store_app(house.parts()), f"/ui/traces/{TRACE}")).text
    assert f'href="?span={8:016x}" aria-current="true"' in page
    assert "orphan" in page


async def test_a_list_says_what_was_asked_and_keeps_the_end_of_long_names(house: House) -> None:
    long = "suite.workspace.user_task_31.trial_2.some-model-2026-11-20"
    asked = "What is on my calendar?"
    root, call = f"{901:016x}", f"{902:016x}"
    who = Identity(session=long, agent="assistant")
    await house.record(
        agent(901, None, Operation.AGENT, 0, 50, trace_id="c" * 32, name="invoke_agent assistant", identity=who)
    )
    await house.call(902, [{"role": "user", "content": asked}], {"content": "Nothing."}, trace_id="c" * 32,
                     parent_id=root, identity=who, preview=f"{asked}\nNothing.")  # fmt: skip
    app = store_app(house.parts())
    page = (await ask(app, "/ui/traces")).text
    assert asked in page
    assert "suite.w….some-model-2026-11-20</a>" in page
    assert f'title="Session {long}"' in page
    opened = (await ask(app, f"/ui/traces/{'c' * 32}")).text
    assert f'href="?span={call}" aria-current="true"' in opened


async def test_a_trace_that_is_still_open_says_so(house: House) -> None:
    await house.record(agent(903, None, Operation.AGENT, 0, 50, trace_id="d" * 32, status="open", end_ns=None))
    app = store_app(house.parts())
    assert "1 span has not finished" in (await ask(app, f"/ui/traces/{'d' * 32}")).text
    assert "still open" in (await ask(app, "/ui/traces")).text


async def test_an_incident_answers_what_a_tired_person_asks(house: House) -> None:
    app = store_app(house.parts(reports={"incident": IncidentReport()}))
    page = (await ask(app, "/ui/incidents/inc_1")).text
    questions = ("What is wrong", "How bad", "Since when", "What changed", "Look first", "Next")
    places = [page.index(f"<dt>{question}</dt>") for question in questions]
    assert places == sorted(places)
    assert "used up 14.6 times as fast as the objective allows" in page
    assert "alert at 14.4 x" in page
    assert "invoke_agent planner" in page[places[4] : places[5]]
    assert "Acknowledge it, so that nobody else" in page[places[5] :]


async def test_since_when_is_said_as_the_report_found_it(house: House) -> None:
    finding = Finding(
        finding_id="fnd_9", monitor="slo", version="1", subject="slo:outcome", at_ns=NOW_NS, severity="page",
        window_start_ns=NOW_NS - 3_600_000 * MS, window_end_ns=NOW_NS, sentence="Half were bad.",
        estimate=Estimate(value=5, low=3, high=7, n=60, method="burn rate, Wilson score", unit="x"),
        evidence={"signal": "result", "objective": 0.9, "good_at_least": 1.0, "burn_limit": 1.5},
    )  # fmt: skip
    judged = [
        Score(score_id=f"r{i}", subject_kind="session", subject_id=f"r{i}", name="result", session=f"r{i}",
              at_ns=NOW_NS, event_ns=NOW_NS - (120 - i) * 10_000 * MS, value=float(i < 60))
        for i in range(120)
    ]  # fmt: skip
    incident = Incident(
        incident_id="inc_9", title="x", subject="slo:outcome", severity="page", status="open", opened_ns=NOW_NS,
        at_ns=NOW_NS, findings=("fnd_9",),
    )  # fmt: skip
    await house.record(finding, *judged, incident)
    page = (await ask(store_app(house.parts(reports={"incident": IncidentReport()})), "/ui/incidents/inc_9")).text
    assert "Surely more bad than allowed since" in page
    assert "allowed: 10" in page
    assert "not resolved" not in page


async def test_many_new_compositions_are_folded(house: House) -> None:
    changes = tuple(
        Entry(at_ns=NOW_NS - i, kind="manifest", text=f"New composition {i:08x}: model m; 3 calls.") for i in range(8)
    )
    more = Entry(at_ns=NOW_NS, kind="manifest", text="40 more new compositions with fewer calls are not listed.")
    await house.record(
        Incident(
            incident_id="inc_2", title="x", subject="s", severity="note", status="open", opened_ns=NOW_NS,
            at_ns=NOW_NS, timeline=(*changes, more),
        )
    )  # fmt: skip
    page = (await ask(store_app(house.parts()), "/ui/incidents/inc_2")).text
    assert "and 43 more new compositions, see the timeline" in page
    assert "and 6 more: 6 new compositions" in page


async def test_a_mistaken_filter_is_named_and_left_out(house: House) -> None:
    page = (await ask(store_app(house.parts()), "/ui/traces?attribute=zzz")).text
    assert 'role="alert"' in page
    assert "zzz" in page
    assert "invoke_agent planner" in page


async def test_filters_narrow_the_list(house: House) -> None:
    app = store_app(house.parts())
    assert "invoke_agent planner" in (await ask(app, "/ui/traces?session=session-42")).text
    assert "order 1003" not in (await ask(app, "/ui/traces?session=session-42")).text
    assert "order 1003" in (await ask(app, "/ui/traces?text=order+1003")).text
    assert "No trace matches" in (await ask(app, "/ui/traces?model=nobody")).text
    assert "invoke_agent planner" in (await ask(app, "/ui/traces?attribute=team%3Dsearch")).text


async def test_a_newcomer_is_told_what_to_do(empty_house: House) -> None:
    app = store_app(empty_house.parts())
    page = (await ask(app, "/")).text
    assert "http://127.0.0.1:8787/v1" in page
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in page
    assert "No incidents" in (await ask(app, "/ui/incidents")).text
    assert "No decisions yet" in (await ask(app, "/ui/decisions")).text
    assert "Nothing was lost" in (await ask(app, "/ui/drops")).text


async def test_what_is_not_there_is_said_in_a_page(house: House) -> None:
    app = store_app(house.parts())
    for path in ("/nowhere", "/ui/traces/ffff", "/ui/incidents/inc_9", "/ui/incidents/inc_1/report"):
        got = await ask(app, path, headers={"accept": "text/html"})
        assert got.status == 404
        assert "Go to traces" in got.text


async def test_a_form_without_its_token_changes_nothing(house: House) -> None:
    app = store_app(house.parts())
    for body in (b"", b"csrf=wrong", b"note=x"):
        assert (await ask(app, "/ui/incidents/inc_1/acknowledge", "POST", FORM, body)).status == 403
    without = {"content-type": FORM["content-type"]}
    assert (await ask(app, "/ui/incidents/inc_1/acknowledge", "POST", without, b"csrf=")).status == 403
    assert "incident open" in (await ask(app, "/ui/incidents/inc_1")).text


async def test_an_incident_is_acknowledged_noted_resolved_and_exported_from_its_page(house: House) -> None:
    app = store_app(house.parts())
    got = await ask(app, "/ui/incidents/inc_1/acknowledge", "POST", FORM, b"csrf=right&note=%3Cb%3Elooking")
    assert got.status == 303
    assert got.headers["location"] == "/ui/incidents/inc_1?done=acknowledge"
    page = (await ask(app, got.headers["location"])).text
    assert "incident acknowledged" in page
    assert "&lt;b&gt;looking" in page
    assert (await ask(app, "/ui/incidents/inc_1/note", "POST", FORM, b"csrf=right&note=")).status == 409
    assert (await ask(app, "/ui/incidents/inc_1/cases", "POST", FORM, b"csrf=right")).status == 303
    assert (await ask(app, "/ui/incidents/inc_1/resolve", "POST", FORM, b"csrf=right")).status == 303
    assert (await ask(app, "/ui/incidents/inc_1/resolve", "POST", FORM, b"csrf=right")).status == 409
    assert (await ask(app, "/ui/incidents/inc_9/resolve", "POST", FORM, b"csrf=right")).status == 404


async def test_a_payload_that_is_gone_is_said_and_the_page_stays(house: House, tmp_path: object) -> None:
    house.vault.close()
    for segment in (house.journal._folder).glob("*.wkj"):
        segment.unlink()
    got = await ask(store_app(house.parts()), f"/ui/traces/{TRACE}/{7:016x}")
    assert got.status == 200
    assert "cannot be read from the journal" in got.text
    assert "lab-large-2" in got.text


def test_the_scene_holds_what_these_tests_look_for() -> None:
    assert "\u202e" in EVIL
    assert "\x1b" in EVIL
