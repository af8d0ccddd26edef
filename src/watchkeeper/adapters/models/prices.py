"""Prices calls offline: from the owner's own rows first, then from the dated table that comes with this version.

Nothing is fetched from the network: a price changes with a new version, or when the owner's row does. Arithmetic is
decimal and exact; a span keeps the nearest binary number, whose shortest form is the exact price up to 15 digits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from watchkeeper.adapters.models.table import Listed, Rate, built_in
from watchkeeper.analysis.usage import counts_of
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Usage

NAME_LENGTH = 200
FOUND_IN_MEMORY = 2_000
STEP_NS = 900_000_000_000
"""For how long a model's rates are taken to stay as they are: the table changes them with the half hour at most."""

_NOTHING = Decimal(0)
_UNITS = (
    ("_mtok", "_tokens", 1_000_000), ("_kcount", "", 1_000), ("_hours", "_seconds", 3_600),
    ("_kpages", "_pages", 1_000), ("_mchars", "_characters", 1_000_000),
)  # fmt: skip
"""How rates are named, which unit they are for, and for how many of it."""


class PriceRow(Record):
    """A price that the owner sets, in US dollars per million tokens, for the models whose name a glob matches.

    Input includes cached tokens; those are priced at `cached_usd_per_million`, or as other input where it is None.
    Output includes reasoning. `source` says where the price is from and of which day.
    """

    model: str
    input_usd_per_million: float
    output_usd_per_million: float
    cached_usd_per_million: float | None = None
    source: str = "owner's price table"

    def rates(self) -> dict[str, Rate]:
        """The row in the words of the built-in table."""
        listed = {"input_mtok": self.input_usd_per_million, "output_mtok": self.output_usd_per_million}
        if self.cached_usd_per_million is not None:
            listed["cache_read_mtok"] = self.cached_usd_per_million
        return {name: Rate(Decimal(repr(rate))) for name, rate in listed.items()}


class Quote(NamedTuple):
    """What a usage costs, exactly, or the reason why that is unknown.

    `fees` are what is charged for neither input nor output tokens: searches, requests, seconds. `note` says what the
    price assumes, where it assumes anything.
    """

    input_usd: Decimal | None = None
    output_usd: Decimal | None = None
    fees_usd: Decimal | None = None
    model: str | None = None
    source: str | None = None
    reason: str | None = None
    note: str = ""

    @property
    def total_usd(self) -> Decimal | None:
        """All of it; None when it is unknown."""
        if self.input_usd is None or self.output_usd is None or self.fees_usd is None:
            return None
        return self.input_usd + self.output_usd + self.fees_usd


