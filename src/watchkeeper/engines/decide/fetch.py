"""Fetches the facts that the policies of a chain ask for about one event, all together and under one deadline.

What is not there when the deadline passes is missing, and each policy's `on_error` decides. A reservation that lands
after that is not forgotten: if the call was stopped it is given back, else it is settled with the call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from watchkeeper.engines.decide.caps import Caps
from watchkeeper.engines.decide.contracts import Contracts
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.decide.reservations import Attempt, Booked, Ledger, Want
from watchkeeper.engines.decide.runs import Runs
from watchkeeper.engines.decide.slices import Slices, sliced
from watchkeeper.kinds.facts import Activity, Contract, Fact, FactRequest, Facts, Meter, Reserve
from watchkeeper.kinds.ports import Applied, Cells
from watchkeeper.records.event import Event, Stage

NOT_SENT_YET = frozenset({Stage.ROUTE, Stage.REQUEST, Stage.TOOL_CALL, Stage.INTAKE})
"""The stages at which a stopped call has cost nothing, so that its reservation is given back."""


class Sources(NamedTuple):
    """Where facts come from, what is counted, and the tasks that outlive their ruling."""

    cells: Cells | None
    ledger: Ledger | None
    runs: Runs
    counts: Counter[str]
    background: set[asyncio.Future[Any]]
    deadline_s: float
    caps: Caps | None = None
    slices: Slices | None = None
    contracts: Contracts | None = None

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Begin some work that runs to its end whatever becomes of the call; its failure is counted."""
        return self.follow(asyncio.get_running_loop().create_task(work))

    def follow(self, task: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """See work to its end that was begun elsewhere."""
        self.background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.counts[f"cells failed: {type(error).__name__}"] += 1


class Fetch:
    """The facts of one ruling, by the place of the policy that asked."""

    def __init__(self, sources: Sources, event: Event, links: Sequence[Link]) -> None:
        self._sources = sources
        self._event = event
        self._links = links
        self._values: list[dict[str, Fact]] = [{} for _ in links]
        self.facts = [Facts(values) for values in self._values]
        """What the policy at each place may read, filled by `round`."""
        self._turns = 0
        self._reserving: asyncio.Future[Any] | None = None
        self._deadline = asyncio.get_running_loop().time() + sources.deadline_s

    async def round(self, asked: Sequence[tuple[FactRequest, ...]], waived: frozenset[str]) -> str | None:
        """Fetch what each place asks for; the answer names the meter that refused all reservations, if one did."""
        wants: list[tuple[int, Want]] = []
        jobs: dict[str, Coroutine[Any, Any, Fact | bytes | None]] = {}
        told: dict[str, Any] = {}
        for place, requests in enumerate(asked):
            for request in requests:
                if isinstance(request, Reserve):
                    wants.append((place, Want(request, self._links[place].mode == "enforce")))
                elif request.name not in jobs and request.name not in told:
                    self._plan(request, jobs, told)
        tasks = {name: self._sources.start(job) for name, job in jobs.items()} if jobs else {}
        attempt: Attempt | None = None
        if wants and self._sources.ledger is not None and await self._capped(wants):
            attempt = self._begin(self._sources.ledger, [want for _, want in wants], waived)
            if self._reserving is not None:
                tasks[""] = self._reserving
        if tasks:
            await self._wait(tasks, told)
        booked = await self._booked(attempt, told)
        self._tell(asked, wants, told, booked)
        return None if booked is None else booked.refused

    def _plan(
        self,
        request: Meter | Activity | Contract,
        jobs: dict[str, Coroutine[Any, Any, Fact | bytes | None]],
        told: dict[str, Any],
    ) -> None:
        runs, cells = self._sources.runs, self._sources.cells
        if isinstance(request, Activity):
            activity = runs.known(self._event, request.run)
            if activity is None:
                jobs[request.name] = runs.after(self._event, request.run)
            else:
                told[request.name] = activity
        elif isinstance(request, Contract):
            contracts = self._sources.contracts
            if contracts is not None and (known := contracts.known(request)) is not None:
                told[request.name] = known
            elif contracts is not None:
                jobs[request.name] = contracts.of(request, self._event.at_ns)
        elif cells is not None:
            jobs[request.name] = _meter(cells, request.meter)

    async def _capped(self, wants: list[tuple[int, Want]]) -> bool:
        """Put the caps that were set in the place of those in the settings; False while it is not known which."""
        caps = self._sources.caps
        if caps is None:
            return True
        if not caps.known:
            if caps.loading is None:
                caps.loading = self._sources.start(caps.load())
            await self._wait({"caps": caps.loading}, {})
        elif caps.due:
            self._sources.start(caps.load())
        if caps.known:
            wants[:] = [(place, want._replace(request=caps.of(want.request))) for place, want in wants]
        return caps.known

    def _begin(self, ledger: Ledger, wants: list[Want], waived: frozenset[str]) -> Attempt | None:
        """Ask for a reservation: the way for a span's first one, which takes no task, or the way for all others."""
        turn = "" if self._turns == 0 and self._event.stage == Stage.REQUEST else f":{self._event.stage}:{self._turns}"
        self._turns += 1
        attempt: Attempt | None = None
        slices = self._sources.slices
        if slices is not None and sliced(wants):
            booked = slices.take(self._event, wants, waived, turn)
            if booked is not None:
                self._reserving = asyncio.get_running_loop().create_future()
                self._reserving.set_result(booked)
            else:
                self._reserving = self._sources.start(self._from_slices(slices, ledger, wants, waived, turn))
            return None
        try:
            attempt = ledger.begin(self._event, wants, waived, turn)
        except Exception as error:  # noqa: BLE001  a store may fail in any way, and is then out of reach
            self._sources.counts[f"cells failed: {type(error).__name__}"] += 1
            return None
        if attempt is not None:
            self._reserving = self._sources.follow(attempt.answer)
        else:
            self._reserving = self._sources.start(ledger.reserve(self._event, wants, waived, turn))
        return attempt

    async def _from_slices(
        self, slices: Slices, ledger: Ledger, wants: list[Want], waived: frozenset[str], turn: str
    ) -> Booked:
        """Lease what the call needs, or reserve it on the shared meters where the cap is near."""
        booked = await slices.reserve(self._event, wants, waived, turn)
        return await ledger.reserve(self._event, wants, waived, turn) if booked is None else booked

    async def _booked(self, attempt: Attempt | None, told: dict[str, Any]) -> Booked | None:
        """What came of the reservation, None while that is not known."""
        answer = told.pop("", None)
        ledger = self._sources.ledger
        if attempt is None or ledger is None or answer is None:
            return answer if isinstance(answer, Booked) else None
        if isinstance(answer, Applied):
            return ledger.granted(attempt, answer)
        self._reserving = self._sources.start(ledger.refused(attempt, answer))
        await self._wait({"": self._reserving}, told)
        booked: Booked | None = told.pop("", None)
        return booked

    async def _wait(self, tasks: dict[str, asyncio.Future[Any]], told: dict[str, Any]) -> None:
        """As `asyncio.wait` with a timeout, in a third of the time."""
        loop = asyncio.get_running_loop()
        all_done = loop.create_future()
        left = len(tasks)

        def ended(_: asyncio.Future[Any]) -> None:
            nonlocal left
            left -= 1
            if not left:
                _free(all_done)

        for task in tasks.values():
            task.add_done_callback(ended)
        timer = loop.call_at(self._deadline, _free, all_done)
        try:
            await all_done
        finally:
            timer.cancel()
        for name, task in tasks.items():
            if not task.done():
                self._sources.counts["facts late"] += 1
            elif not task.cancelled() and task.exception() is None:
                told[name] = task.result()

    def _tell(
        self,
        asked: Sequence[tuple[FactRequest, ...]],
        wants: list[tuple[int, Want]],
        told: dict[str, Any],
        booked: Booked | None,
    ) -> None:
        if told:
            for values, requests in zip(self._values, asked, strict=True):
                for request in requests:
                    name = request.name
                    if name in told:
                        values[name] = told[name]
        if booked is not None:
            for place, want in wants:
                self._values[place][want.request.name] = booked.answer(want)

    async def give_back(self) -> None:
        """The call was stopped: give back what it reserved; a reservation that is still on its way follows later."""
        if self._reserving is None or self._event.stage not in NOT_SENT_YET:
            return
        if self._reserving.done():
            await self._release()
        else:
            self.give_back_later()

    def give_back_later(self) -> None:
        """As `give_back`, without waiting for it."""
        if self._reserving is not None and self._event.stage in NOT_SENT_YET:
            self._sources.start(self._release_after(self._reserving))

    async def _release_after(self, reserving: asyncio.Future[Any]) -> None:
        await asyncio.wait([reserving])
        await self._release()

    async def _release(self) -> None:
        reserving, ledger = self._reserving, self._sources.ledger
        if reserving is None or ledger is None or reserving.cancelled():
            return
        slices = self._sources.slices
        if slices is not None and slices.holds(self._event.span_id):
            slices.release(self._event.span_id)
            if not ledger.holds(self._event.span_id):
                return
        try:
            await ledger.release(self._event.span_id)
        except Exception:  # noqa: BLE001  a store may fail in any way; the charge then stands and is counted
            self._sources.counts["release failed"] += 1


def _free(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _meter(cells: Cells, meter: str) -> int:
    held = await cells.get(meter)
    return held if isinstance(held, int) else 0
