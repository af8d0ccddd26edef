"""Work that outlasts a request: its transport status and, apart from it, its outcome."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record


class Transport(StrEnum):
    """Where a job is. It says nothing of how good its result is."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    ENDED = "ended"


class JobOutcome(StrEnum):
    """What is known of a job's result. Only COMPLETED_VERIFIED says that what the job declared was checked and held."""

    NEEDS_INPUT = "needs-input"
    COMPLETED_VERIFIED = "completed-verified"
    COMPLETED_UNVERIFIED = "completed-unverified"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Check(Record):
    """One postcondition that ran: whether it held (None: it could not be judged), and why."""

    name: str
    held: bool | None
    explanation: str = ""
    value: float | None = None
    label: str | None = None
    version: str | None = None


class Job(Record):
    """A durable job. `status` says where it is; `outcome` what is known of its result, None while nothing is.

    `at_ns` is when this revision was written, `submitted_ns` when the job was taken. `bodies` hold what was
    submitted, `checks` are the postconditions that ran, `stop_reason` why it ended, `model` the one that answered last,
    `trace_id` where its calls are.
    """

    job_id: str
    kind: str
    at_ns: int
    status: str
    outcome: str | None = None
    revision: int = 0
    progress: float | None = None
    message: str | None = None
    submitted_ns: int | None = None
    identity: Identity = Identity()
    step: str | None = None
    steps: int = 0
    stop_reason: str | None = None
    model: str | None = None
    cost_usd: float | None = None
    trace_id: str | None = None
    checks: tuple[Check, ...] = ()
    bodies: tuple[Body, ...] = ()
