"""Wires the store process: index, ingester, reader, vault, keys, monitors, incidents and reports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from watchkeeper.adapters.formats.conversation import Conversation, Message
from watchkeeper.adapters.formats.otlp import span_of
from watchkeeper.adapters.store.duckdb_file import remove_file
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.known_keys import KnownKeys
from watchkeeper.compose.anchoring import Anchoring
from watchkeeper.compose.backtesting import Backtester
from watchkeeper.compose.bounding import bounded
from watchkeeper.compose.budgets import BudgetDesk
from watchkeeper.compose.cells import cells_of
from watchkeeper.compose.decoding import decoders, decoding_process
from watchkeeper.compose.discovery import build, discover
from watchkeeper.compose.erasing import Eraser
from watchkeeper.compose.keeping import aliases_of, keeper_of, thinned
from watchkeeper.compose.lineage import Lineage
from watchkeeper.compose.notifying import notifiers_of
from watchkeeper.compose.opening import catch_up, open_index, tell_until
from watchkeeper.compose.payloads import Payloads
from watchkeeper.compose.pricing import prices_of
from watchkeeper.compose.probing import aims_of, prober_of
from watchkeeper.compose.proving import Prover
from watchkeeper.compose.redacting import captured
from watchkeeper.compose.run_desk import RunDesk
from watchkeeper.compose.searching import Searching
from watchkeeper.compose.unlocking import unlock
from watchkeeper.compose.working import House, StoreWork
from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.incidents.desk import IncidentDesk
from watchkeeper.engines.monitoring.runner import MonitorRunner, MonitorUse
from watchkeeper.engines.monitoring.signals import Signals
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.engines.recorder.capture import Capture
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.ingest import Ingester, Settler
from watchkeeper.engines.recorder.joining import LogPreviews
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.lean import Lean
from watchkeeper.engines.recorder.ledger import DropLedger, reason_of
from watchkeeper.engines.recorder.twins import Twins
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.kinds.ports import Log
from watchkeeper.kinds.report import Report
from watchkeeper.queries.explorer import Trace
from watchkeeper.queries.filters import CALLS
from watchkeeper.queries.question import Question
from watchkeeper.queries.registry import as_plain
from watchkeeper.queries.replies import Said
from watchkeeper.queries.select import Rows, Select
from watchkeeper.queries.tables import record_of
from watchkeeper.records.record import Record, as_json
from watchkeeper.records.span import Span

_log = logging.getLogger("watchkeeper.store")
T = TypeVar("T")
NOTICE_WAIT_S = 3.0
BEHIND_BYTES = 4 << 20
"""From here on the index has the processor before the files for searching."""


class LogReader:
    """The Reader over a Log of this process; with `payloads` it also fetches what the index does not keep.

    Asked on behalf of somebody who is bound to a tenant, it answers from that tenant's rows alone.
    """

    def __init__(self, log: Log) -> None:
        self._index = log
        self.payloads: Payloads | None = None

    async def ask(self, question: Question[T]) -> T:
        """Answer a named question."""
        return question.answer(await self._index.select(bounded(question.select())))

    async def select(self, query: Select) -> Rows:
        """Answer a query."""
        return await self._index.select(bounded(query))

    async def payload(self, span: Span, *names: str) -> bytes | None:
        """The exact bytes of the first payload a span has under these names; None when it is not there."""
        if self.payloads is None:
            return None
        try:
            return await self.payloads.body(await self.payloads.whole(span), *names)
        except LookupError:
            return None

    async def said(self, span: Span) -> Said | None:
        """What the model said in a call; None where that is not there."""
        if self.payloads is None:
            return None
        try:
            spoken = (await self.payloads.detail(span)).conversation.output
        except LookupError:
            return None
        if not spoken:
            return None
        return Said(
            text="".join(each.text for each in spoken),
            tools=tuple(call.name for each in spoken for call in each.tool_calls),
        )


class StoreHouse:
    """Everything of the store process but its door.

    `open` makes it answer questions; `start` also follows the journals and runs the monitors; `stop` ends both.
    """

    def __init__(self, config: Config, home: Home, clock: Callable[[], int] = time.time_ns) -> None:
        """Open the index; raises `StoreError` with what to do when it cannot be read."""
        self.config, self.home, self.clock = config, home, clock
        self.ledger = DropLedger(clock)
        self._capture: Capture | None = None
        self.subjects = unlock(config, home)
        self.log, self._anew = open_index(home)
        self.reader = LogReader(self.log)
        self.vault = Vault(home.journal, {FrameKind.OTLP: span_of})
        self.ingester = Ingester(
            home.journal, self.log, decoders(config), settlers(self.log, config), decoding_process(config, home)
        )
        self.cells = cells_of(config, home)
        self.keys = KeyRing(self.cells, clock, self.record)
        self.budgets = BudgetDesk(config, self.cells, self.reader, self.record, clock)
        self.people = Accounts(self.cells, clock, self.record)
        self.payloads = self.reader.payloads = Payloads(self.vault, self.reader)
        self.desk = IncidentDesk(
            self.reader, self.record, clock, messages_of=self._messages, notifiers=notifiers_of(config)
        )
        signals = Signals(self.cells, aims_of(config))
        self.monitors = MonitorRunner(monitors_of(config), self.reader, self.desk, self.record, clock, signals.looked)
        self.lineage = Lineage(self.reader, self.payloads, self.desk, self.record, clock, self.ingester.drain)
        self.runs = RunDesk(self.cells, self.record, clock)
        self.prober = prober_of(config, home, self.record, clock)
        self._journal: Journal | None = None
        self.eraser = Eraser(self, prices_of(config), self.subjects, aliases=aliases_of(config, home))
        self.prover = Prover(self.reader, self.vault)
        self.anchoring = Anchoring(config, home, self.journal, clock)
        self.keeper = keeper_of(self)
        self.searching = Searching(home, self._behind)
        work = House(config, home, self.cells, clock, self.keys)
        self.work = StoreWork(work, self.record, self.capture, self.vault.body, self.desk)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _behind(self) -> bool:
        """Whether the index has more to catch up on than a moment's work."""
        return self.ingester.lag().size_bytes > BEHIND_BYTES

    def record(self, record: Record) -> None:
        """Append a record of this process to its own journal, which is opened by the first one."""
        try:
            self.capture().append(record)
        except OSError as error:
            self.ledger.lost(type(record).__name__.lower(), reason_of(error), "store")
            raise

    def capture(self) -> Capture:
        """This process's own journal behind redaction."""
        if self._capture is None:
            self._capture = captured(self.config, self.home, self.journal(), "store", self.ledger)
        return self._capture

    def journal(self) -> Journal:
        """This process's own journal."""
        if self._journal is None:
            secret = self.home.secret("chunks")
            self._journal = Journal(self.home.journal, "store", secret, subjects=self.subjects)
            self._journal.thin = thinned
        return self._journal

    def reports(self) -> dict[str, Report]:
        """The reports that are installed with their defaults, and those of the settings under their names."""
        stated = {use.name or use.use: build("reports", use, self.config) for use in self.config.reports}
        return {name: kind() for name, kind in discover("reports").items()} | stated

    async def backtest(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What a policy would have stopped in recorded traffic; see `Backtester`."""
        return await Backtester(self.config, self.reader, self._conversation, self.clock).run(wanted)

    async def watch(self) -> dict[str, Any]:
        """Look with every monitor now: how each fares, and what was found."""
        await self.ingester.drain()
        found = await self.monitors.once(self.clock())
        await self.ingester.drain()
        return {"items": [as_plain(each) for each in self.monitors.health()], "findings": [as_plain(f) for f in found]}

    async def _conversation(self, span: Span) -> Conversation:
        return (await self.payloads.detail(span)).conversation

    async def _messages(self, trace_id: str) -> str | None:
        """What the last model call of a trace was told, as OpenAI-style JSON; None where it cannot be read."""
        rows = await self.reader.select(Trace(trace_id=trace_id).select())
        for row in reversed(rows.dicts()):
            span = record_of("spans", row)
            if not isinstance(span, Span) or span.operation not in CALLS:
                continue
            try:
                said = await self._conversation(span)
            except LookupError:
                continue
            if said.input:
                return as_json(openai_messages(said.input)).decode()
        return None

    async def open(self) -> None:
        """Index what is in the journals, once, and end an erasure that was interrupted."""
        if self._anew:
            await catch_up(self.ingester)
        await self.ingester.drain()
        await self._end_erasures()

    async def start(self) -> None:
        """Follow the journals and run the monitors until `stop`."""
        self._tasks = [
            asyncio.create_task(self.ingester.run(self._stopping), name="ingester"),
            asyncio.create_task(self._end_erasures(), name="erasures"),
            asyncio.create_task(self._tell_index(), name="index"),
            asyncio.create_task(self.anchoring.run(self._stopping), name="anchoring"),
            asyncio.create_task(self.monitors.run(self._stopping), name="monitors"),
            asyncio.create_task(self.keeper.follow(self._stopping, self.config.retention.every_s), name="retention"),
            asyncio.create_task(self.prober.run(self._stopping), name="probes"),
            asyncio.create_task(self.lineage.lookout.run(self._stopping), name="lookout"),
            asyncio.create_task(self.searching.run(self._stopping), name="searching"),
            asyncio.create_task(self.work.dead_man.run(self._stopping), name="dead man"),
        ]

    async def _tell_index(self) -> None:
        if self._anew:
            await tell_until(self.ingester, self._stopping)

    async def _end_erasures(self) -> None:
        try:
            if self.eraser.unfinished():
                await self.eraser.resume()
        except (OSError, ValueError, RuntimeError) as error:
            _log.error("an erasure that was begun could not be ended: %s; run 'watchkeeper erase --resume'", error)

    async def stop(self) -> None:
        """Finish the batch under way and close everything."""
        self._stopping.set()
        for task in self._tasks:
            await task
        try:
            await asyncio.wait_for(self.desk.notices.settled(), NOTICE_WAIT_S)
        except TimeoutError:
            _log.warning("notices that could not be delivered within %.0f s of the end are given up", NOTICE_WAIT_S)
        if self._journal is not None:
            self.ledger.write(self._journal.append)
            self._journal.close()
        await self.ingester.rest()
        await self.cells.close()
        await self.log.close()
        self.vault.close()


def settlers(log: Log, config: Config) -> tuple[Settler, ...]:
    """What brings a batch into agreement with the index: previews that came as logs, then calls that are told twice.

    Where the settings keep content out of the index, that is done last.
    """
    last = () if config.recording.index_content else (Lean(),)
    return (LogPreviews(log), Twins(log, KnownKeys), *last)


def openai_messages(said: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages of the neutral form as an OpenAI client would send them."""
    messages: list[dict[str, Any]] = []
    for message in said:
        plain: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.tool_calls:
            plain["tool_calls"] = [
                {
                    "id": call.call_id or f"call_{number}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for number, call in enumerate(message.tool_calls)
            ]
        if message.tool_call_id is not None:
            plain["tool_call_id"] = message.tool_call_id
        messages.append(plain)
    return messages


def monitors_of(config: Config) -> tuple[MonitorUse, ...]:
    """The monitors in the settings."""
    uses = []
    for use in config.monitors:
        parameters: dict[str, Any] = dict(use.parameters)
        every_s = parameters.pop("every_s", None)
        if every_s is not None and not (isinstance(every_s, int | float) and every_s > 0):
            raise ConfigError(
                f"{config.file or 'settings'}: `monitors` {use.name or use.use!r}: `with.every_s` is {every_s!r}; "
                "expected a number of seconds above 0."
            )
        plain = type(use)(use=use.use, name=use.name, mode=use.mode, owner=use.owner, parameters=parameters)
        monitor = build("monitors", plain, config)
        uses.append(MonitorUse(monitor=monitor, name=use.name or use.use, owner=use.owner, every_s=every_s))
    return tuple(uses)


async def rebuild_index(config: Config, home: Home, progress: Callable[[int], None]) -> dict[str, int]:
    """Make the index anew from the journal; `progress` is told how many records are in. Returns counts."""
    unlock(config, home)
    await asyncio.to_thread(remove_file, home.index)
    log = DuckDBLog.open(home.index)
    ingester = Ingester(home.journal, log, decoders(config), settlers(log, config), decoding_process(config, home))
    frames = records = 0
    try:
        while (done := await ingester.round()).frames:
            frames, records = frames + done.frames, records + done.records
            progress(records)
        await log.checkpoint()
    finally:
        await ingester.rest()
        await log.close()
    return {"frames": frames, "records": records, "duplicates": ingester.duplicates}