class Prices:
    """The `Pricer` port over the owner's rows (the first match counts) and the built-in table.

    A model that neither knows has no price, and no usage without the counts that are priced has one: unknown is
    None and never zero. The source of a built-in price names the table and the day on which it was taken.
    Limits: discounts that were agreed on, taxes, and fees that the usage does not count are not in it.
    """

    def __init__(self, rows: Iterable[PriceRow] = ()) -> None:
        self._rows = tuple((row, _Rates(row.rates(), row.source, row.model)) for row in rows)
        self._current: dict[tuple[str | None, str, int, str | None, str | None], _Rates | None] = {}
        self._found: OrderedDict[tuple[str | None, str], Listed | None] = OrderedDict()

    def load(self) -> None:
        """Read the built-in table now and not with the first call."""
        built_in()

    def cost(
        self, provider: str | None, model: str | None, usage: Usage, at_ns: int, tier: str | None = None
    ) -> Cost | None:
        """The price of a call's usage; None when the model has no price or the usage is unknown or contradictory."""
        if usage.input_tokens is None and usage.output_tokens is None and not usage.parts:
            return None
        quote = self.quote(provider, model, counts_of(usage), at_ns, tier)
        total = quote.total_usd
        return None if total is None or quote.source is None else Cost(usd=float(total), source=quote.source)

    def quote(
        self,
        provider: str | None,
        model: str | None,
        counts: Mapping[str, int],
        at_ns: int,
        tier: str | None = None,
        speed: str | None = None,
    ) -> Quote:
        """The exact price of counts by unit, at an instant; or why it is unknown."""
        if not model:
            return Quote(reason="no model is named")
        rates = self._rates(provider, model, at_ns, tier, speed)
        if rates is None:
            return Quote(reason=self._why(provider, model))
        reason = _contradiction(counts)
        if reason is not None:
            return Quote(model=rates.model, source=rates.source, reason=reason)
        return rates.quote(counts)

    def changes(self, provider: str | None, model: str) -> tuple[str, ...]:
        """The days on which the built-in table changes the rates of a model."""
        listed = self._listed(provider, model[:NAME_LENGTH])
        return () if listed is None else listed.changes()

    def worst_case(self, provider: str | None, model: str | None, tokens: tuple[int, int], at_ns: int) -> Cost | None:
        """The most that (input, output) tokens can cost: each at the dearest rate of its direction.

        Dearest means over plain, cached, cache-writing, audio and image tokens, and over the tiers that so much input
        can reach. None when the model has no price.
        """
        rates = None if model is None else self._rates(provider, model, at_ns)
        if rates is None or min(tokens) < 0:
            return None
        usd = rates.request_fee(tokens[0])
        for dearest, count in zip((rates.inward, rates.outward), tokens, strict=True):
            if count and not dearest:
                return None
            usd += max([price.dearest(tokens[0]) for price in dearest], default=_NOTHING) * count / 1_000_000
        return Cost(usd=float(usd), source=rates.source)

    def _rates(
        self, provider: str | None, model: str, at_ns: int, tier: str | None = None, speed: str | None = None
    ) -> _Rates | None:
        """The rates of a model in the quarter of an hour of a call; those of recent calls are remembered."""
        key = (provider, model[:NAME_LENGTH], at_ns // STEP_NS, tier, speed)
        if key in self._current:
            return self._current[key]
        if len(self._current) >= FOUND_IN_MEMORY:
            self._current.clear()
        found = self._current[key] = self._look_up(provider, model, at_ns, tier, speed)
        return found

    def _look_up(
        self, provider: str | None, model: str, at_ns: int, tier: str | None, speed: str | None
    ) -> _Rates | None:
        for row, rates in self._rows:
            if fnmatchcase(model, row.model):
                return rates
        listed = self._listed(provider, model[:NAME_LENGTH])
        if listed is None:
            return None
        rates_now, note = listed.rates(datetime.fromtimestamp(at_ns / 1e9, tz=UTC), tier, speed)
        return _Rates(rates_now, built_in().source, listed.model, note)

    def _listed(self, provider: str | None, model: str) -> Listed | None:
        """The table's entry for a model; names that nobody knows are remembered too, up to a bound."""
        key = (provider, model)
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        listed = self._found[key] = built_in().find(provider, model)
        if len(self._found) > FOUND_IN_MEMORY:
            self._found.popitem(last=False)
        return listed

    def _why(self, provider: str | None, model: str) -> str:
        whose = "any provider" if provider is None else f"{provider!r}"
        return f"the price table of {built_in().taken} has no model {model[:NAME_LENGTH]!r} of {whose}"


def _contradiction(counts: Mapping[str, int]) -> str | None:
    """What is wrong with counts whose parts are not within their wholes; None when nothing is."""
    negative = next((name for name, count in counts.items() if count < 0), None)
    if negative is not None:
        return f"the usage contradicts itself: {negative} is {counts[negative]}"
    spent, written = counts.get("input_tokens"), counts.get("output_tokens")
    cached = counts.get("cache_read_tokens", 0) + counts.get("cache_write_tokens", 0)
    if spent is not None and cached > spent:
        return f"the usage contradicts itself: {cached:,} cached of {spent:,} input tokens"
    reasoning = counts.get("output_reasoning_tokens", 0)
    if written is not None and reasoning > written:
        return f"the usage contradicts itself: {reasoning:,} reasoning of {written:,} output tokens"
    return None


class _Priced(NamedTuple):
    """A unit that has a rate: how many it is for, and which other priced units are a part of it."""

    unit: str
    rate: Rate
    per: int
    side: str
    within: tuple[str, ...]


class _Rates:
    """What a model costs at one instant, ready to be applied to counts."""

    def __init__(self, by_name: Mapping[str, Rate], source: str, model: str, note: str = "") -> None:
        self.source, self.model, self.note = source, model, note
        known = [(unit, rate, per) for unit, rate, per in (_unit(name, rate) for name, rate in by_name.items()) if unit]
        known.sort(key=lambda each: (-len(_traits(each[0])), each[0]))
        self._units = tuple(
            _Priced(unit, rate, per, _side(unit), tuple(o for o, _, _ in known if _traits(o) > _traits(unit)))
            for unit, rate, per in known
        )
        self._fee = by_name.get("requests_kcount", Rate(_NOTHING))
        tokens = [each for each in self._units if each.unit.endswith("_tokens")]
        self.inward = _could_be_dearest([each.rate for each in tokens if each.side == "input"])
        self.outward = _could_be_dearest([each.rate for each in tokens if each.side == "output"])

    def request_fee(self, input_tokens: int) -> Decimal:
        """What a request costs whatever is in it, at the most."""
        return self._fee.dearest(input_tokens) / 1_000

    def quote(self, counts: Mapping[str, int]) -> Quote:
        """Each unit at its own rate, the rest of a whole at the rate of the whole."""
        usd = {"input": _NOTHING, "output": _NOTHING, "fees": _NOTHING}
        left: dict[str, int] = {}
        spent = counts.get("input_tokens", 0)
        for each in self._units:
            count = 1 if each.unit == "requests" else counts.get(each.unit)
            if count is None and each.unit in ("input_tokens", "output_tokens"):
                return self._unknown(f"the usage does not say how many {each.unit.replace('_', ' ')} there were")
            rest = (count or 0) - sum(left[part] for part in each.within)
            if rest < 0:
                return self._unknown(f"the usage contradicts itself: parts of {each.unit} come to more than {count}")
            left[each.unit] = rest
            if rest:
                usd[each.side] += each.rate.at(spent) * rest / each.per
        if not any(counts.get(each.unit) is not None for each in self._units):
            return self._unknown("the usage counts nothing that this model is charged for")
        for whole, side in (("input_tokens", "input"), ("output_tokens", "output")):
            if counts.get(whole) and not any(each.side == side for each in self._units):
                return self._unknown(f"the price table has no rate for the {side} of this model")
        searches = 0 if any(each.unit == "web_searches" for each in self._units) else counts.get("web_searches", 0)
        missing = f"the table lists no price for {searches:,} web searches: they are not in the sum"
        note = "; ".join(text for text in (self.note, missing if searches else "") if text)
        return Quote(usd["input"], usd["output"], usd["fees"], self.model, self.source, None, note)

    def _unknown(self, reason: str) -> Quote:
        return Quote(model=self.model, source=self.source, reason=reason)


def _unit(name: str, rate: Rate) -> tuple[str, Rate, int]:
    for ending, unit, per in _UNITS:
        if name.endswith(ending):
            return name.removesuffix(ending) + unit, rate, per
    return "", rate, 1


def _side(unit: str) -> str:
    traits = _traits(unit)
    return "input" if "input" in traits else "output" if "output" in traits else "fees"


@cache
def _traits(unit: str) -> frozenset[str]:
    """What a unit is: a part of every unit whose traits are among its own."""
    *words, family = unit.split("_")
    traits = {family, *words}
    return frozenset(traits | {"input"} if "cache" in traits else traits)


def _could_be_dearest(rates: list[Rate]) -> tuple[Rate, ...]:
    """Of all rates without tiers only the highest can be."""
    flat = [rate for rate in rates if not rate.tiers]
    return (*([max(flat)] if flat else []), *(rate for rate in rates if rate.tiers))
