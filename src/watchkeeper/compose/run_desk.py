"""Lets a run go on that a policy has stopped, and writes down who said so."""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.engines.decide.runs import resume_run
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import as_json

RESUMED = "run.resumed"


class RunDesk:
    """Acts on runs on behalf of a person."""

    def __init__(self, cells: Cells, record: Callable[[Audit], object], clock_ns: Callable[[], int]) -> None:
        self._cells, self._record, self._clock_ns = cells, record, clock_ns

    async def resume(self, run: str, tenant: str, actor: str) -> int:
        """Let a run go on; says how many steps count no more. Raises `LookupError` for a run that is not known."""
        now_ns = self._clock_ns()
        steps = await resume_run(self._cells, tenant, run, now_ns)
        if steps is None:
            raise LookupError(
                f"Nothing is known of a run {run[:80]!r} of tenant {tenant[:80]!r}. A run is known once a policy that "
                "reads its steps was asked; where a call names no run, its session stands in."
            )
        self._record(
            Audit(
                audit_id=new_id("aud", now_ns),
                at_ns=now_ns,
                act=RESUMED,
                actor=actor,
                subject=f"run:{run[:200]}",
                detail=as_json({"tenant": tenant, "steps": steps}).decode(),
            )
        )
        return steps
