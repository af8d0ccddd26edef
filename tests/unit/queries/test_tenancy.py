"""Whatever is asked, no row of another tenant is in the answer, counted in it, or joined to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.reading import NOW, LogReader
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.compose.bounding import BoundReader, bound_to
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.explorer import Costs, Traces
from watchkeeper.queries.operations import Overview
from watchkeeper.queries.registry import QUESTIONS, parameters, question_from
from watchkeeper.queries.select import Select
from watchkeeper.queries.tables import SHAPES
from watchkeeper.queries.tenancy import within
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.audit import Audit
from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.effect import Effect
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.incident import Incident
from watchkeeper.records.job import Check, Job
from watchkeeper.records.logged import Logged
from watchkeeper.records.manifest import compose_manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.source import Source
from watchkeeper.records.span import Cost, Span, Usage

S = 1_000_000_000
SHARED = "shared-session"


def story(tenant: str, number: int) -> list[Record]:
    """What a house records of one tenant, each text with its name in it; sessions are called alike on purpose."""
    mark, at = f"of-{tenant}", NOW - number * S
    who = Identity(tenant=tenant, user=f"user-{mark}", session=SHARED, run=f"run-{mark}", agent=f"agent-{mark}")
    trace, span = f"{number:032x}", f"{number:016x}"
    manifest = compose_manifest({"model": f"model-{mark}"}, at)
    calls: list[Record] = [
        Span(
            trace_id=trace, span_id=f"{number * 100 + n:016x}", start_ns=at, end_ns=at + S, name=f"chat {mark}",
            operation="chat", status="ok", identity=who, request_model=f"model-{mark}", revision=1,
            usage=Usage(input_tokens=7919 * number, output_tokens=7), cost=Cost(usd=float(number), source="t"),
            preview=f"preview {mark}", service=f"service-{mark}", manifest=manifest.digest, first_token_ns=5,
            attributes={"note": mark}, tool=f"tool-{mark}",
        )
        for n in range(3)
    ]  # fmt: skip
    return [
        *calls, manifest,
        Decision(verdict="deny", reason=f"reason-{mark}", sentence=mark, decision_id=f"dec-{mark}", policy="budget",
                 at_ns=at, trace_id=trace, span_id=span, identity=who, stage="request"),
        Score(score_id=f"sco-{mark}", subject_kind="session", subject_id=SHARED, name="outcome", at_ns=at, event_ns=at,
              value=1.0, session=SHARED, trace_id=trace, explanation=mark,
              attributes={"watchkeeper.tenant": tenant}),
        Source(source_id=f"src-{mark}", trace_id=trace, document="handbook", at_ns=at, query=mark, identity=who,
               status="entered", seen="exact"),
        Effect(effect_id=f"eff-{number}", key=mark, tool=f"tool-{mark}", at_ns=at, status="done", identity=who),
        Job(job_id=f"job-{number}", kind=mark, at_ns=at, status="ended", outcome="failed", message=mark, identity=who,
            trace_id=trace, submitted_ns=at, checks=(Check(name=mark, held=False, explanation=mark),)),
        Logged(log_id=f"log-{mark}", at_ns=at, name=mark, trace_id=trace, span_id=span, identity=who, preview=mark),
        Session(session_id=SHARED, at_ns=at, user=f"user-{mark}", name=mark),
        Audit(audit_id=f"aud-{mark}", at_ns=at, act="document.withdrawn", actor=mark, subject="document:handbook"),
        Case(case_id=f"case-{mark}", dataset="d", messages=mark, at_ns=at),
        Drop(what="span", reason=mark, count=1, first_ns=at, last_ns=at),
        Experiment(experiment_id=f"exp-{mark}", suite=mark, target="t", at_ns=at),
        Finding(finding_id=f"fnd-{mark}", monitor="m", version="1", subject="slo:x", at_ns=at, window_start_ns=0,
                window_end_ns=at, severity="note", sentence=mark,
                estimate=Estimate(value=1, low=0, high=2, n=3, method="m")),
        Incident(incident_id=f"inc-{mark}", title=mark, subject="slo:x", severity="note", status="open", opened_ns=at,
                 at_ns=at),
    ]  # fmt: skip


ASKED: dict[str, Any] = {
    "trace_id": f"{2:032x}", "document": "handbook", "ids": f"{1:032x},{2:032x},fnd-of-bank,{SHARED}",
    "subject": "slo:x", "text": "of-bank", "run": "run-of-bank",
}  # fmt: skip


@pytest.fixture(params=["memory", "duckdb"])
async def reader(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    log: Log = MemoryLog() if request.param == "memory" else DuckDBLog.open(tmp_path / "index.duckdb")
    inner = LogReader(log)
    await inner.add([*story("shop", 1), *story("bank", 2)])
    yield BoundReader(inner)
    await log.close()


def plain(answer: object) -> str:
    return repr(msgspec.to_builtins(answer, enc_hook=repr)) if answer is not None else ""


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(QUESTIONS))
async def test_no_registered_question_answers_with_rows_of_another_tenant(reader: BoundReader, name: str) -> None:
    given = {each.name: ASKED.get(each.name, "x") for each in parameters(QUESTIONS[name]) if each.required}
    # Also with every optional id that names the other tenant's things.
    optional = {n: v for n, v in ASKED.items() if n in {p.name for p in parameters(QUESTIONS[name])}}
    for values in ({**given, **optional}, given):
        if values is given and name == "body_rate":
            continue
        question = question_from(name, values, NOW)
        whole = plain(await reader.ask(question))
        with bound_to("shop"):
            mine = plain(await reader.ask(question))
        assert "of-bank" not in mine, name
        assert "15838" not in mine and "47514" not in mine, name
        assert whole or mine == whole


@pytest.mark.anyio
async def test_a_tenant_still_sees_what_is_its_own(reader: BoundReader) -> None:
    with bound_to("shop"):
        assert [row["preview"] for row in (await reader.ask(Traces())).items] == ["preview of-shop"]
        (row,) = (await reader.ask(Overview())).items
        assert (row["calls"], row["input_tokens"], row["sessions"]) == (3, 23757, 1)
        (costs,) = (await reader.ask(Costs(by="tenant"))).items
        assert costs["cost_usd"] == 3.0
        scores = (await reader.ask(question_from("scores", {}, NOW))).items
        assert [each["explanation"] for each in scores] == ["of-shop"]
        manifests = await reader.ask(question_from("manifests", {}, NOW))
        assert "model-of-shop" in repr(manifests)
    assert len((await reader.ask(Traces())).items) == 2


@pytest.mark.anyio
async def test_every_table_is_narrowed_or_closed(reader: BoundReader) -> None:
    for table in SHAPES:
        with bound_to("shop"):
            rows = await reader.select(Select(table=table, since_ns=0, until_ns=FAR_NS))
        assert b"of-bank" not in b"".join(bytes(row[0]) for row in rows.rows), table  # type: ignore[call-overload]


def test_a_question_within_a_tenant_is_narrowed_in_its_joins_too() -> None:
    plan = within(Traces(min_cost=1.0).select(), "shop")
    seen = repr(plan).count("value='shop'")
    assert seen == repr(plan).count("Select(")


@pytest.mark.anyio
async def test_a_tenant_of_no_rows_sees_nothing(reader: BoundReader) -> None:
    for tenant in ("", "SHOP", "shop ", "%", "shop' OR '1'='1"):
        with bound_to(tenant):
            assert (await reader.ask(Traces())).items == ()


@pytest.mark.anyio
async def test_tenants_whose_names_read_as_one_number_are_two(reader: BoundReader) -> None:
    inner = reader._inner
    assert isinstance(inner, LogReader)
    await inner.add([*story("1", 3), *story("1.0", 4)])
    for tenant in ("1", "1.0", "01"):
        with bound_to(tenant):
            scores = (await reader.ask(question_from("scores", {}, NOW))).items
            assert [each["explanation"] for each in scores] == ([f"of-{tenant}"] if tenant != "01" else [])
