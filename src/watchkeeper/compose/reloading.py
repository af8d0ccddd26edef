"""Takes upstreams, routes and policies anew while the gateway runs; calls under way keep what they began with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from watchkeeper.adapters.models.prices import Prices
from watchkeeper.compose.discovery import files_of
from watchkeeper.compose.trail import note_settings
from watchkeeper.config import Config, ConfigError, load
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.intake import Intake
from watchkeeper.engines.gateway.settings import Settings, SettingsError
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.audit import Audit
from watchkeeper.records.decision import Decision

TAKEN = ("upstreams", "routes", "policies")
"""The sections that the gateway takes anew; changes of others wait for the next start."""

_IGNORED = ("file",)
_log = logging.getLogger("watchkeeper.gateway")


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of taking the settings anew: the sections that are in force now, and those that wait for a start."""

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """It in words."""
        said = f"in force now: {', '.join(self.changed)}" if self.changed else "nothing changed that can be taken anew"
        more = f"; these wait for the next start: {', '.join(self.waiting)}" if self.waiting else ""
        return said + more


class House(Protocol):
    """The part of the gateway's house that settings are put into."""

    config: Config
    chain: Chain
    gateway: Gateway
    intake: Intake
    prices: Prices
    clock: Callable[[], int]

    @property
    def cells(self) -> Cells:
        """Where small state is kept."""
        ...

    def decided(self, decision: Decision) -> None:
        """Write a decision down."""
        ...

    def audited(self, audit: Audit) -> None:
        """Write an administrative act down."""
        ...


class Reloading:
    """Takes settings anew, whole or not at all: what cannot work leaves the old ones in force.

    `settings_of` and `links_of` make of a config what the gateway and its chain of policies take.
    """

    def __init__(
        self, house: House, settings_of: Callable[[Config], Settings], links_of: Callable[[Config], tuple[Link, ...]]
    ) -> None:
        self._house, self._settings_of, self._links_of = house, settings_of, links_of
        self._chains: list[Chain] = []
        self.taken = 0
        self.refused = 0
        self.problem: str | None = None

    async def from_file(self) -> Reloaded:
        """Read the settings file that the server was started with; raises `ConfigError`."""
        file = self._house.config.file
        if file is None:
            raise ConfigError("The server was started without a settings file, so there is none to read again.")
        try:
            fresh = load(Path(file))
        except ConfigError as error:
            self._refuse(error)
            raise
        return await self.take(fresh)

    async def take(self, fresh: Config) -> Reloaded:
        """Put settings in force; raises `ConfigError`, and then all is as it was."""
        house = self._house
        before = house.config
        changed = [name for name in TAKEN if getattr(fresh, name) != getattr(before, name)]
        if "policies" not in changed and self._files_changed(fresh):
            changed.append("policies")
        names = [field.name for field in msgspec.structs.fields(Config) if field.name not in (*TAKEN, *_IGNORED)]
        waiting = tuple(name for name in names if name != "server" and getattr(fresh, name) != getattr(before, name))
        if _server(fresh) != _server(before):
            waiting = (*waiting, "server")
        merged = msgspec.structs.replace(before, **{name: getattr(fresh, name) for name in TAKEN})
        if changed:
            try:
                self._apply(merged, "policies" in changed)
            except (ConfigError, SettingsError, ValueError) as error:
                self._refuse(error)
                raise ConfigError(f"{error} The old settings stay in force.") from error
            house.config = merged
            self.taken += 1
            try:
                await note_settings(merged, house.cells, house.audited, house.clock())
            except OSError as error:
                _log.error("changed settings could not be recorded: %s", error)
        self.problem = None
        done = Reloaded(changed=tuple(changed), waiting=waiting)
        if changed or waiting:
            _log.info("the settings were read again; %s", done.sentence)
        return done

    def _files_changed(self, fresh: Config) -> bool:
        """Whether a file that a policy was given holds something else; one that cannot be read raises `ConfigError`."""
        if not any(files_of("policies", use, fresh) for use in fresh.policies):
            return False
        try:
            return self._links_of(fresh) != self._house.chain.links
        except ConfigError as error:
            self._refuse(error)
            raise ConfigError(f"{error} The old settings stay in force.") from error

    async def idle(self) -> None:
        """Return when no chain that was replaced waits for anything."""
        for chain in self._chains:
            await chain.idle()

    def chains(self) -> Sequence[Chain]:
        """The chains that were replaced and may still settle calls."""
        return self._chains

    def _apply(self, config: Config, policies: bool) -> None:
        house = self._house
        settings = self._settings_of(config)
        chain = Chain(self._links_of(config), house.cells, house.decided, house.clock) if policies else house.chain
        if policies and any(getattr(link.policy, "usd", None) is not None for link in chain.links):
            house.prices.load()
        house.gateway.reload(settings, chain)
        if policies:
            self._chains = [*self._chains[-4:], house.chain]
            house.chain = chain
            house.intake.use(chain)

    def _refuse(self, error: Exception) -> None:
        self.refused += 1
        self.problem = str(error)
        _log.error("the settings were read again and cannot be used; the old ones stay in force: %s", error)


def _server(config: Config) -> object:
    """The server's settings, less those that a flag may have set."""
    return msgspec.structs.replace(config.server, listen="", data="")
