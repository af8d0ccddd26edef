"""Wires work that takes minutes: calls made once, jobs and the ledger of effects, in the gateway and in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from watchkeeper.adapters.formats.otlp import span_of
from watchkeeper.adapters.notify.posting import post
from watchkeeper.compose.postconditions import Judge
from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.idempotency import IdempotencySettings, Once
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.gateway.presence import Presence
from watchkeeper.engines.incidents.desk import IncidentDesk
from watchkeeper.engines.jobs.calling import Caller
from watchkeeper.engines.jobs.deadman import DeadMan
from watchkeeper.engines.jobs.desk import Allowed, JobDesk, Recorder
from watchkeeper.engines.jobs.door import WorkDoor
from watchkeeper.engines.jobs.effects import EffectLedger
from watchkeeper.engines.jobs.hooks import Hooks
from watchkeeper.engines.jobs.runner import KeyOf, Runner
from watchkeeper.engines.recorder.capture import Capture
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.body import Body
from watchkeeper.records.decision import Decision
from watchkeeper.records.record import Record

DAY_NS = 86_400 * 1_000_000_000


class House(NamedTuple):
    """What both processes give: settings, data directory, cells, clock and keys."""

    config: Config
    home: Home
    cells: Cells
    clock: Callable[[], int]
    keys: KeyRing


class GatewayWork:
    """Once, jobs and effects of the gateway process. `let_go` before the gateway is closed, `stop` after it."""

    def __init__(self, house: House, gateway: Gateway, journal: Capture, decided: Callable[[Decision], None]) -> None:
        """Hangs itself before the gateway; raises `ConfigError` for a webhook secret that is not set."""
        config, home, cells, clock, keys = house
        self._vault = Vault(home.journal, {FrameKind.OTLP: span_of})
        self._presence = Presence(cells, home.secret("chunks"), journal.writer, clock)
        gateway.once = self.once = Once(
            cells, self._presence, home.journal, self._vault.body, settings_of(config), clock
        )
        key_of = key_finder(keys)
        self.effects = EffectLedger(cells, journal.append, clock)
        judge = Judge(config, cells, decided, self.effects)
        self.jobs = _desk(house, journal, self.effects, judge)
        self.hooks = Hooks(cells, post, _secret(config), clock, journal.append)
        self._runner = Runner(
            self.jobs,
            self.effects,
            self._presence,
            Caller(lambda: gateway, cells),
            judge,
            key_of,
            self._vault.body,
            self.hooks,
            clock,
            at_once=config.jobs.at_once,
            keep_effects_ns=round(config.jobs.keep_effects_days * DAY_NS),
        )
        self.door = WorkDoor(self.jobs, self.effects, self._vault.body, key_of, journal.identity)

    async def start(self) -> None:
        """Say that this process lives, and go on with what a former one left."""
        await self._presence.start()
        await self.once.start()
        await self._runner.start()

    async def let_go(self) -> None:
        """Begin nothing more; jobs under way go on when the next process starts."""
        await self._runner.stop()

    async def stop(self) -> None:
        """Write what came of the last calls."""
        await self.once.stop()
        await self._presence.stop()
        self._vault.close()

    def metrics(self) -> bytes:
        """Calls under a key, and webhooks, in the Prometheus text format."""
        name = "watchkeeper_job_webhooks_total"
        lines = [f"# HELP {name} Tries to deliver a webhook of a job, by outcome.", f"# TYPE {name} counter"]
        lines += [f'{name}{{outcome="{outcome}"}} {count}' for outcome, count in sorted(self.hooks.counts.items())]
        return self.once.metrics() + ("\n".join(lines) + "\n").encode()


class StoreWork:
    """Jobs and effects of the store process: nothing runs here but the dead man's watch."""

    def __init__(
        self,
        house: House,
        record: Callable[[Record], None],
        capture: Callable[[], Capture],
        read: Callable[[Body], bytes],
        desk: IncidentDesk,
    ) -> None:
        """`capture` opens the process's own journal when it is first needed; `read` gives a payload's bytes."""
        cells, clock = house.cells, house.clock
        self.effects = EffectLedger(cells, record, clock)
        judge = Judge(house.config, cells, record, self.effects)
        self.jobs = _desk(house, _Later(record, capture), self.effects, judge)
        key_of = key_finder(house.keys)
        self.door = WorkDoor(self.jobs, self.effects, read, key_of, lambda identity: identity)
        self.dead_man = DeadMan(self.jobs, desk, clock)


class _Later:
    """The store's journal, which is opened by the first record."""

    def __init__(self, record: Callable[[Record], None], capture: Callable[[], Capture]) -> None:
        self.append, self._capture = record, capture

    @property
    def write(self) -> Callable[..., tuple[Body, ...]]:
        """What keeps payloads and records."""
        return self._capture().write


def settings_of(config: Config) -> IdempotencySettings:
    """The settings of calls that are made once."""
    chosen = config.idempotency
    return IdempotencySettings(
        keep_s=chosen.keep_hours * 3600,
        wait_s=chosen.wait_s,
        on_unknown=chosen.on_unknown,
        max_body_bytes=config.server.max_body_mb << 20,
    )


def key_finder(keys: KeyRing) -> KeyOf:
    """Finds a key by its id; None stands for a caller without one."""

    async def key_of(key_id: str | None) -> Key | None:
        if key_id is None:
            return None
        if key_id == "owner":
            return Key(key_id="owner", name="owner", salt=b"", hash=b"", created_ns=0)
        key = await keys.alive(key_id)
        if key is not None:
            return key
        raise LookupError(f"The key {key_id} lets nobody in any more, so nothing more is done in its name.")

    return key_of


def _desk(house: House, recorder: Recorder, effects: EffectLedger, judge: Judge) -> JobDesk:
    config, home, cells, clock, _ = house
    name = Presence(cells, home.secret("chunks"), "", clock).me.house
    allowed = Allowed(
        webhook_hosts=tuple(host.lower() for host in config.jobs.webhook_hosts), most_open=config.jobs.most_open
    )
    return JobDesk(cells, recorder, effects, name, clock, allowed, judge.check)


def _secret(config: Config) -> bytes | None:
    name = (config.jobs.webhook_secret or "").removeprefix("env:")
    if not name:
        return None
    secret = os.environ.get(name)
    if not secret:
        raise ConfigError(
            f"{config.file or 'settings'}: `jobs.webhook_secret` reads the environment variable {name}, which is not "
            "set. Put the secret there: openssl rand -hex 32."
        )
    return secret.encode()
