"""Keeps to the rules of retention: looks now and then at what is due and at the disk, and takes it away in small steps.

One segment is one step, so ingest never waits, and a step that was interrupted is done again. Nothing is taken while
the index is behind: it is what says which traces are worth keeping.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from watchkeeper.engines.keeping.cards import Card, Cards
from watchkeeper.engines.keeping.concealing import WHY, Concealer
from watchkeeper.engines.keeping.concealing import due as conceal_due
from watchkeeper.engines.keeping.disk_use import DiskUse, disk_use
from watchkeeper.engines.keeping.rules import DAY_NS, Rules, before
from watchkeeper.engines.keeping.thinning import Thinned, Thinner
from watchkeeper.engines.recorder.forgetting import forget
from watchkeeper.engines.recorder.frames import Corrupt
from watchkeeper.engines.recorder.refusing import refuse, refused
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.select import Table
from watchkeeper.records.kept import Stage
from watchkeeper.records.record import Record

HIGH_SHARE, LOW_SHARE, REFUSE_SHARE = 0.90, 0.80, 0.95
"""Of the disk cap: above the first things go until the second is reached; above the third no body comes in."""
SETTLE_S = 0.5
LOOK_EVERY_S = 5.0
PAUSE_S = 0.05
"""Between two segments, so that ingest and questions have the machine to themselves again."""
RECORD_TABLES: tuple[Table, ...] = (
    "decisions", "scores", "findings", "incidents", "experiments", "drops", "effects", "sessions", "jobs", "audits",
)  # fmt: skip
_TIERS = (Stage.SAMPLED, Stage.BODIES, Stage.METADATA)
_log = logging.getLogger("watchkeeper.retention")


class Step(Record):
    """One segment that is due: from which stage to which, why, and the most that it can free."""

    writer: str
    segment: int
    stage: str
    to: str
    why: str
    oldest_ns: int
    youngest_ns: int
    at_most_bytes: int


class Plan(Record):
    """What retention would do now."""

    rules: Rules
    version: str
    at_ns: int
    due: tuple[Step, ...]
    use: DiskUse
    segments: int
    frames: int
    erased: int
    amounts: dict[str, tuple[int, int, int]]
    refused: bool
    growth_bytes_a_day: float | None
    cap_in_days: float | None
    waiting: str | None


class Others(NamedTuple):
    """Who else is concerned: `turn` is held by whoever erases, `erased` counts erasures that others made.

    `packed` is called after files were written anew, so that nobody reads on in the old ones, and `changed` for each
    segment (writer and number) from which something went, so that what was derived from it goes too.
    """

    turn: asyncio.Lock
    erased: Callable[[], int]
    packed: Callable[[], None]
    changed: Callable[[str, int], None]


class Keeper:
    """Runs retention over a data directory; one at a time."""

    def __init__(
        self,
        home: Path,
        cards: Cards,
        log: Log,
        thinner: Callable[[], Thinner],
        rules: Rules,
        tell: Callable[[str, int, int], Awaitable[None]],
        clock_ns: Callable[[], int],
        others: Others,
        concealer: Callable[[], Concealer] | None = None,
    ) -> None:
        """`tell` is given a sentence, bytes used and the cap when the cap cannot be kept."""
        self._home, self._journal, self._index = home, home / "journal", log
        self.cards = cards
        self._thinner, self._rules, self._tell = thinner, rules, tell
        self._clock_ns, self._others, self._concealer = clock_ns, others, concealer
        self._turn = asyncio.Lock()
        self._told = False
        self._erased = 0
        self._stopping = asyncio.Event()

    async def plan(self) -> Plan:
        """What would go now, and what the disk holds; changes nothing."""
        async with self._turn:
            await asyncio.to_thread(self.cards.refresh, True)
            now_ns, use = self._clock_ns(), await asyncio.to_thread(disk_use, self._home)
            due = tuple(_step(card, stage, why) for card, stage, why in self._due(now_ns, use.total))
            return self._plan(now_ns, due, use, await self._waiting())

    async def run(self, told: Callable[[int, int], None] | None = None) -> list[Thinned]:
        """Do all that is due; `told` gets how many segments of how many are done."""
        async with self._turn:
            return await self._round(told)

    async def follow(self, stopping: asyncio.Event, every_s: float) -> None:
        """Do what is due every so often, and look at the disk more often, until told to stop."""
        last_ns, self._stopping = 0, stopping
        while not stopping.is_set():
            try:
                now_ns = self._clock_ns()
                if now_ns - last_ns >= every_s * 1e9 or await self._over():
                    last_ns = now_ns
                    await self.run()
            except (OSError, Corrupt, RuntimeError) as error:
                _log.error("retention could not do its work and tries again: %s", error)
            try:
                await asyncio.wait_for(stopping.wait(), min(every_s, LOOK_EVERY_S))
            except TimeoutError:
                continue

    async def _over(self) -> bool:
        """Whether the disk cap asks for something to be done; bodies are refused as long as it is all but reached."""
        cap = self._rules.disk_cap_bytes
        if cap is None:
            return False
        used = (await asyncio.to_thread(disk_use, self._home)).total
        if used >= REFUSE_SHARE * cap and not refused(self._journal):
            refuse(self._journal, True)
            _log.warning("the data directory takes %d bytes of the cap of %d: no bodies are kept for now", used, cap)
        return used >= HIGH_SHARE * cap or refused(self._journal)

    async def _round(self, told: Callable[[int, int], None] | None) -> list[Thinned]:
        await self._over()
        await asyncio.to_thread(self.cards.refresh)
        now_ns, used = self._clock_ns(), (await asyncio.to_thread(disk_use, self._home)).total
        if not self._anything_due(now_ns, used) or await self._waiting() is not None:
            return await self._settle_cap([])
        # From here on nobody points to a payload that was written before, so what the cards say of needs stays true.
        forget(self._journal)
        await asyncio.sleep(SETTLE_S)
        self._erased = self._others.erased()
        await asyncio.to_thread(self.cards.refresh, True)
        thinner, done = self._thinner(), []
        due = list(self._due_by_age(now_ns))
        for number, (card, stage) in enumerate(due):
            if self._stopping.is_set():
                break
            if told is not None:
                told(number, len(due))
            done += await self._step(thinner, card, stage, "age", now_ns)
        for card in self._undamaged():
            if card.stage == Stage.RECORDS and not card.alive:
                done.append(await thinner.trim(card, now_ns))
        done += await self._conceal(now_ns)
        done += await self._keep_cap(thinner, now_ns)
        await self._forget_rows(done, now_ns)
        self._others.packed()
        return await self._settle_cap(done)

    async def _step(self, thinner: Thinner, card: Card, stage: Stage, why: str, now_ns: int) -> list[Thinned]:
        try:
            async with self._others.turn:
                if self._others.erased() != self._erased:
                    await asyncio.to_thread(self.cards.refresh, True)
                    self._erased = self._others.erased()
                thinned = await thinner.thin(self.cards.get(card.writer, card.segment), stage, why, now_ns)
        except Corrupt as error:
            _log.error("segment %d of %s is damaged and stays as it is: %s", card.segment, card.writer, error)
            self.cards.damaged[card.writer] = str(error)
            return []
        if thinned.frames:
            self._others.changed(card.writer, card.segment)
        await asyncio.sleep(PAUSE_S)
        return [thinned]

    async def _conceal(self, now_ns: int) -> list[Thinned]:
        """Put pseudonyms in place of names that are old enough."""
        done = list[Thinned]()
        if self._concealer is None:
            return done
        concealer = self._concealer()
        for card in self._to_conceal(now_ns):
            if self._stopping.is_set():
                break
            try:
                async with self._others.turn:
                    concealed = await concealer.conceal(self.cards.get(card.writer, card.segment), now_ns)
            except Corrupt as error:
                _log.error("segment %d of %s is damaged and stays as it is: %s", card.segment, card.writer, error)
                self.cards.damaged[card.writer] = str(error)
                continue
            if not concealed.frames:
                continue
            done.append(concealed)
            self._others.changed(card.writer, card.segment)
            self._others.packed()
            await asyncio.sleep(PAUSE_S)
        if done:
            await self._index.compact()
        return done

    def _to_conceal(self, now_ns: int) -> list[Card]:
        return [card for card in self._undamaged() if conceal_due(card, self._rules, now_ns)]

    async def _keep_cap(self, thinner: Thinner, now_ns: int) -> list[Thinned]:
        """Above the cap: the oldest bodies first, then kept ones, then metadata; nothing younger than the floor."""
        cap, done = self._rules.disk_cap_bytes, list[Thinned]()
        used = (await asyncio.to_thread(disk_use, self._home)).total
        if cap is None or used < HIGH_SHARE * cap:
            return done
        for tier in _TIERS:
            for card in list(self._old_enough(now_ns)):
                if used < LOW_SHARE * cap or self._stopping.is_set():
                    return done
                if before(card.stage, tier):
                    done += await self._step(thinner, card, tier, "disk_cap", now_ns)
                    self._others.packed()
                    used = (await asyncio.to_thread(disk_use, self._home)).total
            if used >= LOW_SHARE * cap and tier is Stage.METADATA:
                await self._index.compact()
        return done

    async def _settle_cap(self, done: list[Thinned]) -> list[Thinned]:
        """Let bodies in again when there is room; say it loudly when the rules leave none."""
        cap = self._rules.disk_cap_bytes
        if cap is None:
            if refused(self._journal):
                refuse(self._journal, False)
            return done
        used = (await asyncio.to_thread(disk_use, self._home)).total
        if used < HIGH_SHARE * cap:
            refuse(self._journal, False)
            self._told = False
        elif used >= REFUSE_SHARE * cap and not self._told:
            self._told = True
            refuse(self._journal, True)
            await self._tell(
                f"The data directory takes {used:,} bytes of its cap of {cap:,}, and nothing that is left is "
                "older than the floor. New bodies are not kept until there is room; calls and their metadata go on. "
                "Raise `retention.disk_cap`, lower `retention.floor`, or make room.",
                used,
                cap,
            )
        return done

    async def _forget_rows(self, done: list[Thinned], now_ns: int) -> None:
        """Take rows of records that are gone out of the index."""
        for stage, tables in ((Stage.METADATA, ("logs", "sources")), (Stage.RECORDS, RECORD_TABLES)):
            age_ns = self._rules.metadata_ns if stage is Stage.METADATA else self._rules.records_ns
            if age_ns is None or not any(not before(each.stage, stage) for each in done):
                continue
            left = [card.oldest_ns for card in self.cards.all() if card.frames and before(card.stage, stage)]
            for table in tables:
                await self._index.remove(table, before_ns=min([now_ns - age_ns, *left]))
        if any(not before(each.stage, Stage.FIELDS) or each.quieted for each in done):
            await self._index.compact()

    def _anything_due(self, now_ns: int, used: int) -> bool:
        return next(self._due(now_ns, used), None) is not None

    def _due(self, now_ns: int, used: int) -> Iterator[tuple[Card, Stage, str]]:
        for card, stage in self._due_by_age(now_ns):
            yield card, stage, "age"
        for card in self._to_conceal(now_ns):
            yield card, Stage(card.stage), WHY
        cap = self._rules.disk_cap_bytes
        if cap is not None and used >= HIGH_SHARE * cap:
            for tier, card in itertools.product(_TIERS, list(self._old_enough(now_ns))):
                if before(card.stage, tier):
                    yield card, tier, "disk_cap"

    def _due_by_age(self, now_ns: int) -> Iterator[tuple[Card, Stage]]:
        for card in self._undamaged():
            stage = self._rules.due(card.youngest_ns, now_ns)
            if before(card.stage, stage):
                yield card, stage

    def _old_enough(self, now_ns: int) -> Iterator[Card]:
        for card in self._undamaged():
            if now_ns - card.youngest_ns >= self._rules.floor_ns:
                yield self.cards.get(card.writer, card.segment)

    def _undamaged(self) -> list[Card]:
        return [card for card in self.cards.sealed() if card.writer not in self.cards.damaged]

    async def _waiting(self) -> str | None:
        """Why nothing can be taken now, or None."""
        marks = await self._index.watermarks()
        for card in self.cards.sealed():
            mark = marks.get(card.writer)
            if mark is None or mark.seq < card.last_seq:
                return f"the index has not read segment {card.segment} of {card.writer} yet"
        return None

    def _plan(self, now_ns: int, due: tuple[Step, ...], use: DiskUse, waiting: str | None) -> Plan:
        cards = self.cards.all()
        amounts: dict[str, tuple[int, int, int]] = {}
        for card in cards:
            for name, each in card.amounts.items():
                had = amounts.get(name, (0, 0, 0))
                amounts[name] = (had[0] + each.frames, had[1] + each.stored_bytes, had[2] + each.erased)
        growth = _growth(cards, now_ns)
        cap = self._rules.disk_cap_bytes
        return Plan(
            rules=self._rules, version=self._rules.version, at_ns=now_ns, due=due, use=use, segments=len(cards),
            frames=sum(card.frames for card in cards), erased=sum(card.erased for card in cards), amounts=amounts,
            refused=refused(self._journal), growth_bytes_a_day=growth,
            cap_in_days=None if cap is None or not growth else max(0.0, (cap - use.total) / growth), waiting=waiting,
        )  # fmt: skip


def _step(card: Card, stage: Stage, why: str) -> Step:
    names = ("chunk", "otlp", "otlp_logs") if before(stage, Stage.FIELDS) else tuple(card.amounts)
    most = sum(
        each.stored_bytes * (each.frames - each.erased) // max(1, each.frames)
        for name, each in card.amounts.items()
        if name in names
    )
    return Step(
        writer=card.writer, segment=card.segment, stage=card.stage, to=stage, why=why, oldest_ns=card.oldest_ns,
        youngest_ns=card.youngest_ns, at_most_bytes=most,
    )  # fmt: skip


def _growth(cards: list[Card], now_ns: int) -> float | None:
    """Bytes that came into the journal a day, over the last week or as much of it as there is."""
    recent = [card for card in cards if card.frames and now_ns - card.oldest_ns <= 7 * DAY_NS]
    if not recent:
        return None
    days = max(1 / 24, (now_ns - min(card.oldest_ns for card in recent)) / DAY_NS)
    return sum(card.size for card in recent) / days
