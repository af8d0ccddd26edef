"""Erasing somebody from a whole data directory: nothing is left in any file, and nobody else loses anything."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.planted import found_in
from watchkeeper.adapters.formats.otlp_wire import stamp
from watchkeeper.compose import erasing as module
from watchkeeper.compose.asking import cache_of
from watchkeeper.compose.erasing import WrongRequest
from watchkeeper.compose.keeping import pseudonyms_of
from watchkeeper.compose.redacting import tokens_of
from watchkeeper.compose.store import StoreHouse, rebuild_index
from watchkeeper.config import Config, Recording, Server
from watchkeeper.engines.recorder.belonging import Whose
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.kinds.ports import Completion, Put
from watchkeeper.queries.explorer import Costs, Spans, Trace
from watchkeeper.queries.proof import Erasures
from watchkeeper.queries.tables import record_of
from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.span import Cost, Origin, Span, Usage

SECRET = "XYZZY-PLANTED-4711"
ALICE, BOB = "alice@example.org", "bob@example.org"
HOUR = 3_600_000_000_000
NOW = 1_760_000_000_000_000_000


def chat(text: str) -> bytes:
    messages = [{"role": "system", "content": "Be kind. " * 80}, {"role": "user", "content": text}]
    return json.dumps({"model": "gpt-4o", "messages": messages}).encode()


def call(journal: Journal, number: int, user: str | None, text: str, session: str | None = None) -> Span:
    """A gateway call as it is recorded: started, then finished with its reply."""
    identity = Identity(user=user, session=session, tenant="acme")
    made: list[Span] = []

    def finished(bodies: Any) -> list[Span]:
        made.append(
            Span(
                trace_id=f"{number:032x}", span_id=f"{number:016x}", start_ns=NOW + number, end_ns=NOW + number + 5,
                name="chat gpt-4o", operation="chat", status="ok", revision=1, identity=identity, bodies=bodies,
                provider="openai", request_model="gpt-4o", usage=Usage(input_tokens=10, output_tokens=5),
                cost=Cost(usd=0.25, source="test"), preview=text[:40], attributes={"note": text[:40]},
            )
        )  # fmt: skip
        started = Span(
            trace_id=f"{number:032x}", span_id=f"{number:016x}", start_ns=NOW + number, name="chat gpt-4o",
            operation="chat", status="open", identity=identity, bodies=bodies[:1], preview=text[:40],
        )  # fmt: skip
        return [started, made[0]]

    owner = identity.owner
    reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": f"You said {text}"}}]}).encode()
    journal.write(
        [(chat(text), "request", "application/json", owner), (reply, "reply", "application/json", owner)], finished
    )
    return made[0]


def export(*spans: tuple[int, str, str, str]) -> bytes:
    """An OTLP export of spans given as (number, trace, user or "", text)."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, trace, user, text in spans:
        span = scope.spans.add(
            trace_id=bytes.fromhex(trace), span_id=number.to_bytes(8, "big"), name=f"chat {text}",
            start_time_unix_nano=NOW + number, end_time_unix_nano=NOW + number + 5,
        )  # fmt: skip
        values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
        if user:
            values["user.id"] = user
        values["gen_ai.input.messages"] = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        for key, value in values.items():
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 100
    return stamp(request.SerializeToString(), NOW, Identity(tenant="acme"))


TRACE_A, TRACE_B = "aa" * 16, "bb" * 16


