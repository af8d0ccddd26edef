"""Wires the gateway process: journal, cells, policies, keys, prices, gateway and intake."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Mapping

from watchkeeper.adapters.formats import otlp, otlp_wire
from watchkeeper.compose.cells import cells_of
from watchkeeper.compose.discovery import build
from watchkeeper.compose.pricing import prices_of
from watchkeeper.config import Config
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.intake import Intake, TraceFormat
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.gateway.settings import Settings, UpstreamSpec
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.decision import Decision
from watchkeeper.records.ids import digest
from watchkeeper.records.record import as_json

_log = logging.getLogger("watchkeeper.gateway")
OWNER_PREFIX = "wko-"


def links_of(config: Config) -> tuple[Link, ...]:
    """The policy chain in the order of the settings."""
    return tuple(
        Link(policy=build("policies", use, config), instance=use.name or use.use, mode=use.mode, owner=use.owner or "")
        for use in config.policies
    )


def settings_of(config: Config) -> Settings:
    """The gateway engine's settings."""
    chain = as_json([(use.use, use.name, use.mode, use.parameters) for use in config.policies])
    return Settings(
        upstreams=tuple(
            UpstreamSpec(
                name=each.name,
                base_url=each.base_url,
                credential=each.credential,
                models=each.models,
                aliases=each.aliases,
                provider=each.provider,
                timeout_s=each.timeout_s,
                connect_timeout_s=each.connect_timeout_s,
                max_output_tokens=each.max_output_tokens,
                recording=each.recording,
                ask_usage=each.ask_usage,
                default=each.default,
            )
            for each in config.upstreams
        ),
        require_keys=config.server.require_keys or not config.server.on_loopback,
        max_body_bytes=config.server.max_body_mb << 20,
        policies=digest(chain) if config.policies else "none",
    )


class GatewayHouse:
    """Everything of the gateway process but its door. `start` inside the running loop, `stop` at the end."""

    def __init__(self, config: Config, home: Home, clock: Callable[[], int] = time.time_ns) -> None:
        """Open journal and cells; raises `ConfigError`, `HomeError` or `JournalLocked`."""
        self.config, self.home = config, home
        links = links_of(config)
        self.journal = Journal(home.journal, "gateway", home.secret("chunks"))
        self.cells = cells_of(config, home)
        self.chain = Chain(links, self.cells, self._decided, clock)
        self.keys = KeyRing(self.cells, clock, self.journal.append)
        self.lost_decisions = 0
        prices = prices_of(config)
        if any(getattr(link.policy, "usd", None) is not None for link in links):
            prices.load()
        self.gateway = Gateway(settings_of(config), self.journal, self.chain, self.keys, prices, clock)

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
            clock_ns=clock,
        )

    async def start(self) -> None:
        """Open the connections to the upstreams."""
        await self.gateway.start()

    async def stop(self) -> None:
        """Finish the calls under way, then sync and close journal and cells."""
        await self.gateway.close()
        await self.chain.idle()
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
        return self.gateway.measures.render() + intake_metrics(self.intake.counts)

    def _decided(self, decision: Decision) -> None:
        try:
            self.journal.append(decision)
        except OSError as error:
            self.lost_decisions += 1
            self.gateway.measures.dropped("decision")
            _log.error("a decision could not be recorded: %s", error)


_INTAKE = {
    "taken": "Items that the doors wrote to the journal, by kind.",
    "dropped": "Items that the doors could not keep: spans that are none, or what the journal did not take.",
    "refused": "Requests that the doors refused, by reason.",
}
_DROPPED = ("spans_rejected", "unrecorded")


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
