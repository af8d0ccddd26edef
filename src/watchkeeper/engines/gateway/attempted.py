"""Adds up what all attempts of a call used and cost, so that one that failed and was charged is not lost."""

from __future__ import annotations

from watchkeeper.kinds.ports import Pricer
from watchkeeper.records.event import Bound
from watchkeeper.records.span import Cost, Usage

UNMETERED = "watchkeeper.attempts.unmetered"
"""The attribute of a call's span that counts attempts of which it is not known whether they were charged."""

_UNKNOWN = Usage()


class Spending:
    """The use of the attempts before the last one. `told` is whether the last attempt was written down."""

    def __init__(self, pricer: Pricer, at_ns: int) -> None:
        self._pricer, self._at_ns = pricer, at_ns
        self._usage: list[Usage] = []
        self._costs: list[Cost | None] = []
        self._unmetered = 0
        self.told = False

    def known(self, usage: Usage, model: str | None, provider: str | None) -> None:
        """An attempt failed, and told what it used."""
        self._usage.append(usage)
        self._costs.append(self._pricer.cost(provider, model, usage, self._at_ns))

    def unknown(self) -> None:
        """An attempt failed that may have been charged, and nothing is known of its use."""
        self._unmetered += 1

    @property
    def unmetered(self) -> int:
        """How many attempts may have been charged without a word of how much."""
        return self._unmetered

    @property
    def anything(self) -> bool:
        """Whether an attempt before the last one may have been charged."""
        return bool(self._usage or self._unmetered)

    def total(self, usage: Usage, cost: Cost | None) -> tuple[Usage, Cost | None]:
        """The use and cost of the whole call, as far as they are known, with the last attempt's own."""
        if not self._usage:
            return usage, cost
        used = _sum([*self._usage, usage] if usage != _UNKNOWN else self._usage)
        costs = [*self._costs, cost] if usage != _UNKNOWN else self._costs
        priced = [each for each in costs if each is not None]
        if len(priced) < len(costs):
            return used, None
        return used, Cost(usd=sum(each.usd for each in priced), source=priced[-1].source)

    def charged(
        self, usage: Usage, cost: Cost | None, reserved: Bound | None, one: Bound | None
    ) -> tuple[Usage, Cost | None]:
        """What to settle: the whole call's use and cost, with the bound of `one` attempt for each that is not known.

        Never more than was reserved. An unknown use of the last attempt stays unknown: then all of it stays charged.
        """
        if usage.output_tokens is None or not self._unmetered or one is None or reserved is None:
            return usage, cost
        times = self._unmetered
        tokens = Usage(
            input_tokens=min(reserved.input_tokens, (usage.input_tokens or 0) + one.input_tokens * times),
            output_tokens=min(reserved.output_tokens, usage.output_tokens + one.output_tokens * times),
        )
        if cost is None or one.nano_usd is None or reserved.nano_usd is None:
            return tokens, None
        usd = min(reserved.nano_usd / 1e9, cost.usd + one.nano_usd * times / 1e9)
        return tokens, Cost(usd=max(usd, cost.usd), source=cost.source)


def _sum(usages: list[Usage]) -> Usage:
    """The sum field by field; a field that is unknown everywhere stays unknown."""

    def added(name: str) -> int | None:
        known = [getattr(usage, name) for usage in usages if getattr(usage, name) is not None]
        return sum(known) if known else None

    parts: dict[str, int] = {}
    for usage in usages:
        for name, count in usage.parts.items():
            parts[name] = parts.get(name, 0) + count
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return Usage(**{name: added(name) for name in names}, parts=parts)
