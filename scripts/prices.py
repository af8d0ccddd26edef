"""Writes the built-in price table from the installed genai-prices package (MIT), as of today.

Run after `pip install -U genai-prices`: `python scripts/prices.py`. The table is one gzip file of JSON lines, named by
the day on which it was taken: a heading, then one line for each provider. Older tables are removed by hand, once no
row of a record that anybody prices again names them.
"""

from __future__ import annotations

import gzip
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parents[1] / "src" / "watchkeeper" / "adapters" / "models" / "tables"
LICENCE = "MIT, Copyright (c) Pydantic Services Inc. 2025 to present, https://github.com/pydantic/genai-prices"


def main() -> int:
    """Write the table of today."""
    from genai_prices import __version__
    from genai_prices.data import providers

    day = datetime.now(tz=UTC).date().isoformat()
    heading = {"source": f"genai-prices {__version__}", "taken": day, "licence": LICENCE}
    rows = [heading, *(provider(each) for each in providers)]
    data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{day}.jsonl.gz"
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    models = sum(len(row["models"]) for row in rows[1:])
    print(f"Wrote {path.name}: {len(rows) - 1} providers, {models:,} models, {path.stat().st_size:,} bytes.")
    return 0


def provider(listed: Any) -> dict[str, Any]:
    """One provider: how it and its models are recognised, and what they cost."""
    row = {
        "id": listed.id,
        "provider_match": clause(listed.provider_match),
        "model_match": clause(listed.model_match),
        "fallback": listed.fallback_model_providers or [],
        "models": [model(each) for each in listed.models],
    }
    return {name: value for name, value in row.items() if value or name == "models"}


def model(listed: Any) -> dict[str, Any]:
    """One model: its prices, each with the time from which or within which it holds, and those of service tiers."""
    several = listed.prices if isinstance(listed.prices, list) else None
    prices = [{"prices": rates(listed.prices)}] if several is None else [timed(each) for each in several]
    row: dict[str, Any] = {"id": listed.id, "match": clause(listed.match), "prices": prices}
    variants = [{"when": dict(each.when), **timed(each)} for each in listed.price_variants or ()]
    return {**row, "variants": variants} if variants else row


def timed(listed: Any) -> dict[str, Any]:
    """Rates with the day from which, or the hours in which, they hold."""
    row: dict[str, Any] = {"prices": rates(listed.prices)}
    constraint = listed.constraint
    if hasattr(constraint, "start_date"):
        row["from"] = constraint.start_date.isoformat()
    elif constraint is not None:
        row["hours"] = [constraint.start_time.isoformat(), constraint.end_time.isoformat()]
    return row


def rates(listed: Any) -> dict[str, Any]:
    """Rates as decimal texts; one with tiers is [base, [start, rate], ...]."""
    return {
        name: [str(rate.base), *([tier.start, str(tier.price)] for tier in rate.tiers)]
        if hasattr(rate, "tiers")
        else str(rate)
        for name, rate in vars(listed).items()
        if rate is not None
    }


def clause(listed: Any) -> dict[str, Any] | None:
    """How a name is recognised: {"contains": "gpt"}, {"or": [...]}, ..."""
    if listed is None:
        return None
    ((name, value),) = vars(listed).items()
    if isinstance(value, list):
        return {name.rstrip("_"): [clause(each) for each in value]}
    return {name: value}


if __name__ == "__main__":
    sys.exit(main())
