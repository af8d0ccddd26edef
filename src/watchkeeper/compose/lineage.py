"""Answers lineage both ways over a running house: what stands behind an answer, and what rests on a document."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from watchkeeper.adapters.formats.sources import text_in
from watchkeeper.analysis.intervals import wilson
from watchkeeper.compose.payloads import REQUEST_NAMES, Gone, Payloads
from watchkeeper.engines.lineage.answers import AnswerLineage, Held, lay
from watchkeeper.engines.lineage.lookout import Asked, Lookout
from watchkeeper.queries.explorer import Spans, Trace, TracesNamed
from watchkeeper.queries.filters import CALLS
from watchkeeper.queries.lineage import DOCUMENT, WITHDRAWN, Documents, RestedOn, Sourced, Sources, Withdrawals
from watchkeeper.queries.question import Reader
from watchkeeper.queries.registry import as_plain
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.queries.whole import Whole
from watchkeeper.records.audit import Audit
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import is_span_id, is_trace_id, new_id
from watchkeeper.records.incident import Incident
from watchkeeper.records.record import Record, as_json
from watchkeeper.records.source import SIGHTED, Source
from watchkeeper.records.span import Span

MOST_SOURCES = 2_000
MOST_ANSWERS = 20
MOST_LISTED = 100_000
MOST_LINKED = 50
NAMED_AT_ONCE = 1_000
WHOSE = ("user", "session", "run", "agent")
_TAKEN = {
    "withdrawn": "which was withdrawn",
    "deletion": "of which the deletion was asked",
    "consent": "for which consent was revoked",
}


class Desk(Protocol):
    """Where findings go."""

    async def file(self, finding: Finding) -> Incident:
        """Record a finding and open or extend its incident."""
        ...


class Lineage:
    """Both ways of asking, and the act of withdrawing a document."""

    def __init__(
        self,
        reader: Reader,
        payloads: Payloads,
        desk: Desk,
        record: Callable[[Record], object],
        clock_ns: Callable[[], int],
        catch_up: Callable[[], Awaitable[object]],
    ) -> None:
        """`catch_up` indexes what was recorded so far."""
        self._reader, self._payloads, self._desk, self._catch_up = reader, payloads, desk, catch_up
        self._record, self._clock_ns = record, clock_ns
        self.lookout = Lookout(reader, record, self.text_of, self._requests_of, clock_ns)

    async def of(self, name: str) -> dict[str, Any]:
        """What stands behind a trace or a span: its sources, and each answer's sentences with their support.

        Raises `LookupError` when there is no such trace or span, `ValueError` for a name that is no id.
        """
        trace_id, span_id = await self._place(name)
        spans = await self._calls(trace_id)
        sources = await self._sources(trace_id)
        held = [Held(source=each, text=await self.text_of(each)) for each in sources]
        answers = []
        for span in [each for each in spans if span_id in (None, each.span_id, each.parent_id)][-MOST_ANSWERS:]:
            text = await self._answer(span)
            if text:
                answers.append(await asyncio.to_thread(lay, span.span_id, text, held))
        withdrawn = await self._withdrawn(tuple({each.document for each in sources}))
        return {
            "trace_id": trace_id,
            "span_id": span_id,
            "records": tuple(sources),
            "sources": [_shown(each, withdrawn) for each in held],
            "answers": answers,
            "note": _note(sources, answers),
        }

    async def resting_on(
        self, document: str, version: str | None = None, since: int = 0, until: int = FAR_NS
    ) -> dict[str, Any]:
        """The answers whose context held a document, its versions, and whether it was withdrawn."""
        await self._catch_up()
        if await self.lookout.round():
            await self._catch_up()
        asked = RestedOn(document=document, version=version, since=since, until=until, limit=MOST_LISTED)
        answers = await self._whose((await self._reader.ask(asked)).items)
        versions = (await self._reader.ask(Documents(document=document, limit=1000))).items
        withdrawn = await self._withdrawn((document,))
        users = {(each["tenant"], each["user"]) for each in answers if each["user"] is not None}
        sessions = {each["session"] for each in answers if each["session"] is not None}
        return {
            "document": document,
            "version": version,
            "answers": list(answers),
            "count": len(answers),
            "users": len(users),
            "sessions": len(sessions),
            "declared_only": sum(1 for each in answers if not each["seen"]),
            "versions": list(versions),
            "withdrawn": withdrawn.get(document, []),
        }

    async def _whose(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers with whose they were: where the assembler did not say it, as the calls of the trace do."""
        unsaid = [str(each["trace_id"]) for each in answers if any(each[name] is None for name in WHOSE)]
        known: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(unsaid), NAMED_AT_ONCE):
            asked = TracesNamed(ids=tuple(unsaid[start : start + NAMED_AT_ONCE]))
            known |= {str(each["trace_id"]): each for each in (await self._reader.ask(asked)).items}
        return [
            {**each, **{name: known.get(str(each["trace_id"]), each)[name] for name in WHOSE if each[name] is None}}
            for each in answers
        ]

    async def withdraw(self, document: str, actor: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take a document (or one version) back: an audited act, and a finding that lists the answers that rest on it.

        `given` may hold version, kind ("withdrawn", "deletion" or "consent"), reason and since. The record of the
        answers is not changed by it. Raises `ValueError` for a kind that is not known.
        """
        kind, version, reason = str(given.get("kind") or "withdrawn"), given.get("version"), given.get("reason")
        if kind not in WITHDRAWN:
            raise ValueError(
                f"A document is taken back as one of {', '.join(WITHDRAWN)}; {kind[:40]!r} is none of them."
            )
        now_ns = self._clock_ns()
        detail = as_json({"version": version, "reason": reason}).decode()
        self._record(
            Audit(
                audit_id=new_id("aud", now_ns),
                at_ns=now_ns,
                act=WITHDRAWN[kind],
                actor=actor,
                subject=f"{DOCUMENT}{document}",
                detail=detail,
            )
        )
        found = await self.resting_on(document, version, int(given.get("since") or 0))
        incident = None
        if found["count"]:
            finding = await self._finding(found, kind, reason, now_ns)
            incident = (await self._desk.file(finding)).incident_id
        return {**found, "act": WITHDRAWN[kind], "incident": incident}

    async def text_of(self, source: Source) -> str | None:
        """The text of a chunk; None where none was kept or it was erased."""
        if source.content is not None:
            try:
                return (await self._payloads.kept(source.content)).decode("utf-8", "surrogatepass")
            except (Gone, UnicodeDecodeError):
                return None
        if source.door != "otlp" or source.span_id is None:
            return None
        found = await self._reader.ask(Whole(Spans(span_id=source.span_id, trace_id=source.trace_id, limit=1), Span))
        if not found:
            return None
        try:
            return text_in((await self._payloads.detail(found[0])).attributes, source.source_id)
        except Gone:
            return None

    async def _finding(self, found: Mapping[str, Any], kind: str, reason: object, now_ns: int) -> Finding:
        first = min(int(each["at_ns"]) for each in found["answers"])
        named = f"{found['document']}" + (f" version {found['version']}" if found["version"] else "")
        return Finding(
            finding_id=new_id("fnd", now_ns),
            monitor="lineage",
            version="1",
            subject=f"{DOCUMENT}{found['document']}" + (f"@{found['version']}" if found["version"] else ""),
            at_ns=now_ns,
            window_start_ns=first,
            window_end_ns=now_ns,
            severity="ticket",
            sentence=f"{found['count']:,} answers rested on {named}, {_TAKEN[kind]}. {found['users']:,} users and "
            f"{found['sessions']:,} sessions are known." + (f" Reason: {str(reason)[:500]}" if reason else ""),
            estimate=await self._share(found["count"], first, now_ns),
            evidence={
                "document": found["document"],
                "document_version": found["version"],
                "answers": found["count"],
                "declared_only": found["declared_only"],
                "traces": ",".join(str(each["trace_id"]) for each in found["answers"][:MOST_LINKED]),
            },
        )

    async def _share(self, count: int, since: int, until: int) -> Estimate:
        """The share of the answers with sources that it is: a full count, so the interval is about what is to come."""
        traces = await self._reader.ask(Sourced(since=since, until=until + 1))
        return wilson(min(count, traces), max(count, traces), unit="of the answers with sources")

    async def _place(self, name: str) -> tuple[str, str | None]:
        if is_trace_id(name):
            return name, None
        if not is_span_id(name):
            raise ValueError(f"{name[:64]!r} is no id: a trace has 32 lower-case hex digits, a span 16.")
        found = await self._reader.ask(Whole(Spans(span_id=name, limit=1), Span))
        if not found:
            raise LookupError(f"There is no span {name!r}. It may not be indexed yet: watchkeeper ask spans")
        return found[0].trace_id, name

    async def _calls(self, trace_id: str) -> list[Span]:
        spans = await self._reader.ask(Whole(Trace(trace_id=trace_id, limit=20_000), Span))
        if not spans and not (await self._reader.ask(Sources(trace_id=trace_id, limit=1))).items:
            raise LookupError(f"There is no trace {trace_id!r}. It may not be indexed yet: watchkeeper ask traces")
        return [span for span in spans if span.operation in CALLS]

    async def _sources(self, trace_id: str) -> list[Source]:
        """The sources of a trace, looked for first where nobody has; what was just found counts at once."""
        found: dict[str, Source] = {}
        await self.lookout.round(trace_id)
        for source in self.lookout.fresh(trace_id):
            found[source.source_id] = source
        indexed = await self._reader.ask(Whole(Sources(trace_id=trace_id, limit=MOST_SOURCES), Source))
        return [found.get(each.source_id, each) if each.revision == 0 else each for each in indexed]

    async def _requests_of(self, trace_id: str) -> list[Asked]:
        spans = await self._reader.ask(Whole(Trace(trace_id=trace_id, limit=20_000), Span))
        found = []
        for span in [each for each in spans if each.operation in CALLS]:
            asked = await self._request(span)
            if asked is not None:
                found.append(asked)
        return found

    async def _request(self, span: Span) -> Asked | None:
        try:
            whole = await self._payloads.whole(span)
            body = await self._payloads.body(whole, "sent", *REQUEST_NAMES)
            if body is not None:
                return Asked(span.span_id, span.start_ns, body)
            said = (await self._payloads.detail(span)).conversation.input
        except Gone:
            return None
        return Asked(span.span_id, span.start_ns, as_json([each.text for each in said]), exact=False) if said else None

    async def _answer(self, span: Span) -> str:
        try:
            said = (await self._payloads.detail(span)).conversation.output
        except Gone:
            return ""
        return "\n".join(message.text for message in said if message.text)

    async def _withdrawn(self, documents: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
        if not documents:
            return {}
        found: dict[str, list[dict[str, Any]]] = {}
        for act in (await self._reader.ask(Withdrawals(documents=documents))).items:
            found.setdefault(str(act["subject"]).removeprefix(DOCUMENT), []).append(_act(act))
        return found


def _shown(held: Held, withdrawn: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """A source as it is shown: without the place of its text, with whether it counts as entered and was withdrawn."""
    plain: dict[str, Any] = as_plain(held.source)
    plain.pop("content")
    acts = [
        act
        for act in withdrawn.get(held.source.document, ())
        if act["version"] is None or act["version"] == held.source.version
    ]
    return {**plain, "entered": held.source.entered, "text": held.text, "withdrawn": acts}


def _act(row: Mapping[str, Any]) -> dict[str, Any]:
    detail: dict[str, Any] = {}
    if isinstance(row["detail"], str):
        with contextlib.suppress(msgspec.DecodeError):
            detail = msgspec.json.decode(row["detail"], type=dict[str, Any])
    return {
        "at_ns": row["at_ns"],
        "act": row["act"],
        "actor": row["actor"],
        "version": detail.get("version"),
        "reason": detail.get("reason"),
    }


def _note(sources: Sequence[Source], answers: Sequence[AnswerLineage]) -> str:
    """What a reader has to know before relying on it."""
    said = []
    if not sources:
        said.append("No context assembly reported its sources for this trace; what it rests on is unknown.")
    claimed = sum(1 for each in sources if each.entered and each.seen not in SIGHTED)
    if claimed:
        said.append(f"{claimed} of the sources are said to have entered and were not found in a recorded request.")
    if sources and not answers:
        said.append("No answer in words is on record: the replies asked for tools, or were erased or not kept.")
    return " ".join(said)
