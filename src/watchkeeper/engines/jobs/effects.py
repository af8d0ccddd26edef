"""The ledger of effects: who may carry one out, and what came of it, for each run, planned step, tool and object.

The first claim wins; every other one, whatever its tool-call id, plan or process, is given the first one's receipt. A
claim is written before the effect and runs out: what was claimed and never settled is unknown, and stays so until its
own claimant, a reconciler or a person says what happened. A cancelled run can claim nothing: its mark and the claim are
one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.kinds.ports import Applied, Cells, Op, Put, Swap
from watchkeeper.records.effect import Effect, Progress
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record, pack, unpack

PREFIX = "effect/"
CANCELLED = "cancelled/"
_ATTEMPTS = 20
_log = logging.getLogger("watchkeeper.jobs")


class Wish(Record):
    """What somebody wants to do once: its four names, the claimant's own token, and what is said of it.

    `lease_ns` is how long the claim holds until what became of it counts as unknown.
    """

    run: str
    step: str
    tool: str
    object: str
    claim: str
    lease_ns: int
    identity: Identity = Identity()
    amount_usd: float | None = None
    reversible: bool | None = None
    count: int = 1
    detail: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    door: str = "api"

    @property
    def effect_id(self) -> str:
        """The effect's id, which follows from its tenant and four names: half of it names the run."""
        return f"eff_{_half(self.identity.tenant, self.run)}{_half(self.step, self.tool, self.object)}"


class Held(Record):
    """The cell of an effect: its record as last written, the claimant's token, and until when that holds."""

    effect: Effect
    claim: str
    until_ns: int


class Settlement(Record):
    """What became of an effect, said by its claimant (`claim`) or, without one, by a reconciler or a person."""

    effect_id: str
    status: str
    actor: str
    tenant: str | None = None
    claim: str | None = None
    receipt: str | None = None
    detail: str | None = None


class Answer(NamedTuple):
    """What comes of a claim: whether the caller is to carry the effect out, and how the effect stands."""

    granted: bool
    held: Held


