"""Stopped runs on the page of decisions: an operator lets one go on there, a viewer reads the command."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.unit.server.asgi_client import Got, ask
from tests.unit.server.scene import NOW_NS, House
from watchkeeper.records.audit import Audit
from watchkeeper.records.decision import Decision
from watchkeeper.records.identity import Identity
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
TOKEN = "the-visitors-token"
EVIL = "<script>alert(1)</script>"
OPERATOR = {
    "content-type": "application/x-www-form-urlencoded", "x-watchkeeper-actor": "person:mia",
    "x-watchkeeper-role": "operator", "x-watchkeeper-form-token": TOKEN,
}  # fmt: skip


class Desk:
    """Notes whom it let go on."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, str]] = []

    async def resume(self, run: str, tenant: str, actor: str) -> int:
        """Let a run go on."""
        if run == "unknown":
            raise LookupError("Nothing is known of it.")
        self.done.append((run, tenant, actor))
        return 3


def denied(run: str, policy: str = "loop", **more: str) -> Decision:
    return Decision(
        decision_id=f"dec_{run}_{policy}", policy=policy, version="2", verdict="deny", reason="loop_repeat",
        sentence=f"Run {run} goes round.", at_ns=NOW_NS - 1_000, identity=Identity(run=run), **more,
    )  # fmt: skip


async def post(house: House, desk: Desk, role: str = "operator", csrf: str = TOKEN, run: str = "run a") -> Got:
    headers = {**OPERATOR, "x-watchkeeper-role": role}
    body = urlencode({"csrf": csrf, "run": run, "tenant": "default"}).encode()
    return await ask(store_app(house.parts(runs=desk)), "/ui/runs/resume", "POST", headers, body)


async def test_an_operator_has_a_button_and_a_viewer_the_command(house: House) -> None:
    await house.record(denied(f"run {EVIL}"))
    app = store_app(house.parts(runs=Desk()))
    page = (await ask(app, "/ui/decisions", headers=OPERATOR)).text
    assert "Stopped runs" in page
    assert "Let it go on" in page
    assert EVIL not in page
    page = (await ask(app, "/ui/decisions", headers={**OPERATOR, "x-watchkeeper-role": "viewer"})).text
    assert "Let it go on</button>" not in page
    assert "watchkeeper runs resume" in page


async def test_what_a_budget_stopped_leads_to_the_budgets(house: House) -> None:
    await house.record(denied("run-rich", policy="budget"))
    page = (await ask(store_app(house.parts(runs=Desk())), "/ui/decisions?run=run-rich", headers=OPERATOR)).text
    row = page[page.index("Run run-rich goes round.") :]
    assert "watchkeeper budget raise" in row[:400]
    assert "Let it go on</button>" not in row[:400]


async def test_a_run_goes_on_and_the_page_says_who_said_so(house: House) -> None:
    await house.record(denied("run a"))
    desk = Desk()
    got = await post(house, desk)
    assert (got.status, got.headers["location"]) == (303, "/ui/decisions?resumed=run+a")
    assert desk.done == [("run a", "default", "person:mia")]
    await house.record(
        Audit(audit_id="aud_1", at_ns=NOW_NS, act="run.resumed", actor="person:mia", subject="run:run a",
              detail='{"tenant":"default","steps":3}')
    )  # fmt: skip
    page = (await ask(store_app(house.parts(runs=desk)), "/ui/decisions?resumed=run+a", headers=OPERATOR)).text
    assert "Run run a may go on" in page
    assert "let go on by person:mia" in page


async def test_an_act_for_another_tenant_lets_nobody_go_on(house: House) -> None:
    await house.record(
        denied("run a"),
        Audit(audit_id="aud_1", at_ns=NOW_NS, act="run.resumed", actor="x", subject="run:run a",
              detail='{"tenant":"shop","steps":3}'),
    )  # fmt: skip
    assert "let go on by" not in (await ask(store_app(house.parts(runs=Desk())), "/ui/decisions")).text


@pytest.mark.parametrize(("role", "csrf", "run", "status"), [
    ("viewer", TOKEN, "run a", 403), ("operator", "old", "run a", 403), ("operator", TOKEN, "unknown", 404),
])  # fmt: skip
async def test_who_may_not_or_names_nothing_changes_nothing(
    house: House, role: str, csrf: str, run: str, status: int
) -> None:
    desk = Desk()
    assert (await post(house, desk, role, csrf, run)).status == status
    assert desk.done == []
