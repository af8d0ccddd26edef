"""The pages and the API of lineage: sources of a trace, the answers of a document, the act, and the audit trail."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import EVIL, NOW_NS, TRACE, House, LogReader
from watchkeeper.compose.lineage import Lineage
from watchkeeper.engines.incidents.desk import IncidentDesk
from watchkeeper.kinds.ports import Batch
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.source import Source
from watchkeeper.server.asgi import App
from watchkeeper.server.store_app import store_app
from watchkeeper.server.views.lineage import audit_rows

pytestmark = pytest.mark.anyio
TEXT = "The cheapest flight to New York on Tuesday is HAT202 at 189 dollars."
JSON = {"content-type": "application/json"}


async def opened(house: House) -> App:
    """The store app with lineage, over one call whose context held a hostile document."""
    reader, waiting = LogReader(house.log), list[Record]()

    async def catch_up() -> dict[str, int]:
        records, waiting[:] = tuple(waiting), []
        await house.log.append(Batch(records=records))
        return {"frames": len(records), "records": len(records), "duplicates": 0}

    def record(each: Record) -> None:
        house.journal.append(each)
        waiting.append(each)

    parts = house.parts(flush=catch_up)
    desk = IncidentDesk(reader, record, lambda: NOW_NS)
    lineage = Lineage(reader, parts.payloads, desk, record, lambda: NOW_NS, catch_up)
    trace = "d" * 32
    reply = {"content": "The cheapest flight on Tuesday is HAT202 at 189 dollars. It is a fine day."}
    await house.call(90, [{"role": "system", "content": f"Notes: {TEXT}"}], reply, trace_id=trace)
    for name, status in ((EVIL, "entered"), ("plain.md", "dropped")):
        body = house.journal.put(TEXT.encode() if status == "entered" else b"something else, long enough", "source")
        made = Source(
            source_id=f"s-{status}", trace_id=trace, document=name, version=EVIL, at_ns=NOW_NS - 62_000_000_000,
            content=body, chars=body.size_bytes, status=status, reason=EVIL, identity=Identity(user=EVIL, session="s"),
        )  # fmt: skip
        await house.record(made)
    from dataclasses import replace

    return store_app(replace(parts, lineage=lineage, incidents=desk))


def evil(text: str) -> bool:
    return "<script>alert(1)" in text or "<img src=x" in text


async def test_the_page_of_a_trace_shows_its_sources(house: House) -> None:
    app = await opened(house)
    page = (await ask(app, f"/ui/traces/{'d' * 32}")).text
    assert "What each sentence rests on" in page
    assert "plain.md" in page
    assert not evil(page)
    assert "What each sentence rests on" not in (await ask(app, f"/ui/traces/{TRACE}")).text


async def test_the_lineage_page_lays_sentences_over_chunks(house: House) -> None:
    app = await opened(house)
    page = (await ask(app, f"/ui/traces/{'d' * 32}/lineage")).text
    assert "1 supported" in page
    assert "found word for word" in page
    assert not evil(page)
    assert (await ask(app, f"/ui/traces/{'e' * 32}/lineage")).status == 404
    assert (await ask(app, "/ui/traces/nonsense/lineage")).status == 404


async def test_documents_and_one_document_are_shown(house: House) -> None:
    app = await opened(house)
    listed = (await ask(app, "/ui/documents")).text
    assert "plain.md" in listed
    assert not evil(listed)
    one = await ask(app, "/ui/documents/view?document=plain.md")
    assert (one.status, "0 answers rest on it" in one.text) == (200, True)
    assert (await ask(app, "/ui/documents/view?document=nope")).status == 404


async def test_the_api_answers_both_ways(house: House) -> None:
    app = await opened(house)
    found = json.loads((await ask(app, f"/api/v1/lineage/{'d' * 32}")).body)
    assert {each["status"]: each["seen"] for each in found["sources"]}["entered"] == "exact"
    assert "records" not in found
    resting = json.loads((await ask(app, "/api/v1/lineage?document=plain.md")).body)
    assert (resting["count"], resting["versions"][0]["dropped"]) == (0, 1)


async def withdrawn(app: App, body: dict[str, Any]) -> Any:
    return await ask(app, "/api/v1/documents/withdraw", "POST", JSON, msgspec.json.encode(body))


async def test_a_document_is_withdrawn_and_the_act_is_audited(house: House) -> None:
    app = await opened(house)
    done = json.loads((await withdrawn(app, {"document": EVIL, "reason": "it is wrong"})).body)
    assert (done["count"], done["answers"][0]["trace_id"]) == (1, "d" * 32)
    case_file = (await ask(app, f"/ui/incidents/{done['incident']}")).text
    assert "1 answers rested on" in case_file
    assert not evil(case_file)
    audit = (await ask(app, "/ui/audit")).text
    assert "document.withdrawn" in audit
    assert not evil(audit)


async def test_a_withdrawal_that_cannot_be_meant_is_refused(house: House) -> None:
    app = await opened(house)
    for body in ({}, {"document": ""}, {"document": "x" * 201}, {"document": "x", "kind": "eaten"}, {"dokument": "x"}):
        got = await withdrawn(app, body)
        assert (got.status, "error" in json.loads(got.body)) == (400, True)
    assert (await ask(app, "/api/v1/lineage")).status == 400
    assert (await ask(app, "/api/v1/lineage?document=x&since=bad")).status == 400


async def test_the_form_needs_its_token(house: House) -> None:
    app = await opened(house)
    form = {"content-type": "application/x-www-form-urlencoded"}
    got = await ask(app, "/ui/documents/withdraw", "POST", form, b"document=plain.md&csrf=wrong")
    assert got.status == 403
    own = {**form, "x-watchkeeper-form-token": "t"}
    assert (await ask(app, "/ui/documents/withdraw", "POST", own, b"document=plain.md&csrf=t")).status in (303, 403)


async def test_without_lineage_it_says_so(house: House) -> None:
    app = store_app(house.parts())
    assert (await ask(app, f"/api/v1/lineage/{TRACE}")).status == 501
    assert (await ask(app, f"/ui/traces/{TRACE}/lineage")).status == 404


def test_an_act_with_fields_is_told_in_a_line_and_laid_out_below_it() -> None:
    act = {"at_ns": 1, "act": "settings.changed", "actor": "owner", "subject": "settings"}
    (told,) = audit_rows([{**act, "detail": '{"old":null,"new":"a1","policies":[{"name":"<b>"},{}]}'}])
    assert told["brief"] == "new a1, 2 policies"
    assert '"name": "<b>"' in told["laid_out"]
    for detail in ("ada", "{not json", None):
        (plain,) = audit_rows([{**act, "detail": detail}])
        assert (plain["detail"], plain["laid_out"]) == (detail or "", "")
