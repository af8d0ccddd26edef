"""Wires retention: the rules of the settings, how exports are thinned, and whom to tell that the cap cannot be kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple, Protocol

from watchkeeper.adapters.formats import otlp, otlp_logs, otlp_names, otlp_strip
from watchkeeper.adapters.formats.otlp_wire import read_stamp
from watchkeeper.adapters.formats.sources import sources_in
from watchkeeper.compose.erasing import Eraser
from watchkeeper.compose.redacting import tokens_of
from watchkeeper.config import Config
from watchkeeper.engines.keeping.cards import Cards
from watchkeeper.engines.keeping.concealing import Concealer
from watchkeeper.engines.keeping.consequence import Chooser
from watchkeeper.engines.keeping.keeper import Keeper, Others
from watchkeeper.engines.keeping.pseudonyms import Pseudonyms, Sub
from watchkeeper.engines.keeping.settings import rules_of
from watchkeeper.engines.keeping.thinning import Thinner
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.question import Reader
from watchkeeper.records.drop import Drop
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import Record
from watchkeeper.records.span import NOWHERE, Span

SECRET = "sampling"
NAMES_SECRET = "pseudonyms"
_log = logging.getLogger("watchkeeper.retention")


class Export(NamedTuple):
    """One kind of telemetry export as retention reads and thins it."""

    inside: Callable[[bytes], Iterable[tuple[str, str, int]]]
    strip: Callable[[bytes, int, str, Callable[[str], bool]], bytes | None]
    rename: Callable[[bytes, int, Collection[str], Sub, Sub], bytes]
    records: Callable[[bytes, int], Iterable[Record]]

    def received_ns(self, payload: bytes) -> int | None:
        """When it came in, where its stamp says so."""
        return otlp_strip.received_ns(payload)

    def owner(self, payload: bytes) -> str:
        """Whose it is: the key's that sent it."""
        mark = read_stamp(payload)
        return (Identity() if mark is None else mark.identity).owner


def _spans_of(payload: bytes, came_ns: int) -> Iterable[Record]:
    records = otlp.records_of(payload, NOWHERE, came_ns)
    return (*records, *sources_in(payload, [each for each in records if isinstance(each, Span)]))


def _logs_of(payload: bytes, came_ns: int) -> Iterable[Record]:
    return otlp_logs.records_of(payload, NOWHERE, came_ns)


EXPORTS: dict[FrameKind, Export] = {
    FrameKind.OTLP: Export(otlp_strip.spans_in, otlp_strip.strip_spans, otlp_names.rename_spans, _spans_of),
    FrameKind.OTLP_LOGS: Export(otlp_strip.logs_in, otlp_strip.strip_logs, otlp_names.rename_logs, _logs_of),
}


class Desk(Protocol):
    """Who opens incidents."""

    async def file(self, finding: Finding) -> object:
        """Take a finding."""
        ...


class _House(Protocol):
    """What retention needs of the store process."""

    @property
    def config(self) -> Config: ...
    @property
    def home(self) -> Home: ...
    @property
    def log(self) -> Log: ...
    @property
    def reader(self) -> Reader: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def desk(self) -> Desk: ...
    @property
    def eraser(self) -> Eraser: ...
    @property
    def clock(self) -> Callable[[], int]: ...
    def journal(self) -> Journal: ...
    def record(self, record: Record) -> None: ...


def keeper_of(house: _House) -> Keeper:
    """The keeper of a store process."""
    rules = rules_of(house.config.sampling, house.config.retention)
    cards = Cards(house.home.journal, house.home.index.parent / "cards", otlp_strip.received_ns)

    def thinner() -> Thinner:
        chooser = Chooser(house.reader, rules, house.home.secret(SECRET))
        return Thinner(house.journal(), house.home.journal, cards, house.log, chooser, rules, EXPORTS)

    def concealer() -> Concealer:
        names = pseudonyms_of(house.config, house.home)
        return Concealer(house.journal(), house.home.journal, cards, house.log, rules, EXPORTS, names)

    search = house.home.index.parent / "search"

    def changed(writer: str, segment: int) -> None:
        """What a search knew of a segment is made anew without what went."""
        (search / writer / f"{segment:08d}.wkg").unlink(missing_ok=True)

    others = Others(turn=house.eraser.turn, erased=lambda: house.eraser.done, packed=house.vault.close, changed=changed)
    return Keeper(
        house.home.path, cards, house.log, thinner, rules, _teller(house), house.clock, others,
        concealer if rules.identities_ns is not None else None,
    )  # fmt: skip


def pseudonyms_of(config: Config, home: Home) -> Pseudonyms:
    """What makes pseudonyms in a data directory."""
    return Pseudonyms(home.secret(NAMES_SECRET), config.retention.identity_fields)


def aliases_of(config: Config, home: Home) -> Callable[[str, str], frozenset[str]]:
    """What may stand in the record for a user's name: a rule's token, or the pseudonym that retention puts there."""
    tokens, names = tokens_of(config, home), Pseudonyms(home.secret(NAMES_SECRET))

    def aliases(tenant: str, user: str) -> frozenset[str]:
        told = tokens(tenant, user)
        return frozenset((*told, names.of(user), *map(names.of, told)))

    return aliases


def thinned(kind: FrameKind, payload: bytes) -> bytes:
    """An export without its content, for the time that the disk cap leaves no room for bodies."""
    exports = EXPORTS.get(kind)
    if exports is None:
        return payload
    try:
        return exports.strip(payload, time.time_ns(), "bodies", _nothing) or payload
    except ValueError as error:  # what cannot be read is kept as it came, like any other export
        _log.error("an export could not be thinned: %s", error)
        return payload


def _nothing(trace_id: str) -> bool:
    del trace_id
    return False


def _teller(house: _House) -> Callable[[str, int, int], Awaitable[None]]:
    async def tell(sentence: str, used: int, cap: int) -> None:
        """In the log, in the drop ledger, and as an incident."""
        now_ns = house.clock()
        _log.error("%s", sentence)
        drop = Drop(
            what="body", reason="disk_cap", count=0, first_ns=now_ns, last_ns=now_ns, door="retention", detail=sentence
        )
        house.record(drop)
        await house.desk.file(
            Finding(
                finding_id=new_id("fnd"), monitor="retention", version="1", subject="retention:disk_cap", at_ns=now_ns,
                window_start_ns=now_ns, window_end_ns=now_ns, severity="page", sentence=sentence,
                estimate=Estimate(value=float(used), low=float(used), high=float(used), n=1, method="count", unit="B"),
                evidence={"cap_bytes": cap, "used_bytes": used},
            )
        )  # fmt: skip

    return tell
