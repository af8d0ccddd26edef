"""Tells the record what context assembly did: which chunks were retrieved, entered or dropped, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from watchkeeper.records.ids import digest, new_id, new_span_id, new_trace_id
from watchkeeper.sdk import tracing
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.identity import current
from watchkeeper.sdk.outgoing import headers

MOST_CHUNKS = 2_000
FIELDS = frozenset(
    {
        "document", "version", "chunk", "text", "digest", "chars", "score", "rank", "reranked_score", "reranked_rank",
        "retriever", "index_version", "ingest_run", "document_start", "document_end", "prompt_start", "prompt_end",
        "kept_chars", "query", "status", "reason",
    }
)  # fmt: skip


class Chunk:
    """One retrieved chunk while the context is assembled; pass it to `enter`, `drop` or `truncate`."""

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        unknown = set(fields) - FIELDS
        if unknown:
            raise ValueError(f"A chunk has no field {min(unknown)!r}; it has {', '.join(sorted(FIELDS))}.")
        self.fields = fields


class Assembly:
    """The chunks of one context. `left_out` counts chunks beyond the 2,000 that are told of."""

    def __init__(self, shared: dict[str, Any], trace: str | None, span: str | None) -> None:
        at_hand = tracing.current_span()
        self.trace_id, self.span_id = at_hand or (trace or new_trace_id(), span or new_span_id())
        if trace is not None:
            self.trace_id, self.span_id = trace, span or ""
        self._joined = at_hand is not None and trace is None
        self._shared = Chunk({name: each for name, each in shared.items() if each is not None}).fields
        self._chunks: list[Chunk] = []
        self._at_ns = time.time_ns()
        self.left_out = 0

    def candidate(self, document: str, **fields: Any) -> Chunk:
        """A chunk that was retrieved: `text`, `version`, `chunk` (its id), `score`, ... A rank is counted from 1."""
        chunk = Chunk({"rank": len(self._chunks) + 1, "status": "candidate", **fields, "document": str(document)})
        if len(self._chunks) < MOST_CHUNKS:
            self._chunks.append(chunk)
        else:
            self.left_out += 1
        return chunk

    def enter(self, chunk: Chunk | str, **fields: Any) -> Chunk:
        """The chunk went into the prompt; a document's name makes a chunk of it that nobody announced before."""
        return self._became(chunk, fields, "entered")

    def truncate(self, chunk: Chunk | str, kept_chars: int, reason: str = "over_budget", **fields: Any) -> Chunk:
        """Only the first `kept_chars` characters of the chunk went into the prompt."""
        return self._became(chunk, {**fields, "kept_chars": kept_chars, "reason": reason}, "truncated")

    def drop(self, chunk: Chunk | str, reason: str, **fields: Any) -> Chunk:
        """The chunk did not go in: over_budget, below_threshold, duplicate, filtered, or a word of your own."""
        return self._became(chunk, {**fields, "reason": reason}, "dropped")

    def headers(self) -> dict[str, str]:
        """Headers for the model call, so that the gateway records it in the same trace; see `watchkeeper.headers`."""
        found = headers()
        if not self._joined:
            found["traceparent"] = f"00-{self.trace_id}-{self.span_id or new_span_id()}-01"
        return found

    def _became(self, chunk: Chunk | str, fields: dict[str, Any], status: str) -> Chunk:
        if isinstance(chunk, str):
            chunk = self.candidate(chunk, **fields)
        Chunk(fields)  # a wrong name is told here, where it was written
        chunk.fields |= {**fields, "status": status}
        return chunk

    def send(self) -> None:
        """Queue what happened; delivered in the background like everything else."""
        client, who = current_client(), dict(current().items())
        for chunk in self._chunks:
            fields = {**self._shared, **chunk.fields}
            text = fields.get("text")
            if isinstance(text, str) and not client.capture_content:
                fields["digest"], fields["chars"] = digest(text.encode("utf-8", "surrogatepass")), len(text)
                del fields["text"]
            fields |= {"trace_id": self.trace_id, "span_id": self.span_id or None, "identity": who, "door": "sdk"}
            client.send("/api/v1/sources", {**fields, "id": new_id("src", self._at_ns), "at": self._at_ns})


@contextmanager
def context(
    *,
    query: str | None = None,
    index_version: str | None = None,
    ingest_run: str | None = None,
    retriever: str | None = None,
    trace: str | None = None,
    span: str | None = None,
) -> Iterator[Assembly]:
    """Assemble a context and have it recorded: what was retrieved, what entered, what was dropped and why.

        with watchkeeper.context(query=question, index_version="2026-11-20") as context:
            for hit in search(question):
                chunk = context.candidate(hit.document, text=hit.text, version=hit.version, score=hit.score)
                context.enter(chunk) if fits(hit) else context.drop(chunk, reason="over_budget")

    It belongs to the span at hand, or to `trace` and `span`; without either, pass `context.headers()` to the model call
    so that the two find each other. What was noted is sent when the block ends, also when it fails.
    """
    shared = {"query": query, "index_version": index_version, "ingest_run": ingest_run, "retriever": retriever}
    assembly = Assembly(shared, trace, span)
    try:
        yield assembly
    finally:
        assembly.send()


def sources(
    chunks: Iterable[Mapping[str, Any]], *, trace: str | None = None, span: str | None = None, **shared: Any
) -> None:
    """Say in one call what was retrieved: mappings with `document`, `status`, `reason`, `text`, `version`, `score` ...

    `shared` goes for all of them (query, index_version, ...). Raises `ValueError` for a field that there is not.
    """
    assembly = Assembly(shared, trace, span)
    for each in chunks:
        fields = dict(each)
        if not fields.get("document"):
            raise ValueError("A source without a document says nothing; give each its `document`.")
        assembly.candidate(fields.pop("document"), **fields)
    assembly.send()
