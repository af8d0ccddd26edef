"""Prepares what the pages show of lineage: chunks with what became of them, answers with their support, documents."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from watchkeeper.records.record import Record
from watchkeeper.records.source import SIGHTED, Seen, Source
from watchkeeper.server.views.wording import UNKNOWN, pretty
from watchkeeper.server.visible import visible

FOUND = {
    Seen.EXACT: "found word for word",
    Seen.NORMALISED: "found, white space aside",
    Seen.PART: "its beginning was found",
    Seen.DECLARED: "said to, not seen in the prompt",
    Seen.TEXTLESS: "no text was given to look for",
    Seen.NO_REQUEST: "no request is on record",
    Seen.PENDING: "not looked for yet",
}
SHOWN_CHARS = 1_200
LAID_OUT_CHARS = 20_000


class SourceRow(Record):
    """One chunk as a line. `fate` is entered, truncated, dropped or candidate; `evidence` says what shows it."""

    source_id: str
    document: str
    version: str
    href: str
    chunk: str
    fate: str
    reason: str
    evidence: str
    proved: bool
    rank: str
    score: str
    index_version: str
    size: str


def source_rows(sources: Sequence[Source]) -> list[SourceRow]:
    """Chunks as lines: what entered the context first, then by rank."""
    ordered = sorted(sources, key=lambda each: (not each.entered, each.reranked_rank or each.rank or 10**9))
    return [_row(each) for each in ordered]


def _row(source: Source) -> SourceRow:
    proved = source.seen in SIGHTED
    fate = source.status if not proved or source.status in ("entered", "truncated") else "entered"
    against = proved and source.status == "dropped"
    return SourceRow(
        source_id=source.source_id,
        document=visible(source.document),
        version=visible(source.version or UNKNOWN),
        href=document_link(source.document),
        chunk=visible(source.chunk or (source.digest or UNKNOWN)[:12]),
        fate=str(fate),
        reason=visible(source.reason or ""),
        evidence=(FOUND[Seen(source.seen)] + (", though said to be dropped" if against else ""))
        if source.entered or proved
        else "",
        proved=proved,
        rank=_ranks(source),
        score=_number(source.reranked_score if source.reranked_score is not None else source.score),
        index_version=visible(source.index_version or UNKNOWN),
        size=_size(source),
    )


def _ranks(source: Source) -> str:
    ranks = [str(each) for each in (source.rank, source.reranked_rank) if each is not None]
    return " → ".join(ranks) or UNKNOWN


def _size(source: Source) -> str:
    if source.chars is None:
        return UNKNOWN
    cut = source.kept_chars is not None and source.kept_chars < source.chars
    return f"{source.kept_chars:,} of {source.chars:,}" if cut else f"{source.chars:,}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def document_link(document: str) -> str:
    """The address of a document's page."""
    return "/ui/documents/view?" + urlencode({"document": document})


def answer_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers of a lineage as the page lays them out: sentences with their mark, quote and document."""
    return [
        {
            "span_id": answer.span_id,
            "supported": answer.supported,
            "partly": answer.partly,
            "unsupported": answer.unsupported,
            "left_out": answer.left_out,
            "sentences": [
                {
                    "text": visible(each.text[:SHOWN_CHARS]),
                    "verdict": each.verdict,
                    "score": f"{each.score:.2f}",
                    "document": visible(each.document or ""),
                    "version": visible(each.version or ""),
                    "href": document_link(each.document) if each.document else "",
                    "quote": visible(each.quote) if each.verdict != "unsupported" else "",
                    "missing": ", ".join(visible(word) for word in each.missing) if each.verdict != "supported" else "",
                }
                for each in answer.sentences
            ],
        }
        for answer in found["answers"]
    ]


def document_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Documents and versions as lines."""
    return [
        {
            **item,
            "document": visible(str(item["document"])),
            "version": visible(str(item["version"] or UNKNOWN)),
            "href": document_link(str(item["document"])),
        }
        for item in items
    ]


def rest_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answers that rest on a document as lines."""
    return [
        {
            "trace_id": item["trace_id"],
            "at_ns": item["at_ns"],
            "user": visible(str(item["user"] or UNKNOWN)),
            "session": visible(str(item["session"] or UNKNOWN)),
            "agent": visible(str(item["agent"] or UNKNOWN)),
            "version": visible(str(item["version"] or UNKNOWN)),
            "evidence": "found in the request" if item["seen"] else "as the assembler says",
            "proved": bool(item["seen"]),
        }
        for item in items
    ]


def audit_rows(items: Sequence[Mapping[str, Any]], names: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Acts as lines; `names` says what an id of a key is called, to stand beside it."""
    called = names or {}
    return [
        {
            "at_ns": item["at_ns"],
            "act": visible(str(item["act"])),
            "actor": visible(str(item["actor"])),
            "subject": visible(str(item["subject"])),
            "actor_name": visible(called.get(str(item["actor"]), "")),
            "subject_name": visible(called.get(str(item["subject"]), "")),
            **_detail(str(item["detail"] or "")),
        }
        for item in items
    ]


def _detail(text: str) -> dict[str, str]:
    """The detail of an act; one that is an object is laid out, below the names of its fields."""
    fields: Mapping[str, Any] = {}
    if text.startswith("{"):
        with contextlib.suppress(msgspec.DecodeError):
            fields = msgspec.json.decode(text, type=dict[str, Any])
    told = {name: each for name, each in fields.items() if each not in (None, [], {})}
    return {
        "detail": visible(text)[:SHOWN_CHARS],
        "brief": ", ".join(_brief(name, each) for name, each in told.items())[:SHOWN_CHARS],
        "laid_out": pretty(text)[:LAID_OUT_CHARS] if told else "",
    }


def _brief(name: str, value: Any) -> str:
    if isinstance(value, str | int | float):
        return visible(f"{name} {value}"[:80])
    return visible(f"{len(value)} {name}" if isinstance(value, Sequence) else name)
