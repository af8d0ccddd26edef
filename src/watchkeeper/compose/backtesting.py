"""Answers what a policy would have stopped in recorded traffic: settings in, sentences and figures out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.conversation import Conversation
from watchkeeper.compose.discovery import build, discover
from watchkeeper.config import Capability, Config
from watchkeeper.engines.decide.backtest import backtest, sentences
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.decide.recorded import load_runs, steps_said
from watchkeeper.queries.question import Reader
from watchkeeper.queries.timespan import parse_time
from watchkeeper.records.event import Stage, ToolStep
from watchkeeper.records.span import Operation, Span

PLAYED = frozenset({Stage.REQUEST, Stage.TOOL_CALL})
"""The stages of recorded calls that are played again."""

ConversationOf = Callable[[Span], Awaitable[Conversation]]
"""The messages of a span; raises `LookupError` when they were not recorded or cannot be read."""


class Backtester:
    """Plays recorded runs against a policy with the parameters that the caller names."""

    def __init__(
        self,
        config: Config,
        reader: Reader,
        conversation: ConversationOf,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config, self._reader, self._conversation, self._clock_ns = config, reader, conversation, clock_ns

    async def run(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Answer {policy, since, with}; raises `ValueError` for what cannot be asked."""
        use = Capability(use=str(wanted.get("policy", "")), parameters=dict(wanted.get("with") or {}))
        kind = discover("policies").get(use.use)
        if kind is not None and not kind.stages & PLAYED:
            raise ValueError(
                f"The policy {use.use!r} rules at the stage {', '.join(sorted(kind.stages))}, which recorded calls do "
                "not show. Run it with mode = 'shadow' and look at its decisions."
            )
        now = self._clock_ns()
        since = parse_time(str(wanted.get("since", "7d")), now)
        link = Link(policy=build("policies", use, self._config), instance=use.use)
        runs = await load_runs(self._reader, since, now, self._steps)
        result = await asyncio.to_thread(backtest, link, runs)
        figures: dict[str, Any] = msgspec.to_builtins(result)
        return {**figures, "sentences": sentences(result)}

    async def _steps(self, span: Span) -> tuple[ToolStep, ...] | None:
        try:
            said = await self._conversation(span)
        except LookupError:
            return None
        messages = [*said.input, *said.output] if span.operation == Operation.TOOL else said.input
        return steps_said(messages, span.identity.agent) if messages else None
