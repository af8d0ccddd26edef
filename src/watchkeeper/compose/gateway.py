"""Wires the gateway process: journal, cells, policies, keys, prices, gateway and intake."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping

from watchkeeper.adapters.formats import otlp, otlp_logs, otlp_metrics, otlp_wire
from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.compose.cells import cells_of
from watchkeeper.compose.discovery import build, files_of
from watchkeeper.compose.keeping import thinned
from watchkeeper.compose.pricing import prices_of
from watchkeeper.compose.redacting import captured, privacy_metrics
from watchkeeper.compose.reloading import Reloading
from watchkeeper.compose.steering import Steering, steered
from watchkeeper.compose.trail import SignIns, note_settings
from watchkeeper.compose.unlocking import unlock
from watchkeeper.compose.upstreams import specs_of
from watchkeeper.compose.vouching import issuer_of
from watchkeeper.compose.working import GatewayWork, House
from watchkeeper.config import Config
from watchkeeper.config.sections import Capability
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.breakers import Change
from watchkeeper.engines.gateway.intake import LOGS, METRICS, Intake, Signal, TraceFormat
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.gateway.settings import Settings
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.ledger import DropLedger, reason_of
from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.records.audit import Audit
from watchkeeper.records.decision import Decision
from watchkeeper.records.ids import digest
from watchkeeper.records.record import as_json

_log = logging.getLogger("watchkeeper.gateway")
OWNER_PREFIX = "wko-"
TOLD_EVERY_S = 1.0


def links_of(config: Config) -> tuple[Link, ...]:
    """The policy chain: the limits that keys carry, then the policies in the order of the settings."""
    limits = Link(policy=build("policies", Capability(use="key_limits"), config), instance="key_limits")
    chosen = (
        Link(policy=build("policies", use, config), instance=use.name or use.use, mode=use.mode, owner=use.owner or "")
        for use in config.policies
    )
    return (limits, *chosen)


def settings_of(config: Config) -> Settings:
    """The gateway engine's settings."""
    chain = as_json([(use.use, use.name, use.mode, use.parameters, *_read(use, config)) for use in config.policies])
    return Settings(
        upstreams=specs_of(config),
        routes=config.routes,
        drain_s=config.server.drain_s,
        require_keys=config.server.require_keys or not config.server.on_loopback,
        max_body_bytes=config.server.max_body_mb << 20,
        policies=digest(chain) if config.policies else "none",
        transport=config.server.transport,
    )


def _read(use: Capability, config: Config) -> list[str]:
    """The digests of the files that a policy was given, for they are in force as its other parameters are."""
    return [digest(path.read_bytes()) for path in files_of("policies", use, config).values() if path.is_file()]


def signals() -> dict[str, Signal]:
    """The signals of OTLP besides traces: logs are kept, metrics are turned away and counted."""
    logs = TraceFormat(
        check=otlp_logs.check,
        from_json=otlp_logs.from_json,
        stamp=otlp_wire.stamp,
        reply=otlp_logs.reply,
        failure=otlp_wire.failure,
    )
    metrics = TraceFormat(
        check=otlp_metrics.check,
        from_json=otlp_metrics.from_json,
        stamp=otlp_wire.stamp,
        reply=otlp_metrics.reply,
        failure=otlp_wire.failure,
    )
    return {
        LOGS: Signal(logs, FrameKind.OTLP_LOGS, "log_records", "rejectedLogRecords"),
        METRICS: Signal(metrics, None, "metric_points", "rejectedDataPoints"),
    }