def fill(journal: Journal) -> None:
    """Two people's work, mixed in every way in which it can be."""
    call(journal, 1, ALICE, f"my secret is {SECRET}", session="s-alice")
    call(journal, 2, BOB, "bob's own words", session="s-bob")
    call(journal, 3, ALICE, f"again {SECRET} " + "and much more " * 600, session="s-alice")
    call(journal, 4, None, f"no user named, same session {SECRET}", session="s-alice")
    payload = export(
        (10, TRACE_A, ALICE, SECRET), (11, TRACE_A, "", f"tool {SECRET}"), (12, TRACE_B, BOB, "bob in otlp")
    )
    journal.append_raw(FrameKind.OTLP, payload)
    journal.append_raw(FrameKind.OTLP, export((20, "cc" * 16, ALICE, SECRET)))
    for trace, text in ((f"{1:032x}", SECRET), (f"{2:032x}", "fine")):
        journal.append(
            Score(
                score_id=f"sc{trace[-1]}", subject_kind="trace", subject_id=trace, name="quality", at_ns=NOW,
                event_ns=NOW, value=0.5, label=text, explanation=f"it said {text}", trace_id=trace,
            )
        )  # fmt: skip
    journal.append(
        Decision(
            verdict="deny", reason="budget_exceeded", sentence=f"The cap for user {ALICE} is reached: {SECRET}",
            decision_id="d1", at_ns=NOW, trace_id=f"{1:032x}", identity=Identity(user=ALICE, tenant="acme"),
        )
    )  # fmt: skip
    journal.append(Session(session_id="s-alice", at_ns=NOW, user=ALICE, name=f"chat about {SECRET}"))
    journal.append(
        Case(case_id=f"inc/{1:032x}", dataset="incident:inc", messages=json.dumps([SECRET]), at_ns=NOW,
             attributes={"trace_id": f"{1:032x}"})
    )  # fmt: skip


def house_of(folder: Path, **recording: Any) -> StoreHouse:
    config = Config(server=Server(data=str(folder)), recording=Recording(**recording))
    return StoreHouse(config, Home(folder))


@pytest.fixture(params=["none", "subject"])
async def house(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoreHouse]:
    monkeypatch.setenv("MASTER", "ab" * 32)
    settings = {"encryption": request.param, "master_key": "env:MASTER"} if request.param == "subject" else {}
    opened = house_of(tmp_path / "data", **settings)
    journal = Journal(opened.home.journal, "gateway", opened.home.secret("chunks"), subjects=opened.subjects)
    fill(journal)
    journal.close()
    await opened.open()
    yield opened
    with contextlib.suppress(Exception):  # a test may have stopped it already
        await opened.stop()


async def rows(house: StoreHouse) -> dict[str, dict[str, Any]]:
    answer = await house.reader.ask(Spans(limit=1000))
    return {item["span_id"]: dict(item) for item in answer.items}


async def origin_of(house: StoreHouse, trace_id: str, span_id: str) -> Origin:
    for row in (await house.reader.select(Trace(trace_id=trace_id).select())).dicts():
        span = record_of("spans", row)
        if isinstance(span, Span) and span.span_id == span_id:
            return span.origin
    raise AssertionError(f"span {span_id} is not in the index")


async def costs(house: StoreHouse) -> Any:
    return (await house.reader.ask(Costs(by="model"))).items


@pytest.mark.anyio
async def test_after_it_the_secret_is_in_no_file_and_the_journal_holds(house: StoreHouse) -> None:
    folder = house.home.path
    await house.cells.apply([Put(key=f"meter/scope/user/acme/={ALICE}/2026-01", value=b"7")])
    before, spent = await rows(house), await costs(house)
    assert found_in(folder, SECRET, ALICE) or house.subjects.sealing
    done = await house.eraser.erase(Whose(user=ALICE), "owner")
    assert found_in(folder, SECRET, ALICE) == []
    proof = prove(house.home.journal)
    assert proof.holds, [each.problems for each in proof.writers]
    assert [(e.reason, e.actor, e.subject) for e in proof.erasures] == [("subject", "owner", done["pseudonym"])]
    after = await rows(house)
    assert {k: (r["input_tokens"], r["cost_usd"], r["start_ns"]) for k, r in before.items()} == {
        k: (r["input_tokens"], r["cost_usd"], r["start_ns"]) for k, r in after.items()
    }
    assert await costs(house) == spent
    assert {r["user"] for r in after.values()} == {done["pseudonym"], BOB, None}
    listed = (await house.reader.ask(Erasures())).items
    assert [(each["subject"], each["frames"]) for each in listed] == [(done["pseudonym"], done["frames"])]


@pytest.mark.anyio
async def test_the_kept_answers_of_evals_go_along_whoever_they_are_about(house: StoreHouse) -> None:
    kept = cache_of(house.home.path)
    kept.put("a", Completion(
        output=SECRET, calls=None, finish_reason="stop", model="m", input_tokens=1, output_tokens=1, duration_ns=1,
    ))  # fmt: skip
    done = await house.eraser.erase(Whose(user=ALICE), "owner")
    assert done["eval_answers"] == 1 and kept.get("a") is None
    kept.close()
    assert found_in(house.home.path, SECRET, ALICE) == []


