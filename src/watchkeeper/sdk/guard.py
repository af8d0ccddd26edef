"""Asks before a tool runs: the server's policies, and policies that run in this process, with what the run did so far.

The gateway never sees a tool run. So each finished call is remembered with the digests of its arguments and result,
and told with the next question of the same run; the server folds it into the run once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.kinds.policy import Policy
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Usage
from watchkeeper.sdk.connection import Connection, NotAccepted, Unreachable
from watchkeeper.sdk.identity import Who

OnUnreachable = Literal["open", "closed"]
_MOST_RUNS = 1_000
_MOST_STEPS = 64
_QUIET_S = 2.0
_LOCAL_TIMEOUT_S = 2.0
_log = logging.getLogger("watchkeeper.sdk")


class Denied(Exception):
    """A policy does not allow this tool call. `reason` is a stable code, `sentence` says what to do instead."""

    def __init__(self, reason: str, sentence: str, policy: str = "") -> None:
        super().__init__(sentence)
        self.reason, self.sentence, self.policy = reason, sentence, policy


class Guard:
    """Rules on tool calls. Thread-safe. `counts` tells how often it was asked, denied, and could not ask."""

    def __init__(
        self,
        connection: Connection | None,
        on_unreachable: OnUnreachable,
        policies: Sequence[Policy | Link] = (),
        cells: Cells | None = None,
        report: Callable[[Decision], None] | None = None,
    ) -> None:
        """`connection` None asks no server; `cells` is the memory of local policies that keep meters.

        `report` is given every ruling of a local policy, so that it is on record as the server's own are.
        """
        self._connection, self._on_unreachable = connection, on_unreachable
        self._finished: OrderedDict[str, deque[ToolStep]] = OrderedDict()
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._wants_results = False
        self._local = _Local(policies, cells, report) if policies else None
        self.counts: Counter[str] = Counter()

    def ask(self, step: ToolStep, who: Who, trace_id: str, span_id: str) -> None:
        """Return when the call may run; raise `Denied` when it may not."""
        steps = (*self._known(who), step)
        self.counts["asked"] += 1
        if self._local is not None:
            self._ask_local(_event(Stage.TOOL_CALL, steps, who, trace_id, span_id))
        if self._connection is None:
            return
        answer = self._post("tool_call", steps, who, trace_id, span_id)
        if answer is None:
            if self._on_unreachable == "closed":
                self.counts["denied"] += 1
                raise Denied(
                    "server_unreachable",
                    f"Watchkeeper could not be asked whether {step.tool!r} may run, and on_unreachable is 'closed'. "
                    "Start the server, or call init(on_unreachable='open').",
                )
            return
        self._told(who, len(steps) - 1)
        self._wants_results = "tool_result" in (answer.get("stages") or ())
        stop_said = answer.get("stop")
        if isinstance(stop_said, dict):
            self.counts["denied"] += 1
            raise Denied(
                str(stop_said.get("reason") or "denied"),
                str(stop_said.get("sentence") or "A policy denied this call."),
                str(stop_said.get("instance") or stop_said.get("policy") or ""),
            )

    def _ask_local(self, event: Event) -> None:
        assert self._local is not None
        try:
            stop = self._local.rule(event)
        except Exception as error:
            self.counts["local policies failed"] += 1
            if self._on_unreachable == "open":
                return
            raise Denied(
                "policy_failed", f"The policies of this process could not rule: {type(error).__name__}."
            ) from error
        if stop is not None:
            self.counts["denied"] += 1
            raise Denied(stop.reason, stop.sentence, stop.instance or stop.policy)

    def done(self, step: ToolStep, who: Who, trace_id: str, span_id: str) -> None:
        """Remember a finished call; told at once when a policy of the server reads results, else with the next one."""
        run = who.run or who.session
        if run is None:
            return
        with self._lock:
            self._finished.setdefault(run, deque(maxlen=_MOST_STEPS)).append(step)
            self._finished.move_to_end(run)
            if len(self._finished) > _MOST_RUNS:
                self._finished.popitem(last=False)
        if self._connection is not None and self._wants_results:
            self._post("tool_result", (step,), who, trace_id, span_id)

    def _known(self, who: Who) -> tuple[ToolStep, ...]:
        run = who.run or who.session
        with self._lock:
            return tuple(self._finished.get(run, ())) if run is not None else ()

    def _told(self, who: Who, count: int) -> None:
        run = who.run or who.session
        with self._lock:
            finished = self._finished.get(run) if run is not None else None
            if finished is not None and self._local is None:
                for _ in range(min(count, len(finished))):
                    finished.popleft()

    def _post(
        self, stage: str, steps: tuple[ToolStep, ...], who: Who, trace_id: str, span_id: str
    ) -> dict[str, Any] | None:
        """The server's answer, or None when it cannot be asked: counted each time, said once."""
        if self._connection is None or time.monotonic() < self._quiet_until:
            self.counts["unreachable"] += 1
            return None
        question = {
            "stage": stage,
            "trace_id": trace_id,
            "span_id": span_id,
            "tool": steps[-1].tool,
            "steps": [_sendable(step) for step in steps],
            "identity": dict(who.items()),
        }
        try:
            answer = self._connection.post("/api/v1/decide", question)
        except (Unreachable, NotAccepted) as error:
            self._quiet_until = time.monotonic() + _QUIET_S if isinstance(error, Unreachable) else 0.0
            if not self.counts["unreachable"]:
                way = "run" if self._on_unreachable == "open" else "are denied"
                _log.warning("watchkeeper: no policy could be asked, so tools %s unasked: %s (said once)", way, error)
            self.counts["unreachable"] += 1
            return None
        return answer if isinstance(answer, dict) else {}


class _Local:
    """A chain of policies in this process, on an event loop of its own so that any thread can ask."""

    def __init__(
        self, policies: Sequence[Policy | Link], cells: Cells | None, report: Callable[[Decision], None] | None
    ) -> None:
        links = [each if isinstance(each, Link) else Link(policy=each, instance=each.header.id) for each in policies]
        self._chain = Chain(links, cells, report or (lambda decision: None), time.time_ns)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="watchkeeper-policies", daemon=True).start()

    def rule(self, event: Event) -> Decision | None:
        """The decision that stops the call, if one does."""
        asked = asyncio.run_coroutine_threadsafe(self._decide(event), self._loop)
        return asked.result(_LOCAL_TIMEOUT_S)

    async def _decide(self, event: Event) -> Decision | None:
        stop = (await self._chain.decide(event)).stop
        if stop is None:
            await self._chain.settle(event, Usage(), None)  # a cap on calls is used up by being granted
        return stop


def _event(stage: Stage, steps: tuple[ToolStep, ...], who: Who, trace_id: str, span_id: str) -> Event:
    return Event(
        stage=stage.value,
        at_ns=time.time_ns(),
        trace_id=trace_id,
        span_id=span_id,
        identity=Identity(session=who.session, run=who.run, user=who.user, agent=who.agent),
        tool=steps[-1].tool,
        steps=steps,
    )


def _sendable(step: ToolStep) -> dict[str, Any]:
    sent = {
        "tool": step.tool,
        "arguments": step.arguments,
        "call_id": step.call_id,
        "agent": step.agent,
        "result": step.result,
        "sketch": step.sketch or None,
        "gist": step.gist or None,
    }
    return {key: value for key, value in sent.items() if value is not None}
