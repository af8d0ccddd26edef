"""What retention decided: that a trace is kept whole and why, or what went from a segment of the journal."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.record import Record


class Stage(StrEnum):
    """How far a segment has been thinned, in the order in which it happens."""

    WHOLE = "whole"
    SAMPLED = "sampled"
    BODIES = "bodies"
    FIELDS = "fields"
    METADATA = "metadata"
    RECORDS = "records"
    TRIMMED = "trimmed"


class Reason(StrEnum):
    """Why a trace is kept beyond the window."""

    ERROR = "error"
    EFFECT = "irreversible_effect"
    COST = "cost_outlier"
    GUARD = "guard_hit"
    COMPLAINT = "complaint"
    LOW_SCORE = "low_score"
    SLOW = "slow_reply"
    INCIDENT = "incident"
    RANDOM = "random"


class Kept(Record):
    """One decision of retention. `kept_id` names what it is about, so deciding again changes nothing.

    About a trace (`trace_id` is set): its bodies are kept, for `reasons`, with `probability`: 1.0 when a reason made it
    certain, else the random share. What is in neither was thinned, and a thinned trace stands among those that were
    kept at random with the inverse of their probability.

    About a segment (`writer` and `segment` are set): it went to `stage`. `share` was the random share, `window_ns` how
    old its youngest frame had to be; `traces` and `kept_traces` count what was looked at, `frames` and `freed_bytes`
    what went; `why` is "age" or "disk_cap". A trimmed segment's file is gone: `first_seq`, `last_seq`, `previous` and
    `last_digest` (hex) say which part of the chain it was, so that the rest can still be verified.

    `rules` is the digest of the rules that decided, `at_ns` when.
    """

    kept_id: str
    at_ns: int
    rules: str
    trace_id: str | None = None
    reasons: tuple[str, ...] = ()
    probability: float = 1.0
    writer: str | None = None
    segment: int = 0
    stage: str = Stage.SAMPLED
    why: str = "age"
    share: float = 0.0
    window_ns: int = 0
    since_ns: int = 0
    until_ns: int = 0
    traces: int = 0
    kept_traces: int = 0
    frames: int = 0
    freed_bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    previous: str = ""
    last_digest: str = ""