@pytest.mark.anyio
async def test_nobody_else_loses_anything(house: StoreHouse) -> None:
    before = await rows(house)
    await house.eraser.erase(Whose(user=ALICE), "owner")
    after = await rows(house)
    gateway, otlp = f"{2:016x}", f"{12:016x}"
    for span_id in (gateway, otlp):
        assert {**after[span_id], "origin": 0} == {**before[span_id], "origin": 0}
    whole = house.vault.span(await origin_of(house, f"{2:032x}", gateway))
    assert house.vault.body(whole.bodies[0]) == chat("bob's own words")
    exported = house.vault.span(await origin_of(house, TRACE_B, otlp))
    assert exported.name == "chat bob in otlp"


@pytest.mark.anyio
async def test_an_index_made_anew_answers_the_same(house: StoreHouse) -> None:
    await house.eraser.erase(Whose(user=ALICE, tenant="acme"), "owner")
    before, spent = await rows(house), await costs(house)
    await house.stop()
    await rebuild_index(house.config, house.home, lambda _: None)
    again = StoreHouse(house.config, house.home)
    await again.open()
    after = await rows(again)
    hidden = ("origin_writer", "origin_segment", "origin_offset", "origin_item")
    assert {k: {n: v for n, v in r.items() if n not in hidden} for k, r in after.items()} == {
        k: {n: v for n, v in r.items() if n not in hidden} for k, r in before.items()
    }
    assert await costs(again) == spent
    assert found_in(house.home.path, SECRET, ALICE) == []
    await again.stop()


@pytest.mark.anyio
async def test_a_second_time_there_is_nothing_left_to_erase(house: StoreHouse) -> None:
    await house.eraser.erase(Whose(user=ALICE), "owner")
    again = await house.eraser.erase(Whose(user=ALICE), "owner")
    assert (again["frames"], again["erasure_id"]) == (0, None)


@pytest.mark.anyio
async def test_a_dry_run_changes_nothing(house: StoreHouse) -> None:
    before = {path: path.read_bytes() for path in house.home.journal.rglob("*.wkj")}
    found = await house.eraser.erase(Whose(user=ALICE), "owner", dry_run=True)
    assert found["found"]["spans"] >= 8 and found["found"]["exports_rewritten"] == 1
    assert {path: path.read_bytes() for path in house.home.journal.rglob("*.wkj")} == before


@pytest.mark.anyio
async def test_a_session_goes_and_what_others_sent_too_stays(house: StoreHouse) -> None:
    journal = Journal(house.home.journal, "gateway", house.home.secret("chunks"), subjects=house.subjects)
    first = call(journal, 31, None, "FIRST-ONLY words", session="one")
    second = call(journal, 32, None, "SECOND-ONLY words", session="two")
    journal.close()
    shared = {a.digest for a in first.bodies[0].chunks} & {a.digest for a in second.bodies[0].chunks}
    done = await house.eraser.erase(Whose(session="one"), "owner")
    assert found_in(house.home.path, "FIRST-ONLY") == []
    assert house.vault.body(second.bodies[0]) == chat("SECOND-ONLY words")
    assert done["found"]["shared_kept"] == len(shared)
    assert prove(house.home.journal).holds


