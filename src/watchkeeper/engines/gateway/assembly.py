"""What context assembly may send to the record: the chunks that it retrieved, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.submissions import (
    Maker,
    Moment,
    Name,
    Sent,
    SentIdentity,
    moment,
    not_an_id,
    own_id,
    with_claims,
)
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import digest, is_span_id, is_trace_id, new_id
from watchkeeper.records.source import Source

MAX_CHUNK_CHARS = 1_000_000
SOURCE_BODY = "source"
SOURCE_MEDIA = "text/plain; charset=utf-8"

Place = Annotated[int, Meta(ge=0, lt=1 << 62)]
Rank = Annotated[int, Meta(ge=1, lt=1 << 62)]
Query = Annotated[str, Meta(max_length=10_000)]


class SentSource(Sent):
    """One chunk: of which document and version, how it was ranked, and whether it entered the context.

    `text` is kept whole and looked for in the recorded request; without it, give `digest` and `chars`. A chunk that did
    not enter says why in `reason` (over_budget, below_threshold, duplicate, filtered, ...).
    """

    document: Name
    trace_id: str
    span_id: str | None = None
    status: Literal["candidate", "entered", "truncated", "dropped"] = "candidate"
    reason: Name | None = None
    query: Query | None = None
    version: Name | None = None
    chunk: Name | None = None
    text: Annotated[str, Meta(max_length=MAX_CHUNK_CHARS)] | None = None
    digest: Name | None = None
    chars: Place | None = None
    score: float | None = None
    rank: Rank | None = None
    reranked_score: float | None = None
    reranked_rank: Rank | None = None
    retriever: Name | None = None
    index_version: Name | None = None
    ingest_run: Name | None = None
    document_start: Place | None = None
    document_end: Place | None = None
    prompt_start: Place | None = None
    prompt_end: Place | None = None
    kept_chars: Place | None = None
    identity: SentIdentity = SentIdentity()
    door: Literal["api", "sdk"] = "api"
    id: Name | None = None
    at: Moment | None = None


def source_of(sent: SentSource, identity: Identity, now_ns: int) -> Source:
    """The record of a source, less its text, which is kept beside it; raises a 422 for what cannot be meant."""
    if not is_trace_id(sent.trace_id):
        raise not_an_id("trace_id", sent.trace_id, 32)
    if sent.span_id is not None and not is_span_id(sent.span_id):
        raise not_an_id("span_id", sent.span_id, 16)
    for name in ("document", "prompt"):
        start, end = getattr(sent, f"{name}_start"), getattr(sent, f"{name}_end")
        if start is not None and end is not None and end < start:
            raise Refusal(
                422, "invalid_field", f"{name}_end is {end}, before {name}_start {start}.", param=f"{name}_end"
            )
    at_ns = moment(sent.at, now_ns, "at")
    return Source(
        source_id=own_id(sent.id, identity) or new_id("src", at_ns),
        trace_id=sent.trace_id,
        span_id=sent.span_id,
        document=sent.document,
        at_ns=at_ns,
        query=sent.query,
        version=sent.version,
        chunk=sent.chunk,
        digest=sent.digest if sent.text is None else digest(sent.text.encode("utf-8", "surrogatepass")),
        chars=sent.chars if sent.text is None else len(sent.text),
        score=sent.score,
        rank=sent.rank,
        reranked_score=sent.reranked_score,
        reranked_rank=sent.reranked_rank,
        retriever=sent.retriever,
        index_version=sent.index_version,
        ingest_run=sent.ingest_run,
        document_start=sent.document_start,
        document_end=sent.document_end,
        prompt_start=sent.prompt_start,
        prompt_end=sent.prompt_end,
        status=sent.status,
        reason=sent.reason,
        kept_chars=sent.kept_chars,
        door=sent.door,
        identity=with_claims(identity, sent.identity),
    )


def text_of(sent: Any) -> bytes | None:
    """The text that is to be kept beside a source; None for everything else."""
    if not isinstance(sent, SentSource) or not sent.text:
        return None
    return sent.text.encode("utf-8", "surrogatepass")


SHAPES: Mapping[str, tuple[type[Sent], Maker, str]] = {"/api/v1/sources": (SentSource, source_of, "source_id")}
