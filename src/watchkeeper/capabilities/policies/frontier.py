"""Sends a call on as asked where its cell was shown to be good enough, and elsewhere where it was not.

Problem
    A model that does the hard task fails the easy one next door, and one good average lets every call through. Where it
    fails was measured, and the calls go there all the same.

Method
    `map` is a file that `eval map draw --out` wrote. A call lies in a cell by what it declares of itself: the header
    `X-Watchkeeper-Features: family=dates, difficulty=easy`, else its `metadata`. In a passing cell it goes on. In one
    that is failing, open or unmeasured it is diverted to the model `to`, refused, held or allowed, as `failing`,
    `open` and `unmeasured` say. What is not declared is not guessed: the cell is unmeasured then. `models` are the
    names that callers use and this is about. Each ruling is a decision with the cell, its rate and the map's digest.

    A map holds for what was measured. Where the composition that would answer differs from the map's in one of the
    components `same`, the map is stale: by `on_stale` the cell then counts as unmeasured, the map is trusted all the
    same, or the call is refused; the decision says which components differ.

Limits
    A caller that declares another cell is in that cell. Evals and probes of the model have to ask for it under a name
    that `models` does not match, or they are diverted too. A diverted call is ruled on once: whether `to` is any better
    there is for a map of its own. A fallback of a route is another model than the one that was measured. Held is not
    queued: the call is refused with `hold`, and its program has to ask a person. Batches of the provider are not read.
    On paths that the gateway does not understand and at `POST /api/v1/decide` it is not known what would answer: there
    every map is stale.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.analysis.cells import UNKNOWN, cell_of, content_digest, differs, found_in, told
from watchkeeper.kinds.facts import FactRequest, Facts
from watchkeeper.kinds.header import Header
from watchkeeper.records.capability_map import CapabilityMap, Cell, Key
from watchkeeper.records.decision import Decision, allow, deny, divert, hold
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Scalar

Act = Literal["divert", "refuse", "hold", "allow"]
Component = Literal["model", "upstream", "system", "tools", "parameters"]
_NOT_TOLD = Manifest(digest="", components={})


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    """A capability map as a route; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="frontier",
        version="1",
        theme="quality",
        summary="Sends calls elsewhere whose cell of a capability map is failing or unmeasured.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.ROUTE})
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    files: ClassVar[frozenset[str]] = frozenset({"map"})

    map: Annotated[
        CapabilityMap,
        msgspec.Meta(description="The file that `eval map draw --out` wrote; relative to the settings file."),
    ]
    models: Annotated[
        tuple[str, ...], msgspec.Meta(min_length=1, description="The models it is about, as callers ask for them; `*`.")
    ]
    to: Annotated[
        str | None, msgspec.Meta(description="The model or route that diverted calls go to, by a name callers may use.")
    ] = None
    failing: Annotated[Act, msgspec.Meta(description="What is done with a call in a failing cell.")] = "divert"
    open: Annotated[Act, msgspec.Meta(description="With one in a cell of which the evidence does not say.")] = "divert"
    unmeasured: Annotated[
        Act, msgspec.Meta(description="With one in a cell that has too few items, or that is not on the map.")
    ] = "divert"
    on_stale: Annotated[
        Literal["unmeasured", "trust", "refuse"],
        msgspec.Meta(
            description="When another composition would answer than was measured: every cell counts as unmeasured, the "
            "map is trusted all the same, or the call is refused."
        ),
    ] = "unmeasured"
    same: Annotated[
        tuple[Component, ...],
        msgspec.Meta(min_length=1, description="The components in which both have to agree for the map to hold."),
    ] = ("model", "upstream", "system", "tools", "parameters")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        if self.to is None and "divert" in (self.failing, self.open, self.unmeasured):
            raise ValueError("calls are diverted and `to` does not say where; name a model or route")
        if self.map.digest and self.map.digest != content_digest(self.map):
            raise ValueError("the digest in `map` is not that of what it holds: it was changed after it was drawn")
        if self.to is not None and self._about(self.to):
            raise ValueError(f"`to` is {self.to!r}, which `models` is about as well; divert to another model")

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads of what a call declares."""
        return self.map.columns

    @property
    def diverts(self) -> tuple[str, ...]:
        """Where calls may go instead."""
        return () if self.to is None else (self.to,)

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """Nothing but the map."""
        return ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """Let a call in a passing cell go on; do with another what is said of its cell."""
        if event.model is None or not self._about(event.model):
            return None
        drawn = self.map
        key = cell_of(event.attributes.get, drawn.columns)
        cell = found_in(drawn, key)
        stale = differs(drawn.compositions, event.served or _NOT_TOLD, self.same)
        read: dict[str, Scalar] = {"map": drawn.digest or "not sealed", "cell": told(drawn.columns, key)}
        read |= _measured(cell)
        if stale:
            read["stale"] = ", ".join(stale)
        ruled = self._ruled(event.model[:100], key, cell, stale)
        if ruled.instead is not None:
            read["instead"] = ruled.instead
        return msgspec.structs.replace(ruled, facts=read)

    def _ruled(self, model: str, key: Key, cell: Cell | None, stale: tuple[str, ...]) -> Decision:
        place = f"{model!r} in cell {told(self.map.columns, key)}"
        note = f" The map is stale ({', '.join(stale)}), and is trusted all the same." if stale else ""
        if stale and self.on_stale == "refuse":
            return deny("map_stale", f"{place}: {_old(stale)} Draw it anew, or ask for another model.")
        if stale and self.on_stale == "unmeasured":
            return self._act(self.unmeasured, "map_stale", f"{place}: {_old(stale)}")
        state = "unmeasured" if cell is None else cell.state
        if state == "passing":
            return allow("map_stale" if stale else "cell_passing", f"{place} {_rated(cell, self.map.bar)}.{note}")
        act = {"failing": self.failing, "open": self.open}.get(state, self.unmeasured)
        said = f"{place} {_rated(cell, self.map.bar)}"
        if UNKNOWN in key:
            missing = [name for name, value in zip(self.map.columns, key, strict=True) if value == UNKNOWN]
            said = f"{place} is not measured: the call does not declare {', '.join(missing)}"
        return self._act(act, f"cell_{state}", f"{said}.{note}")

    def _act(self, act: Act, reason: str, sentence: str) -> Decision:
        if act == "divert" and self.to is not None:
            return divert(reason, f"{sentence} It goes to {self.to!r} instead.", self.to)
        if act == "refuse":
            return deny(reason, f"{sentence} Ask for another model, or a person.")
        if act == "hold":
            return hold(reason, f"{sentence} A person has to answer it; nothing was sent on.")
        return allow(reason, f"{sentence} It goes on as asked.")

    def _about(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)


def _old(stale: tuple[str, ...]) -> str:
    return f"the map is stale, for what would answer is not what was measured ({', '.join(stale)})."


def _rated(cell: Cell | None, bar: float) -> str:
    if cell is None:
        return "is not on the map"
    said, rate = "is not measured" if cell.state == "unmeasured" else f"is {cell.state}", cell.rate
    if rate is None:
        return f"{said} (no item)"
    return f"{said} (rate {rate.value:.3g}, {rate.low:.3g} to {rate.high:.3g}, n = {rate.n}; the bar is {bar:g})"


def _measured(cell: Cell | None) -> dict[str, Scalar]:
    """What a cell's rate was, for the record."""
    if cell is None:
        return {"state": "unmeasured"}
    if cell.rate is None:
        return {"state": cell.state}
    return {
        "state": cell.state,
        "rate": cell.rate.value,
        "low": cell.rate.low,
        "high": cell.rate.high,
        "n": cell.rate.n,
    }