@pytest.mark.anyio
async def test_tenants_are_apart_even_where_their_users_have_one_name(house: StoreHouse) -> None:
    journal = Journal(house.home.journal, "gateway", house.home.secret("chunks"), subjects=house.subjects)
    bodies = {
        tenant: journal.put(b"the very same bytes", "reply", owner=Identity(tenant=tenant, user="sam").owner)
        for tenant in ("acme", "globex")
    }
    for number, tenant in enumerate(bodies):
        journal.append(
            Span(trace_id=f"{50 + number:032x}", span_id=f"{50 + number:016x}", start_ns=NOW, name="chat",
                 identity=Identity(tenant=tenant, user="sam"), bodies=(bodies[tenant],))
        )  # fmt: skip
    journal.close()
    assert bodies["acme"].chunks[0].digest != bodies["globex"].chunks[0].digest
    keys = [house.subjects.of(Identity(tenant=tenant, user="sam").owner) for tenant in bodies]
    assert keys[0].tag != keys[1].tag and keys[0].address_key != keys[1].address_key
    assert keys[0].data_key is None or keys[0].data_key != keys[1].data_key
    await house.eraser.erase(Whose(user="sam", tenant="acme"), "owner")
    assert house.vault.body(bodies["globex"]) == b"the very same bytes"
    with pytest.raises(KeyError):
        house.vault.body(bodies["acme"])


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", [Whose(), Whose(user="a", trace="b"), Whose(session="s", tenant="t")])
async def test_a_request_that_names_nothing_or_too_much_is_refused(house: StoreHouse, wrong: Whose) -> None:
    with pytest.raises(WrongRequest, match="name"):
        await house.eraser.erase(wrong, "owner")


@pytest.mark.anyio
async def test_a_finding_that_mentions_the_user_mentions_a_pseudonym(house: StoreHouse) -> None:
    from watchkeeper.records.estimate import Estimate

    estimate = Estimate(value=1.0, low=0.0, high=2.0, n=3, method="test")
    house.record(
        Finding(finding_id="f1", monitor="m", version="1", subject=f"user={ALICE}", at_ns=NOW, window_start_ns=0,
                window_end_ns=NOW, severity="low", sentence=f"{ALICE} spends more.", estimate=estimate)
    )  # fmt: skip
    done = await house.eraser.erase(Whose(user=ALICE), "owner")
    assert found_in(house.home.path, ALICE) == []
    assert done["found"]["mentions"] == 1


class Died(BaseException):
    """The process is gone."""


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["remove", "write", "destroy", "erase", "compact"])
async def test_an_erasure_that_died_at_any_step_is_ended_at_the_next_start(
    house: StoreHouse, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def dying(*_: Any, **__: Any) -> Any:
        raise Died

    with monkeypatch.context() as patch:
        target: Any
        target, name = {
            "remove": (house.log, "remove"),
            "write": (module, "_write_anew"),
            "destroy": (house.subjects, "destroy"),
            "erase": (module, "erase"),
            "compact": (house.log, "compact"),
        }[step]
        patch.setattr(target, name, dying)
        with pytest.raises(Died):
            await house.eraser.erase(Whose(user=ALICE), "owner")
    assert house.eraser.unfinished() == 1
    await house.stop()
    again = StoreHouse(house.config, house.home)
    await again.open()
    assert again.eraser.unfinished() == 0
    assert found_in(house.home.path, SECRET, ALICE) == []
    problems = [each.problems for each in prove(house.home.journal).writers]
    await again.stop()
    assert problems == [(), ()]


@pytest.mark.anyio
async def test_a_user_is_found_by_name_under_a_rules_token_and_under_a_pseudonym(tmp_path: Path) -> None:
    rule = RuleSpec(name="who", fields=("user",), action="token")
    config = Config(server=Server(data=str(tmp_path / "data")), redactions=(rule,))
    house = StoreHouse(config, Home(tmp_path / "data"))
    (token,) = tokens_of(config, house.home)("acme", ALICE)
    pseudonym = pseudonyms_of(config, house.home).of(ALICE)
    journal = Journal(house.home.journal, "gateway", house.home.secret("chunks"))
    call(journal, 1, token, f"under a token {SECRET}")
    call(journal, 2, pseudonym, f"under a pseudonym {SECRET}")
    call(journal, 3, BOB, "bob's own words")
    journal.append(Session(session_id="s-9", at_ns=NOW, user=pseudonym))
    journal.close()
    await house.open()
    try:
        found = await house.eraser.erase(Whose(user=ALICE), "owner", dry_run=True)
        assert (found["found"]["spans"], found["found"]["sessions"]) == (4, 1)
        done = await house.eraser.erase(Whose(user=ALICE), "owner")
        assert {r["user"] for r in (await rows(house)).values()} == {done["pseudonym"], BOB}
        assert found_in(house.home.path, SECRET) == []
        assert prove(house.home.journal).holds
    finally:
        await house.stop()
