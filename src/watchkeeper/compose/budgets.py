"""The desk of budgets: reads the ledger against the caps in the settings, sets caps, reconciles what was left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from watchkeeper.compose.discovery import build
from watchkeeper.config import Config
from watchkeeper.engines.decide.books import Books, Declared, books
from watchkeeper.engines.decide.caps import Cap, caps, set_cap
from watchkeeper.engines.decide.contracts import Contracts
from watchkeeper.engines.decide.reservations import Ledger, Outcome, Reconciled, reconcile, reservations
from watchkeeper.engines.decide.slices import reconcile_slice, slices
from watchkeeper.kinds.facts import Contract, RunContract
from watchkeeper.kinds.ports import Cells
from watchkeeper.queries.explorer import Spans
from watchkeeper.queries.question import Reader
from watchkeeper.queries.whole import Whole
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.meter import meter_key, read_meter, scope_of
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Span, Status, Usage

NANO = 1_000_000_000
SCALES = {"nano_usd": NANO, "tokens": 1, "calls": 1, "ms": 1000}
"""How much of a meter's unit one of a cap's is: dollars, tokens, calls, seconds."""
LEVELS = ("organisation", "team", "key", "user", "session", "run", "agent")


class Word(Record):
    """What somebody knows of one open reservation: it was never sent, or what it used."""

    span_id: str
    sent: bool = True
    usd: float | None = None
    tokens: int | None = None


def declared(config: Config) -> tuple[Declared, ...]:
    """The caps of the budgets in the settings."""
    found = []
    for use in config.policies:
        if use.use != "budget":
            continue
        policy: Any = build("policies", use, config)
        for name, unit in (("usd", "nano_usd"), ("tokens", "tokens"), ("calls", "calls"), ("seconds", "ms")):
            value = getattr(policy, name)
            if value is not None:
                found.append(
                    Declared(
                        policy=use.name or use.use,
                        book=policy.meter_name or "scope",
                        level=policy.per,
                        window=policy.window,
                        unit=unit,
                        limit=round(value * SCALES[unit]),
                        enforced=use.mode == "enforce",
                    )
                )
    return tuple(found)


class BudgetDesk:
    """Reads and changes the ledger on behalf of a person; every change is an audit record."""

    def __init__(
        self,
        config: Config,
        cells: Cells,
        reader: Reader,
        record: Callable[[Record], object],
        clock_ns: Callable[[], int],
    ) -> None:
        self._cells, self._reader, self._record, self._clock_ns = cells, reader, record, clock_ns
        self._declared = declared(config)
        self._contracts = Contracts(cells)

    async def books(self) -> Books:
        """The whole ledger now."""
        return await books(self._cells, self._declared, self._clock_ns())

    async def set(self, meter: str, limit: int | None, actor: str, more: bool = False) -> None:
        """Put a cap in the place of the settings' for a meter's owner, now and in later windows; None takes it away.

        With `more` the limit is added to the cap in force. Raises `ValueError` when there is none to add to.
        """
        scope, now = scope_of(meter), self._clock_ns()
        if more:
            in_force = await self.cap_of(meter)
            if in_force is None or limit is None:
                raise ValueError(
                    "There is no cap here that could be raised: no budget in the settings is about it, and none was "
                    "set. Set one with `watchkeeper budget set`."
                )
            limit = in_force + limit
        if limit is not None and not 0 <= limit <= 2**62:
            raise ValueError(f"The cap would be {limit}, and a cap lies between 0 and {2**62:,}.")
        cap = None if limit is None else Cap(limit=limit, by=actor, at_ns=now)
        await set_cap(self._cells, scope, cap)
        self._audit("budget.cap_set" if cap else "budget.cap_unset", scope, actor, None if cap is None else str(limit))

    async def cap_of(self, meter: str) -> int | None:
        """The cap in force on a meter's scope, in its unit; the lowest where several windows have one."""
        own = (await caps(self._cells)).get(scope_of(meter))
        if own is not None:
            return own.limit
        of = read_meter(meter)
        fitting = [
            each.limit
            for each in self._declared
            if of is not None and (each.book, each.level, each.unit) == (of.book, of.level, of.unit)
        ]
        return min(fitting, default=None)

    async def reconcile(self, older_ns: int, actor: str) -> Reconciled:
        """Settle reservations that are older than so much by what the record says of their calls.

        What the record does not know stays charged. A call that is in flight has no end in the record, so it stays.
        """
        done = await reconcile(self._cells, self._truth, self._clock_ns() - older_ns)
        self._audit("budget.reconciled", "reservations", actor, msgspec.json.encode(done).decode())
        return done

    async def reconcile_one(self, word: Word, actor: str) -> str:
        """Settle or release one reservation by a person's word; raises `LookupError` when there is none."""
        held = [each async for each in reservations(self._cells) if each.span_id == word.span_id]
        if not held:
            raise LookupError(f"No reservation of span {word.span_id[:64]!r} is open. See `watchkeeper budget list`.")
        ledger = Ledger(self._cells)
        if not word.sent:
            settlement = await ledger.release(word.span_id)
        else:
            usage = Usage() if word.tokens is None else Usage(input_tokens=word.tokens, output_tokens=0)
            cost = None if word.usd is None else Cost(usd=word.usd, source=f"the word of {actor}")
            settlement = await ledger.settle(word.span_id, usage, cost)
        detail = msgspec.json.encode(msgspec.to_builtins(word)).decode()
        self._audit("budget.reconciled", f"span:{word.span_id}", actor, detail)
        return settlement.note or "settled"

    async def reconcile_slice(self, gateway: str, meter: str, used: int, actor: str) -> None:
        """End a dead gateway's slice: `used` of it was spent. Raises `LookupError` or `ValueError`."""
        for each in [s async for s in slices(self._cells)]:
            if each.gateway == gateway and each.meter == meter:
                if not await reconcile_slice(self._cells, each, used):
                    raise ValueError("The slice changed at this moment, so its gateway lives. Nothing was done.")
                self._audit("budget.reconciled", f"slice:{gateway}/{meter}", actor, f"{used} of {each.amount} used")
                return
        raise LookupError(f"Gateway {gateway[:80]!r} holds no slice of {meter[:200]!r}. See `watchkeeper budget list`.")

    async def declare(self, tenant: str, run: str, done: str, steps: int) -> RunContract:
        """Declare a run's completion condition and ceiling; what was declared first holds and comes back."""
        request = Contract(tenant=tenant, run=run, done=done, steps=steps)
        return await self._contracts.of(request, self._clock_ns())

    async def _truth(self, span_id: str) -> Outcome | None:
        """What the record of our own gateway says; a span that somebody sent in under the same id proves nothing."""
        found = await self._reader.ask(Whole(Spans(span_id=span_id, limit=20), Span))
        spans = [span for span in found if span.door == "gateway" and span.revision > 0]
        if not spans:
            return None
        span = max(spans, key=lambda each: each.revision)
        if span.status == Status.DENIED:
            return Outcome(sent=False)
        if span.usage == Usage() and span.cost is None:
            return None
        return Outcome(usage=span.usage, cost=span.cost, end_ns=span.end_ns)

    def _audit(self, act: str, subject: str, actor: str, detail: str | None) -> None:
        now = self._clock_ns()
        self._record(
            Audit(audit_id=new_id("aud", now), at_ns=now, act=act, actor=actor, subject=subject, detail=detail)
        )


def meter_of(level: str, owner: str | None, tenant: str, unit: str, book: str = "scope", key: str | None = None) -> str:
    """The meter of a scope over all time, as the address of its cap; raises `ValueError` for what is not known."""
    if level not in LEVELS:
        raise ValueError(f"There is no level {level[:40]!r}. The levels are {', '.join(LEVELS)}.")
    if unit not in SCALES:
        raise ValueError(f"There is no unit {unit[:40]!r}. The units are {', '.join(SCALES)}.")
    return f"{meter_key(book, level, tenant, owner, key, 'total')}/{unit}"