class EffectLedger:
    """Claims and settlements on one store of cells; `record` keeps each state of an effect in the journal."""

    def __init__(self, cells: Cells, record: Callable[[Effect], object], clock_ns: Callable[[], int]) -> None:
        self._cells, self._record, self._clock_ns = cells, record, clock_ns

    async def claim(self, wish: Wish) -> Answer:
        """Take an effect on, or learn how the one that was taken on before stands.

        Raises a 409 for a cancelled run, `OSError` where the plan cannot be recorded: then nothing was claimed.
        """
        cell, mark = _cell(wish.effect_id), cancel_cell(wish.identity.tenant, wish.run)
        for _ in range(_ATTEMPTS):
            value = await self._cells.get(cell)
            before = unpack(Held, value) if isinstance(value, bytes) else None
            now_ns = self._clock_ns()
            if before is not None and before.effect.status != Progress.FAILED:
                settled = await self._standing(cell, before, now_ns)
                if settled is None:
                    continue
                mine = settled.claim == wish.claim and settled.effect.status == Progress.PLANNED
                if mine:  # the claimant asks again because no answer came; the plan may not be on record yet
                    self._record(settled.effect)
                return Answer(mine, settled)
            held = _claimed(wish, before, now_ns)
            ops = [
                Swap(key=mark, expected=None, value=None),
                Swap(key=cell, expected=value if isinstance(value, bytes) else None, value=pack(held)),
            ]
            answer = await self._cells.apply(ops)
            if isinstance(answer, Applied):
                await self._written(cell, held, value)
                return Answer(True, held)
            if answer.key == mark:
                raise _cancelled(wish.run)
        raise _busy(wish.effect_id)

    async def settle(self, said: Settlement) -> Held:
        """Write what became of an effect; the same a second time changes nothing. Raises a 404 or a 409."""
        cell = _cell(said.effect_id)
        for _ in range(_ATTEMPTS):
            value = await self._cells.get(cell)
            held = unpack(Held, value) if isinstance(value, bytes) else None
            if held is None or said.tenant not in (None, held.effect.identity.tenant):
                raise _no_effect(said.effect_id)
            now_ns = self._clock_ns()
            if _same(held, said):
                return held
            _check(held, said, now_ns)
            effect = msgspec.structs.replace(
                held.effect,
                status=said.status,
                revision=held.effect.revision + 1,
                settled_ns=now_ns,
                receipt=said.receipt if said.receipt is not None else held.effect.receipt,
                detail=said.detail if said.detail is not None else held.effect.detail,
                settled_by=said.actor,
            )
            after = msgspec.structs.replace(held, effect=effect)
            if isinstance(await self._swap(cell, held, after), Applied):
                self._record(effect)
                return after
        raise _busy(said.effect_id)

    async def get(self, effect_id: str, tenant: str | None = None) -> Held:
        """How an effect stands now; raises a 404."""
        value = await self._cells.get(_cell(effect_id))
        held = unpack(Held, value) if isinstance(value, bytes) else None
        if held is None or tenant not in (None, held.effect.identity.tenant):
            raise _no_effect(effect_id)
        return self.seen(held)

    def seen(self, held: Held) -> Held:
        """An effect as it counts at this moment: a claim that ran out is unknown, whoever has written that yet."""
        if held.effect.status != Progress.PLANNED or held.until_ns > self._clock_ns():
            return held
        return msgspec.structs.replace(held, effect=msgspec.structs.replace(held.effect, status=Progress.UNKNOWN))

    async def of_run(self, tenant: str, run: str) -> Sequence[Held]:
        """All effects of a run, as they stand."""
        found: list[Held] = []
        cursor: str | None = None
        while True:
            page = await self._cells.scan(f"{PREFIX}{_half(tenant, run)}/", cursor)
            found += [self.seen(unpack(Held, value)) for _, value in page.items if isinstance(value, bytes)]
            cursor = page.cursor
            if cursor is None:
                return [each for each in found if each.effect.identity.tenant == tenant]

    async def cancel_run(self, tenant: str, run: str) -> Sequence[Held]:
        """From now on the run can claim nothing; returns what it had claimed and not yet settled."""
        await self._cells.apply([cancelling(tenant, run, self._clock_ns())])
        open_states = (Progress.PLANNED, Progress.UNKNOWN)
        return [each for each in await self.of_run(tenant, run) if each.effect.status in open_states]

    async def _standing(self, cell: str, held: Held, now_ns: int) -> Held | None:
        """An effect as it stands; a claim that ran out is written as unknown. None when somebody was faster."""
        if held.effect.status != Progress.PLANNED or held.until_ns > now_ns:
            return held
        effect = msgspec.structs.replace(
            held.effect,
            status=Progress.UNKNOWN,
            revision=held.effect.revision + 1,
            detail=held.effect.detail or "claimed and never settled",
        )
        after = msgspec.structs.replace(held, effect=effect)
        if not isinstance(await self._swap(cell, held, after), Applied):
            return None
        self._record(effect)
        return after

    async def _written(self, cell: str, held: Held, before: int | bytes | None) -> None:
        """Record a plan; where that fails the claim is taken back, for nobody may act on it."""
        try:
            self._record(held.effect)
        except OSError:
            value = before if isinstance(before, bytes) else None
            await self._cells.apply([Swap(key=cell, expected=pack(held), value=value)])
            raise

    async def _swap(self, cell: str, before: Held, after: Held) -> object:
        return await self._cells.apply([Swap(key=cell, expected=pack(before), value=pack(after))])

    async def forget(self, older_than_ns: int) -> int:
        """Take away the cells of effects that were settled before a moment; their records stay. Returns how many."""
        gone, cursor = 0, None
        while True:
            page = await self._cells.scan(PREFIX, cursor)
            for cell, value in page.items:
                held = unpack(Held, value) if isinstance(value, bytes) else None
                settled_ns = None if held is None else held.effect.settled_ns
                done = held is not None and held.effect.status not in (Progress.PLANNED, Progress.UNKNOWN)
                if done and settled_ns is not None and settled_ns < older_than_ns and isinstance(value, bytes):
                    await self._cells.apply([Swap(key=cell, expected=value, value=None)], urgent=False)
                    gone += 1
            cursor = page.cursor
            if cursor is None:
                return gone


