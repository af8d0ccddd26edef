"""What a policy is asked about: one stage of one call, as a value."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from watchkeeper.records.identity import Identity
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record, Scalar


class Stage(StrEnum):
    """When, in the life of a call, a policy may be asked.

    ROUTE is before it is settled which model is asked; REQUEST after that, before it is asked.
    """

    ROUTE = "route"
    REQUEST = "request"
    REPLY = "reply"
    CHUNK = "chunk"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    INTAKE = "intake"


class ToolStep(Record):
    """One tool call as the loop policy sees it.

    `arguments` and `result` are digests of the normalised values; `result` is None until the result was seen. `call_id`
    names the call within its conversation so that a history that is sent again is not counted again. `sketch` tells
    whether other arguments are nearly these (`analysis.sketch`), and `gist` is the digest of the result less what
    changes by itself, such as times; both are empty where whoever reported the step did not tell them.
    """

    agent: str | None
    tool: str
    arguments: str
    result: str | None = None
    call_id: str = ""
    sketch: str = ""
    gist: str = ""


class Bound(Record):
    """The most that a call can use: tokens in and out, and their price in nano-dollars.

    `nano_usd` is None when no price is known for the model; `price_source` names the table when one is. `stated` is
    whether the call itself limits its output; where it does not, `output_tokens` is what its upstream may write.
    `input_nano_usd` is the part of the price that the input makes up. `wall_ms` is how long the call may take, in
    milliseconds; None is unknown.
    """

    input_tokens: int
    output_tokens: int
    nano_usd: int | None = None
    price_source: str | None = None
    stated: bool = True
    input_nano_usd: int | None = None
    wall_ms: int | None = None


class KeyLimit(Record):
    """A limit that a key carries: so many US dollars, tokens or calls in a UTC minute or day, or in all time."""

    unit: Literal["usd", "tokens", "calls"]
    amount: float
    window: Literal["minute", "day", "total"] = "total"


class Event(Record):
    """One stage of a call. `at_ns` is the engine's clock: policies have no other.

    `steps` are the tool calls that this event brings and the engine has not folded before. `attributes` carries what
    the caller of `POST /api/v1/decide` or the SDK passed along, `limits` those of the key that was shown. At the stage
    ROUTE `model` is the name that was asked for, and `attributes` hold what the call declares of itself
    (`analysis/cells.py`); `served` is the composition that would answer it.
    """

    stage: str
    at_ns: int
    trace_id: str
    span_id: str
    identity: Identity = Identity()
    model: str | None = None
    upstream: str | None = None
    tool: str | None = None
    steps: tuple[ToolStep, ...] = ()
    bound: Bound | None = None
    attributes: dict[str, Scalar] = {}
    limits: tuple[KeyLimit, ...] = ()
    served: Manifest | None = None