class GatewayHouse:
    """Everything of the gateway process but its door. `start` inside the running loop, `stop` at the end."""

    def __init__(self, config: Config, home: Home, clock: Callable[[], int] = time.time_ns) -> None:
        """Open journal and cells; raises `ConfigError`, `HomeError` or `JournalLocked`."""
        self.config, self.home, self.clock = config, home, clock
        self.signed = SignIns(self.audited, clock)
        links = links_of(config)
        subjects = unlock(config, home)
        self.ledger = DropLedger(clock)
        writer = Journal(home.journal, "gateway", home.secret("chunks"), subjects=subjects)
        writer.thin = thinned
        self.journal = captured(config, home, writer, "gateway", self.ledger)
        self.cells = cells_of(config, home)
        self.chain = Chain(links, self.cells, self.decided, clock)
        self.keys = KeyRing(self.cells, clock, self.journal.append)
        self.people = Accounts(self.cells, clock, self.audited)
        self.issuer = issuer_of(config)
        self.lost_decisions = 0
        prices = self.prices = prices_of(config)
        if any(getattr(link.policy, "usd", None) is not None for link in links):
            prices.load()
        private = self.journal.identity
        settings = settings_of(config)
        self.gateway = Gateway(
            settings,
            self.journal,
            self.chain,
            self.keys,
            prices,
            clock,
            ledger=self.ledger,
            private=private,
            cells=self.cells,
            changed=self._steered,
        )
        self.steering = Steering(self.gateway, self.cells)
        self.reloading = Reloading(self, settings_of, links_of)

        self.gateway.measures.time_policies(self.chain.timings)
        self.gateway.measures.watch({"late_facts": self.chain.waiting})
        self.intake = Intake(
            self.journal,
            TraceFormat(
                check=otlp.check,
                from_json=otlp_wire.from_json,
                stamp=otlp_wire.stamp,
                reply=otlp_wire.reply,
                failure=otlp_wire.failure,
            ),
            self.chain,
            self.keys,
            require_keys=config.server.require_keys or not config.server.on_loopback,
            durable=config.server.durable_ingest,
            max_body_bytes=config.server.max_body_mb << 20,
            signals=signals(),
            clock_ns=clock,
            ledger=self.ledger,
            private=private,
        )
        house = House(config, home, self.cells, clock, self.keys)
        self.work = GatewayWork(house, self.gateway, self.journal, self.decided)
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the connections to the upstreams, and write down settings that changed since the last start."""
        await self.gateway.start()
        await self.work.start()
        try:
            await note_settings(self.config, self.cells, self.journal.append, self.clock())
        except OSError as error:
            _log.error("changed settings could not be recorded: %s", error)
        self._telling = asyncio.create_task(self._tell(), name="drop ledger")
        self.steering.start()

    async def stop(self) -> None:
        """Finish the calls under way, then sync and close journal and cells."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
        await self.work.let_go()
        await self.steering.stop()
        await self.gateway.close()
        await self.work.stop()
        await self.chain.close()
        await self.reloading.idle()
        await self.cells.close()
        self.journal.close()

    def journal_ready(self) -> str | None:
        """None while the journal can be written, else why not."""
        try:
            self.journal.probe()
        except OSError as error:
            return str(error)
        return None

    def metrics_text(self) -> bytes:
        """What the gateway and the doors measure of themselves, in the Prometheus text format."""
        own = self.gateway.measures.render() + intake_metrics(self.intake.counts)
        return own + self.work.metrics() + privacy_metrics("gateway", self.ledger, self.journal.counts)

    async def _tell(self) -> None:
        """Write down what was lost as soon as the journal can be written again, also while no calls come."""
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            self.journal.settle()
            with contextlib.suppress(OSError, StoreError):
                await self.keys.note_use()

    def _steered(self, upstream: str, model: str, change: Change) -> None:
        """A breaker has changed its state: say so in the log and in the record."""
        level = logging.WARNING if change.after == "open" else logging.INFO
        _log.log(level, "upstream %s, model %s: %s, %s", upstream, model or "any", change.after, change.why)
        self.audited(steered(upstream, model, change, self.clock()))

    def _unwritten(self, what: str, error: Exception) -> None:
        self.gateway.measures.dropped(what)
        if not isinstance(error, RedactionFailed):
            self.ledger.lost(what, reason_of(error), "gateway")
        _log.error("a record of kind %s could not be kept: %s", what, error)

    def audited(self, audit: Audit) -> None:
        """Write an administrative act down."""
        try:
            self.journal.append(audit)
        except (OSError, RedactionFailed) as error:
            self._unwritten("audit", error)

    def decided(self, decision: Decision) -> None:
        """Write a decision down."""
        try:
            self.journal.append(decision)
        except (OSError, RedactionFailed) as error:
            self.lost_decisions += 1
            self._unwritten("decision", error)


_INTAKE = {
    "taken": "Items that the doors wrote to the journal, by kind.",
    "dropped": "Items that the doors could not keep: spans that are none, or what the journal did not take.",
    "refused": "Requests that the doors refused, by reason.",
}
_DROPPED = ("spans_rejected", "log_records_rejected", "metric_points_rejected", "unrecorded")


def intake_metrics(counts: Mapping[str, int]) -> bytes:
    """The counts of the doors in the Prometheus text format."""
    rows: dict[str, list[str]] = {name: [] for name in _INTAKE}
    for name, count in sorted(counts.items()):
        kind, _, reason = name.partition(":")
        family = "refused" if reason else "dropped" if kind in _DROPPED else "taken"
        rows[family].append(f'watchkeeper_intake_{family}_total{{what="{reason or kind}"}} {count}')
    lines = []
    for name, text in _INTAKE.items():
        family = f"watchkeeper_intake_{name}_total"
        lines += [f"# HELP {family} {text}", f"# TYPE {family} counter", *rows[name]]
    return ("\n".join(lines) + "\n").encode()


def key_check(keys: KeyRing, home: Home) -> Callable[[str], object]:
    """Reads a secret into a key; the token in the data directory's lock is the owner's."""

    async def check(secret: str) -> Key | None:
        from watchkeeper.engines.gateway.errors import Refusal

        if secret.startswith(OWNER_PREFIX):
            holder = home.holder()
            if holder is not None and hmac.compare_digest(holder.token, secret):
                return Key(key_id="owner", name="owner", salt=b"", hash=b"", created_ns=holder.since_ns)
            return None
        try:
            return await keys.check(secret)
        except Refusal:
            return None

    return check