def cancel_cell(tenant: str, run: str) -> str:
    """The cell whose presence says that a run is cancelled."""
    return CANCELLED + _half(tenant, run) + digest(f"{tenant}\x1f{run}".encode())


def cancelling(tenant: str, run: str, now_ns: int) -> Op:
    """The operation that cancels a run, to stand in one transaction with whatever else ends it."""
    return Put(key=cancel_cell(tenant, run), value=str(now_ns).encode())


def _half(*names: str) -> str:
    return digest("\x1f".join(names).encode())[:16]


def _cell(effect_id: str) -> str:
    name = effect_id.removeprefix("eff_")
    return f"{PREFIX}{name[:16]}/{name[16:]}"


def _claimed(wish: Wish, before: Held | None, now_ns: int) -> Held:
    who = wish.identity if wish.identity.run else msgspec.structs.replace(wish.identity, run=wish.run)
    effect = Effect(
        effect_id=wish.effect_id,
        key=f"{wish.run}/{wish.step}/{wish.tool}/{wish.object}",
        tool=wish.tool,
        at_ns=now_ns,
        status=Progress.PLANNED,
        identity=who,
        trace_id=wish.trace_id,
        span_id=wish.span_id,
        reversible=wish.reversible,
        amount_usd=wish.amount_usd,
        revision=0 if before is None else before.effect.revision + 1,
        target=wish.object,
        count=wish.count,
        detail=wish.detail,
        door=wish.door,
        step=wish.step,
        attempt=1 if before is None else before.effect.attempt + 1,
    )
    return Held(effect=effect, claim=wish.claim, until_ns=now_ns + wish.lease_ns)


def _same(held: Held, said: Settlement) -> bool:
    effect = held.effect
    return effect.status == said.status and said.receipt in (None, effect.receipt) and said.claim in (None, held.claim)


def _check(held: Held, said: Settlement, now_ns: int) -> None:
    """Whether this may be said of the effect by this caller; raises a 409."""
    status = held.effect.status
    if said.claim is not None and said.claim != held.claim:
        raise Refusal(
            409,
            "claim_lost",
            f"The claim on effect {said.effect_id} belongs to another attempt now, so this one cannot settle it. Say "
            "without a claim what happened, once that attempt is settled.",
            kind="denied",
        )
    if status == Progress.DONE and said.status == Progress.UNDONE:
        return
    if status not in (Progress.PLANNED, Progress.UNKNOWN):
        raise Refusal(
            409,
            "effect_settled",
            f"The effect {said.effect_id} is {status} already and cannot become {said.status}. One that is done can "
            "only be undone.",
            kind="denied",
        )
    if said.status == Progress.UNDONE:
        raise Refusal(409, "effect_not_done", f"The effect {said.effect_id} is {status}; undone is what was done.")
    if said.claim is None and status == Progress.PLANNED and held.until_ns > now_ns:
        raise Refusal(
            409,
            "effect_claimed",
            f"The effect {said.effect_id} is being carried out by its claimant for another "
            f"{(held.until_ns - now_ns) / 1e9:.0f} s. Settle it when that time is over.",
            kind="denied",
        )


def _no_effect(effect_id: str) -> Refusal:
    return Refusal(
        404, "no_such_effect", f"There is no claimed effect {effect_id[:64]!r}. List them: GET /api/v1/effects.",
        kind="not_found",
    )  # fmt: skip


def _cancelled(run: str) -> Refusal:
    return Refusal(
        409,
        "run_cancelled",
        f"The run {run[:100]!r} was cancelled, so it may have no further effect. Begin a new run if the work is "
        "wanted.",
        kind="denied",
        headers=((b"x-should-retry", b"false"),),
    )


def _busy(effect_id: str) -> Refusal:
    return Refusal(
        503, "effect_contended", f"The effect {effect_id} is being changed by many at once. Ask again.",
        kind="unavailable", headers=((b"retry-after", b"1"),),
    )  # fmt: skip
