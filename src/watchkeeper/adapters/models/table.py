"""The built-in price table: whose model a name is, and what it costs on a day, at an hour and at a service tier.

The table is a dated file beside this module, taken from the data of genai-prices (MIT) by `scripts/prices.py`. Reading
it takes some milliseconds, once; nothing is fetched. Rates are decimals, exactly as listed.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

FOLDER = Path(__file__).with_name("tables")
_ALIASES = {
    "azure.ai.openai": "azure", "azure.ai.inference": "azure", "azure_openai": "azure", "az.ai.openai": "azure",
    "az.ai.inference": "azure", "x_ai": "x-ai", "gcp.gen_ai": "google", "together_ai": "together",
    "fireworks_ai": "fireworks", "fireworks-ai": "fireworks", "mistral_ai": "mistral", "z.ai": "zai",
}  # fmt: skip
"""Names of providers in the OpenTelemetry conventions and in client libraries that the table does not know."""

_COMPACT_DAY = re.compile(r"-(20\d\d)(\d\d)(\d\d)(?=-|:|$)")
_NO_TIER = frozenset({"standard", "default", "auto", "on_demand", "on-demand", "none", "unspecified"})


class Rate(NamedTuple):
    """Dollars for so many units: the base, and what all units cost once the input is above a tier's start."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """The rate for so much input."""
        return next((price for start, price in reversed(self.tiers) if input_tokens > start), self.base)

    def dearest(self, input_tokens: int) -> Decimal:
        """The dearest rate that up to so much input can have."""
        return max(self.base, *(price for start, price in self.tiers if input_tokens > start), Decimal(0))


class Listed(NamedTuple):
    """A model in the table: its provider and id, its rows of prices, and whether the provider lists it itself."""

    provider: str
    model: str
    prices: tuple[Mapping[str, Any], ...]
    variants: tuple[Mapping[str, Any], ...]
    own: bool

    def rates(self, at: datetime, tier: str | None = None, speed: str | None = None) -> tuple[dict[str, Rate], str]:
        """The rates by name at an instant (UTC), and a note where a service tier had to be priced as standard."""
        active = [row for row in reversed(self.prices) if _holds(row, at)]
        rates = _read(dict((active or self.prices[:1])[0]["prices"]))
        wanted = _context(tier, speed)
        if not wanted:
            return rates, ""
        found: dict[str, Rate] = {}
        matching = [row for row in self.variants if self.own and row["when"].items() <= wanted.items()]
        for row in matching:
            if _holds(row, at):
                found = _read(row["prices"]) | found
        if not any(_holds(row, at) for row in matching):
            named = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
            since = min((row["from"] for row in matching if "from" in row), default=None)
            known = f"lists it from {since} on" if since else "lists no price for it"
            return rates, f"priced as standard: the table {known} ({named})"
        return rates | found, ""

    def changes(self) -> tuple[str, ...]:
        """The days on which its rates change, in order."""
        return tuple(sorted({row["from"] for row in self.prices if "from" in row}))


class Table:
    """Prices as of the day they were taken; `source` names both."""

    def __init__(self, path: Path) -> None:
        """Read a table; raises `ValueError` when the file is none."""
        heading, *rows = gzip.decompress(path.read_bytes()).splitlines()
        head = msgspec.json.decode(heading)
        if not isinstance(head, dict) or not {"source", "taken"} <= head.keys():
            raise ValueError(f"{path} is no price table: its first line has no source and day. Use scripts/prices.py.")
        self.taken: str = head["taken"]
        self.source = f"{head['source']} ({self.taken})"
        self._providers: list[dict[str, Any]] = [msgspec.json.decode(row) for row in rows]
        self._by_id = {row["id"]: row for row in self._providers}

    def find(self, provider: str | None, model: str) -> Listed | None:
        """The entry for a model of a provider; without one, of the provider whose models are named like that."""
        name = model.lower().strip()
        vendor = self._provider(provider) if provider is not None else self._guess(name)
        if vendor is None:
            head, _, rest = name.partition("/")
            vendor, name = (self._provider(head), rest) if provider in (None, "litellm") and rest else (None, name)
        if vendor is None:
            return None
        return self._of(vendor, name) or self._of(vendor, _COMPACT_DAY.sub(r"-\1-\2-\3", name))

    def _provider(self, provider: str) -> Mapping[str, Any] | None:
        name = provider.lower().strip()
        name = _ALIASES.get(name, name)
        if name in self._by_id:
            return self._by_id[name]
        matching = (row for row in self._providers if "provider_match" in row and matches(row["provider_match"], name))
        return next(matching, None)

    def _guess(self, model: str) -> Mapping[str, Any] | None:
        matching = (row for row in self._providers if "model_match" in row and matches(row["model_match"], model))
        return next(matching, None)

    def _of(self, vendor: Mapping[str, Any], model: str) -> Listed | None:
        for name in (vendor["id"], *vendor.get("fallback", ())):
            for row in self._by_id.get(name, {}).get("models", ()):
                if matches(row["match"], model):
                    variants = tuple(row.get("variants", ()))
                    return Listed(vendor["id"], row["id"], tuple(row["prices"]), variants, name == vendor["id"])
        return None


@cache
def built_in() -> Table:
    """The newest table that came with this version."""
    return Table(max(FOLDER.glob("*.jsonl.gz")))


_CLAUSES: dict[str, Callable[[Any, str], bool]] = {
    "equals": lambda value, name: name == value.lower(),
    "contains": lambda value, name: value.lower() in name,
    "starts_with": lambda value, name: name.startswith(value.lower()),
    "ends_with": lambda value, name: name.endswith(value.lower()),
    "regex": lambda value, name: re.search(value, name) is not None,
    "or": lambda value, name: any(matches(each, name) for each in value),
    "and": lambda value, name: all(matches(each, name) for each in value),
}


def matches(clause: Mapping[str, Any], name: str) -> bool:
    """Whether a name in lower case is one that a clause of the table describes."""
    ((kind, value),) = clause.items()
    return _CLAUSES[kind](value, name)


def _holds(row: Mapping[str, Any], at: datetime) -> bool:
    if "from" in row:
        return at.date() >= date.fromisoformat(row["from"])
    if "hours" in row:
        now = at.timetz()
        start, end = (_utc(time.fromisoformat(text)) for text in row["hours"])
        return start <= now < end if start <= end else now >= start or now < end
    return True


def _utc(clock: time) -> time:
    aware = clock if clock.tzinfo is not None else clock.replace(tzinfo=UTC)
    return datetime.combine(date(1970, 1, 2), aware).astimezone(UTC).timetz()


def _context(tier: str | None, speed: str | None) -> dict[str, str]:
    """What a reply says of its tier, in the words of the table; empty for the standard one."""
    word = (tier or "").lower()
    context = {} if not word or word in _NO_TIER else {"processing" if word == "batch" else "service_tier": word}
    quick = (speed or "").lower()
    return context if not quick or quick in _NO_TIER else context | {"speed": quick}


def _read(prices: Mapping[str, Any]) -> dict[str, Rate]:
    return {
        name: Rate(Decimal(rate))
        if isinstance(rate, str)
        else Rate(Decimal(rate[0]), tuple((start, Decimal(price)) for start, price in rate[1:]))
        for name, rate in prices.items()
    }
