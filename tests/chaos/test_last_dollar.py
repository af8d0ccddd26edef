"""Several gateway processes on one ledger: caps hold in a race, under kill -9 and while PostgreSQL is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import postgres
from watchkeeper.lab.overspend import Plan, Verdict, fire, upstream
from watchkeeper.lab.processes import kill
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.door]

CAP = 0.25


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    """A real PostgreSQL server."""
    with postgres.running() as server:
        yield server


def two(stack: ExitStack, folder: Path, lab: LabServer, dsn: str, budget: str) -> list[Watch]:
    """Two servers, each with its own journal, on one ledger."""
    policy = f'\n[[policies]]\nuse = "budget"\nwith = {{ per = "organisation", usd = {CAP}, {budget} }}\n'
    settings = 'cells = "env:TEST_CELLS"\n' + lab_settings(lab.base_url) + policy
    environment = {"TEST_CELLS": dsn}
    return [stack.enter_context(Watch(folder / name, settings, environment=environment)) for name in ("one", "two")]


def together(both: list[Watch], lab: LabServer, calls: int = 200) -> list[Verdict]:
    """Fire at both at once. Each verdict is about all that the upstream saw in that time."""

    async def at_both() -> list[Verdict]:
        plans = [Plan(target=each.base_url, cap_usd=CAP, calls=calls, concurrency=calls, sessions=7) for each in both]
        return await asyncio.gather(*(fire(plan, lab) for plan in plans))

    return asyncio.run(at_both())


def spent(lab: LabServer) -> float:
    """What the provider would bill for everything so far."""
    return sum(
        ((call.prompt_tokens or 0) * 10.0 + (call.completion_tokens or 0) * 40.0) / 1e6
        for call in lab.calls
        if call.status == 200
    )


@pytest.mark.parametrize("budget", ['meter_name = "exact"', 'meter_name = "sliced", slice_usd = 0.03'])
def test_four_hundred_calls_at_two_gateways_on_postgres_do_not_spend_more_than_the_cap(
    tmp_path: Path, database: postgres.Server, budget: str
) -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(upstream())
        both = two(stack, tmp_path, lab, database.dsn, budget)
        for _ in range(5):
            verdicts = together(both, lab)
            assert "overspent" not in {each.verdict for each in verdicts}, verdicts
            if spent(lab) > CAP / 2:
                break  # on a busy machine a ledger that is late refuses calls, as it should
        assert CAP / 2 < spent(lab) <= CAP

        killed = both[0]
        kill([killed.gateway_pid()])
        killed.wait_ready()
        together(both, lab, 40)
        assert spent(lab) <= CAP


def test_a_killed_gateway_leaves_its_calls_charged_until_the_record_or_the_owner_says_what_they_used(
    tmp_path: Path, database: postgres.Server
) -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(upstream())
        one, two_ = two(stack, tmp_path, lab, database.dsn, 'meter_name = "left"')
        firing = threading.Thread(target=together, args=([one], lab, 15))
        firing.start()
        deadline = time.monotonic() + 20
        while not lab.calls and time.monotonic() < deadline:
            time.sleep(0.01)
        kill([one.gateway_pid()])
        firing.join()
        one.wait_ready()
        left = two_.cli("budget", "list")["open"]
        assert left and all(each["note"] is None for each in left)
        kept = one.cli("budget", "reconcile", "--older", "0s")
        assert kept == {"settled": 0, "released": 0, "kept": len(left)}
        for each in left[:-1]:
            two_.cli("budget", "reconcile", "--span", each["span"], "--unsent")
        two_.cli("budget", "reconcile", "--span", left[-1]["span"], "--usd", "0.01", "--tokens", "5")
        (item,) = [each for each in two_.cli("budget", "list")["items"] if each["book"] == "left"]
        assert (item["held"], item["reserved"]) == (0.01, 0)
        acts = [each["act"] for each in two_.get("/api/v1/audits")["items"]]
        assert acts.count("budget.reconciled") == len(left)


def test_without_postgres_slices_are_spent_and_then_calls_are_refused(
    tmp_path: Path, database: postgres.Server
) -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(upstream())
        one, _ = two(stack, tmp_path, lab, database.dsn, 'meter_name = "gone", slice_usd = 0.05')
        asyncio.run(fire(Plan(target=one.base_url, cap_usd=CAP, calls=1, concurrency=1), lab))
        database.stop("immediate")
        try:
            verdict = asyncio.run(fire(Plan(target=one.base_url, cap_usd=CAP, calls=15, concurrency=15), lab))
        finally:
            database.start()
        assert 0 < verdict.answered < 15 and verdict.refused == {"403": 15 - verdict.answered}
        assert spent(lab) <= 0.05
