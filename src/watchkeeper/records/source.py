"""What stood behind an answer: one chunk of a document, and what context assembly did with it."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record


class Fate(StrEnum):
    """What context assembly says that it did with a chunk."""

    CANDIDATE = "candidate"
    ENTERED = "entered"
    TRUNCATED = "truncated"
    DROPPED = "dropped"


class Seen(StrEnum):
    """Whether the chunk's text was found in a request that was recorded: evidence beside the claim.

    EXACT, character by character; NORMALISED, but for white space; PART, its beginning only; DECLARED, not in the
    requests of its trace, or it is too short to tell; TEXTLESS, no text was given to look for; NO_REQUEST, no request
    of its trace is on record; PENDING, nobody has looked yet.
    """

    PENDING = "pending"
    EXACT = "exact"
    NORMALISED = "normalised"
    PART = "part"
    DECLARED = "declared"
    TEXTLESS = "textless"
    NO_REQUEST = "no_request"


SIGHTED = (Seen.EXACT, Seen.NORMALISED, Seen.PART)
"""What proves that a chunk entered the context, whatever was claimed."""


class Source(Record):
    """One retrieved chunk. A value: what the corpus becomes later does not change what is written here.

    `document`, `version` and `chunk` are names in the corpus; `digest` is of the chunk's text (BLAKE2b-128), `chars`
    its length, `content` the text itself where it was sent. Ranks count from 1. `status` and `reason` (over_budget,
    below_threshold, duplicate, filtered, ...) are what the assembler says. `document_start` and `document_end` are
    characters within the document, `prompt_start` and `prompt_end` within the prompt as the assembler built it.

    `seen` says whether it was found: in the calls `calls` (span ids, the first one first), at bytes `seen_start` to
    `seen_end` of that first request, with `kept_chars` characters of it. Revision 1 is the state after looking.
    `trace_id` and `span_id` are the work for which the context was assembled, usually the parent of the model call.
    """

    source_id: str
    trace_id: str
    document: str
    at_ns: int
    span_id: str | None = None
    query: str | None = None
    version: str | None = None
    chunk: str | None = None
    digest: str | None = None
    chars: int | None = None
    score: float | None = None
    rank: int | None = None
    reranked_score: float | None = None
    reranked_rank: int | None = None
    retriever: str | None = None
    index_version: str | None = None
    ingest_run: str | None = None
    document_start: int | None = None
    document_end: int | None = None
    prompt_start: int | None = None
    prompt_end: int | None = None
    status: str = Fate.CANDIDATE
    reason: str | None = None
    content: Body | None = None
    seen: str = Seen.PENDING
    calls: tuple[str, ...] = ()
    seen_start: int | None = None
    seen_end: int | None = None
    kept_chars: int | None = None
    door: str = "api"
    identity: Identity = Identity()
    revision: int = 0

    @property
    def entered(self) -> bool:
        """Whether it counts as having been in the context: it was found there, or it is said to have been."""
        return self.seen in SIGHTED or self.status in (Fate.ENTERED, Fate.TRUNCATED)
