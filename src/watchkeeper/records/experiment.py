"""What proves a fix: a suite of cases run against one composition, with its scores."""

from __future__ import annotations

from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record


class Experiment(Record):
    """One run of a suite. Per-item scores are `Score` records with its id; `summary` holds their means.

    `manifest` is what the suite itself says is asked. `compositions` are what a gateway said has answered, each with
    how many answers: the same digests that calls in production carry.
    """

    experiment_id: str
    suite: str
    target: str
    at_ns: int
    end_ns: int | None = None
    manifest: str | None = None
    cases: int = 0
    errors: int = 0
    summary: dict[str, Estimate] = {}
    spent_usd: float | None = None
    compositions: dict[str, int] = {}
    revision: int = 0
