"""Keeps what each run has declared: what it is done at, and how many steps it may take. The first word holds.

A contract is one cell `contract/<tenant>/<run>`. It is written once and never changed by the run, so a later call that
declares more steps has no more of them.
"""

from __future__ import annotations

from collections import OrderedDict

from watchkeeper.engines.decide.runs import run_cell
from watchkeeper.kinds.facts import Contract, RunContract
from watchkeeper.kinds.ports import Cells, Refused, Swap
from watchkeeper.records.record import pack, unpack

PREFIX = "contract/"
IN_MEMORY = 4096
NONE = RunContract()


class Contracts:
    """The contracts of runs, most recently used ones in memory. Errors of the store pass through."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._known: OrderedDict[str, RunContract] = OrderedDict()

    def known(self, request: Contract) -> RunContract | None:
        """A contract that is in memory; None when the store has to be asked."""
        found = self._known.get(_key(request.tenant, request.run))
        if found is not None:
            self._known.move_to_end(_key(request.tenant, request.run))
        return found

    async def of(self, request: Contract, at_ns: int) -> RunContract:
        """The contract of a run; what the request declares becomes it where there is none."""
        key = _key(request.tenant, request.run)
        if request.done is not None and request.steps is not None:
            offered = RunContract(done=request.done, steps=request.steps, at_ns=at_ns)
            answer = await self._cells.apply([Swap(key=key, expected=None, value=pack(offered))])
            stored = answer.current if isinstance(answer, Refused) else pack(offered)
        else:
            stored = await self._cells.get(key)
        if not isinstance(stored, bytes):
            return NONE
        contract = self._known[key] = unpack(RunContract, stored)
        if len(self._known) > IN_MEMORY:
            self._known.popitem(last=False)
        return contract


def _key(tenant: str, run: str) -> str:
    return run_cell(PREFIX, tenant, run)
