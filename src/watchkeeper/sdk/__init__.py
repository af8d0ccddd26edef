"""The light door for programs: traces, tools, sessions, scores and outcomes over OpenTelemetry.

    import watchkeeper

    watchkeeper.init(service="shop")

    @watchkeeper.tool
    def search(query: str) -> str: ...

    with watchkeeper.session("s-42", user="u-7"):
        answer = run_my_agent()
    watchkeeper.outcome("s-42", success=True, value=12.5)

A failure to record never reaches the program: it is counted, logged once, and `flush` reports it. What does reach it is
`Denied`, raised where a policy does not let a tool run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

from watchkeeper.records.ids import is_span_id, new_id
from watchkeeper.sdk import calls, tracing
from watchkeeper.sdk.assembly import context, sources
from watchkeeper.sdk.calls import F
from watchkeeper.sdk.client import Flushed, Options, current_client, start
from watchkeeper.sdk.effects import effect, once
from watchkeeper.sdk.guard import Denied, OnUnreachable
from watchkeeper.sdk.identity import Who, acting, current
from watchkeeper.sdk.once import ClaimedEffect, EffectUnknown
from watchkeeper.sdk.outgoing import headers
from watchkeeper.sdk.rescues import rescue
from watchkeeper.sdk.tracing import Handle
from watchkeeper.sdk.webhook import verified_webhook

if TYPE_CHECKING:
    from watchkeeper.kinds.policy import Policy
    from watchkeeper.kinds.ports import Cells

__all__ = [
    "ClaimedEffect",
    "Denied",
    "EffectUnknown",
    "Flushed",
    "Handle",
    "agent",
    "context",
    "effect",
    "feedback",
    "flush",
    "headers",
    "init",
    "once",
    "outcome",
    "rescue",
    "score",
    "session",
    "sources",
    "tool",
    "trace",
    "verified_webhook",
]


def init(
    url: str | None = None,
    key: str | None = None,
    service: str | None = None,
    policies: Sequence[Policy] | None = None,
    *,
    cells: Cells | None = None,
    on_unreachable: OnUnreachable = "open",
    ask_server: bool = True,
    add_to_existing: bool = False,
    capture_content: bool = True,
    timeout_s: float = 2.0,
    redact: Sequence[str] | Callable[[str], str] = (),
) -> None:
    """Connect this process to a Watchkeeper server.

    `url` defaults to WATCHKEEPER_URL, else http://127.0.0.1:8787; `key` to WATCHKEEPER_API_KEY. `policies` rule in this
    process before the server is asked, with `cells` as their memory. When the server cannot be asked, tools run
    (`on_unreachable` "open") or are denied ("closed"). A tracer provider that the program set itself is only added
    to with `add_to_existing`. With `capture_content` false no arguments and results of tools leave the process.
    `redact` masks texts before they leave: names of detectors ("emails", "secret_keys", ...) or a function of your own.
    Raises `ValueError` for a wrong URL or setting; a server that is not there is no error.
    """
    start(
        Options(
            url=url,
            key=key,
            service=service,
            policies=policies or (),
            cells=cells,
            on_unreachable=on_unreachable,
            ask_server=ask_server,
            add_to_existing=add_to_existing,
            capture_content=capture_content,
            timeout_s=timeout_s,
            redact=redact,
        )
    )


@contextmanager
def trace(name: str, **attributes: Any) -> Iterator[Handle]:
    """A span around a block; yields its handle, whose ids serve `score` and `feedback`. Also a decorator."""
    handle = tracing.open_span(name, {})
    for key, value in attributes.items():
        handle.set(key, value)
    try:
        with handle.current():
            yield handle
    except BaseException as error:
        handle.fail(error)
        raise
    finally:
        handle.end()


@overload
def tool(function: F) -> F:
    """As `@tool`."""


@overload
def tool(*, name: str | None = None) -> Callable[[F], F]:
    """As `@tool(name=...)`."""


def tool(function: Any = None, *, name: str | None = None) -> Any:
    """Make a function a tool: a span per call, a ruling before it runs, a report of its digests to the loop policy.

    Plain, asynchronous and generator functions keep their kind. Raises `Denied` where a policy says no.
    """
    return _decorated(function, calls.ToolCall, name)


@overload
def agent(function: F) -> F:
    """As `@agent`."""


@overload
def agent(*, name: str | None = None) -> Callable[[F], F]:
    """As `@agent(name=...)`."""


def agent(function: Any = None, *, name: str | None = None) -> Any:
    """Make a function an agent: a span per call, and its name on every call and tool within."""
    return _decorated(function, calls.AgentCall, name)


def _decorated(function: Any, begin: type[calls.AgentCall], name: str | None) -> Any:
    if function is None:
        return lambda wrapped: calls.decorate(wrapped, begin, name or wrapped.__name__)
    return calls.decorate(function, begin, name or function.__name__)


@contextmanager
def session(id: str, *, user: str | None = None, run: str | None = None) -> Iterator[None]:
    """Within this block all spans, tool calls and `headers()` belong to a session, and to a user and run where given.

    The same goes out as W3C baggage, for clients that are instrumented with OpenTelemetry. Also a decorator.
    """
    before = current()
    with acting(Who(session=id, run=run or before.run, user=user or before.user, agent=before.agent)):
        yield


def score(
    name: str,
    value: float | bool | None = None,
    *,
    label: str | None = None,
    span: Handle | str | None = None,
    trace: str | None = None,
    session: str | None = None,
    explanation: str | None = None,
    scorer: str | None = None,
    id: str | None = None,
    attributes: dict[str, str | int | float | bool] | None = None,
) -> None:
    """Judge a span, a trace or a session; without a subject, the span at hand or else the session at hand.

    Delivered in the background. Raises `ValueError` when there is nothing to say or nothing to say it about.
    """
    if value is None and label is None:
        raise ValueError(f"The score {name!r} has neither a value nor a label; give one of them.")
    kind, subject, trace_id = _subject(span, trace, session)
    current_client().send(
        "/api/v1/scores",
        {
            "subject_kind": kind,
            "subject_id": subject,
            "trace_id": trace_id,
            "session": current().session if kind != "session" else None,
            "name": name,
            "value": value,
            "label": label,
            "explanation": explanation,
            "scorer": scorer,
            "attributes": attributes,
            "id": id or new_id("scr"),
        }
        | _now(),
    )


def outcome(session: str, success: bool, value: float | None = None, *, explanation: str | None = None) -> None:
    """Say how a session ended for its user; `value` is its worth in US dollars. A later outcome restates it."""
    body = {"session": session, "success": bool(success), "value": value, "explanation": explanation}
    current_client().send("/api/v1/outcomes", body | _now())


def feedback(
    span: Handle | str,
    verdict: Literal["accepted", "edited", "rejected"],
    diff: str | None = None,
    *,
    id: str | None = None,
) -> None:
    """Say what a person did with the output of a span: took it, edited it (`diff` says how), or rejected it."""
    if verdict not in ("accepted", "edited", "rejected"):
        raise ValueError(f"The verdict is {verdict!r}; it should be 'accepted', 'edited' or 'rejected'.")
    _, span_id, trace_id = _subject(span, None, None)
    body = {"span": span_id, "trace_id": trace_id, "verdict": verdict, "diff": diff, "id": id or new_id("fbk")}
    current_client().send("/api/v1/feedback", body | {"session": current().session} | _now())


def flush(timeout_s: float = 10.0) -> Flushed:
    """Deliver what waits. The answer is true only when nothing was lost since the start, and says what was."""
    return current_client().flush(timeout_s)


def _subject(span: Handle | str | None, trace: str | None, session: str | None) -> tuple[str, str, str | None]:
    if span is not None:
        if isinstance(span, Handle):
            return "span", span.span_id, span.trace_id
        if not is_span_id(span):
            raise ValueError(f"The span is {span!r}; it should be a handle or an id of 16 lower-case hex digits.")
        return "span", span, trace
    if trace is not None:
        return "trace", trace, trace
    if session is not None:
        return "session", session, None
    at_hand = tracing.current_span()
    if at_hand is not None:
        return "span", at_hand[1], at_hand[0]
    if (own := current().session) is not None:
        return "session", own, None
    raise ValueError("There is no span or session at hand to judge; name one with span=, trace= or session=.")


def _now() -> dict[str, int]:
    import time

    return {"at": time.time_ns()}
