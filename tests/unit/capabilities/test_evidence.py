"""The evidence report says what its rows say, and names each thing that is missing."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reading import NOW, LogReader, S
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.reports.evidence import EvidenceReport
from watchkeeper.kinds.report import Report, Scope
from watchkeeper.records.audit import Audit
from watchkeeper.records.decision import Decision
from watchkeeper.records.document import Document, Table
from watchkeeper.records.effect import Effect
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, as_json
from watchkeeper.server.html_report import render_document

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "reports" / "evidence.yaml").read_text())


def identity(row: dict[str, Any]) -> Identity:
    if row.get("nobody"):
        return Identity(agent="outreach", run="r1")
    source = "body" if row.get("claimed") else "key"
    return Identity(agent="outreach", run="r1", key="k1", user="ada", sources={"key": "key", "user": source})


def records_of(row: dict[str, Any]) -> list[Record]:
    who = identity(row)
    planned = row.get("planned", 0)
    records: list[Record] = [
        Effect(
            effect_id=f"e{n}",
            key=f"r1/{n}",
            tool="send_email",
            at_ns=NOW - 60 * S + n * S,
            status="planned" if n < planned else "done",
            settled_ns=None if n < planned else NOW,
            revision=0 if n < planned else 1,
            identity=who,
        )
        for n in range(row["effects"])
    ]
    if row["tools"] is not None:
        detail = {"old": None, "new": "d", "policies": row["policies"], "tools": row["tools"]}
        records.append(settings(NOW - 3600 * S, detail))
    if row.get("denied"):
        records.append(
            Decision(
                verdict="deny",
                reason="tool_cap_reached",
                sentence="no more",
                decision_id="d1",
                policy="tool_cap",
                version="1",
                instance="mail-cap",
                stage="tool_call",
                at_ns=NOW - 30 * S,
                tool="send_email",
                identity=who,
            )
        )
    return records


def settings(at_ns: int, detail: dict[str, Any]) -> Audit:
    text = as_json(detail).decode()
    return Audit(
        audit_id=f"a{at_ns}", at_ns=at_ns, act="settings.first", actor="owner", subject="settings", detail=text
    )


async def compose(*records: Record, subject: str = "agent:outreach") -> Document:
    reader = LogReader(MemoryLog())
    await reader.add(records)
    return await EvidenceReport().compose(Scope(subject=subject, now_ns=NOW, since_ns=NOW - 7200 * S), reader)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    document = await compose(*records_of(row))
    text = as_json(document).decode()
    for words in row["says"]:
        assert words in text
    for words in row["silent"]:
        assert words not in text
    assert "<html" in render_document(document)


@pytest.mark.anyio
async def test_a_cap_is_in_force_since_it_became_what_it_is() -> None:
    cap = {"name": "c", "policy": "tool_cap", "version": "1", "mode": "enforce", "owner": None, "with": {"calls": 5}}
    wider = {**cap, "with": {"calls": 50}}
    document = await compose(
        settings(NOW - 6000 * S, {"policies": [wider], "tools": []}),
        settings(NOW - 5000 * S, {"policies": [cap], "tools": []}),
        settings(NOW - 4000 * S, {"policies": [cap], "tools": [{"name": "x", "class": "read"}]}),
    )
    (table,) = [each for each in document.blocks if isinstance(each, Table) and "parameters" in each.columns]
    (row,) = [dict(zip(table.columns, each, strict=True)) for each in table.rows]
    assert row["in force since (UTC)"] == "2027-01-15 06:36:40"


@pytest.mark.anyio
async def test_a_revoked_key_shows_how_long_it_still_acted() -> None:
    row = {**ROWS[0], "effects": 10}
    revoked = Audit(
        audit_id="a9", at_ns=NOW - 55 * S, act="key.revoked", actor="local", subject="key:k1", detail="outreach"
    )
    text = as_json(await compose(*records_of(row), revoked)).decode()
    assert "missing: a drill of the kill switch" not in text
    assert '"key:k1","local",4.0' in text


@pytest.mark.anyio
async def test_only_an_agent_has_a_pack() -> None:
    with pytest.raises(ValueError, match="about an agent"):
        await compose(subject="incident:x")


def test_it_is_a_report() -> None:
    assert isinstance(EvidenceReport(), Report)
