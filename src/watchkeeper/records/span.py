"""What happened: one model call, tool call, agent step or other unit of work."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, Scalar


class Status(StrEnum):
    """How a span ended; OPEN is a call that was started and has not (or never) finished."""

    OPEN = "open"
    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    UNSET = "unset"


class Operation(StrEnum):
    """What a span did, in the words of the OpenTelemetry GenAI conventions."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    RETRIEVAL = "retrieval"
    TOOL = "execute_tool"
    AGENT = "invoke_agent"
    WORKFLOW = "invoke_workflow"
    PASSTHROUGH = "passthrough"
    OTHER = "other"


class Usage(Record):
    """Tokens of one call. Input includes cached, output includes reasoning; None is unknown, never zero.

    `parts` names finer counts that are priced on their own where the provider told them apart (`cache_write_1h_tokens`,
    `input_audio_tokens`, `web_searches`, ...).
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    parts: dict[str, int] = {}


class Cost(Record):
    """What one call cost in US dollars, and which price table says so (`source`, with its snapshot date)."""

    usd: float
    source: str


class Happening(Record):
    """A point in time within a span: an OpenTelemetry event, an exception, a rescue (retry, fallback, repair)."""

    name: str
    at_ns: int
    attributes: dict[str, Scalar] = {}


class Origin(Record, array_like=True, omit_defaults=False):
    """The journal frame that holds a record: writer, segment, byte offset, and the item within the frame."""

    writer: str
    segment: int
    offset: int
    item: int = 0


NOWHERE = Origin(writer="", segment=0, offset=0)
"""The origin of a record that has not been written yet."""


class Span(Record):
    """One unit of work, with everything the model saw, said and cost.

    Times are unix nanoseconds. `revision` orders the states of the same span (0 started, 1 finished); the highest
    counts. `preview` is a short plain-text extract of input and output for lists and search, never the record itself:
    that is in `bodies`, or in the frame named by `origin`. `first_token_ns` and `overhead_ns` are durations: from the
    start to the first content that came back, and the time that was ours rather than the upstream's. `door` says how
    it came in: gateway, otlp, sdk or import. `duplicate_of` ("trace:span") names the span that counts where two or more
    tell of the same call; sums leave out the others.
    """

    trace_id: str
    span_id: str
    start_ns: int
    name: str
    parent_id: str | None = None
    end_ns: int | None = None
    operation: str = Operation.OTHER
    status: str = Status.UNSET
    error_type: str | None = None
    message: str | None = None
    door: str = "gateway"
    service: str | None = None
    revision: int = 0
    identity: Identity = Identity()
    provider: str | None = None
    upstream: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    fingerprint: str | None = None
    stream: bool = False
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()
    cost: Cost | None = None
    first_token_ns: int | None = None
    overhead_ns: int | None = None
    http_status: int | None = None
    tool: str | None = None
    tool_call_id: str | None = None
    duplicate_of: str | None = None
    manifest: str | None = None
    attributes: dict[str, Scalar] = {}
    events: tuple[Happening, ...] = ()
    preview: str = ""
    bodies: tuple[Body, ...] = ()
    origin: Origin = NOWHERE

    @property
    def model(self) -> str | None:
        """The model that answered if the reply named one, else the one asked for."""
        return self.response_model or self.request_model

    @property
    def cost_usd(self) -> float | None:
        """What the call cost, None when unknown."""
        return None if self.cost is None else self.cost.usd

    @property
    def cost_source(self) -> str | None:
        """Which price table says so."""
        return None if self.cost is None else self.cost.source

    @property
    def duration_ns(self) -> int | None:
        """Wall time from start to end, or None while the span is open."""
        return None if self.end_ns is None else self.end_ns - self.start_ns
