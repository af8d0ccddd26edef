"""Whose model a name is, and which rates hold at an instant."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from watchkeeper.adapters.models.table import Rate, Table, built_in, matches

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("OpenAI", "GPT-4o-mini", ("openai", "gpt-4o-mini")),
        (None, "gpt-4o-mini", ("openai", "gpt-4o-mini")),
        (None, "openai/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("litellm", "openai/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("azure.ai.openai", "gpt-4o-mini", ("azure", "gpt-4o-mini")),
        ("gcp.vertex_ai", "claude-sonnet-4-5", ("google", "claude-sonnet-4-5")),
        ("x_ai", "grok-4", ("x-ai", "grok-4-0709")),
        ("openai", "gpt-5.2-20251211", ("openai", "gpt-5.2")),
        ("openai", "no-such-model", None),
        ("no-such-provider", "gpt-4o", None),
        (None, "no-such-model", None),
    ],
)
def test_a_model_is_found_by_the_names_that_people_use(
    provider: str | None, model: str, found: tuple[str, str] | None
) -> None:
    listed = built_in().find(provider, model)
    assert (None if listed is None else (listed.provider, listed.model)) == found


def test_the_source_names_the_table_and_its_day() -> None:
    assert built_in().source == f"genai-prices 0.2.3 ({built_in().taken})"


def test_rates_of_a_day_hold_from_its_beginning() -> None:
    listed = built_in().find("mistral", "mistral-medium-latest")
    assert listed is not None and "2026-06-16" in listed.changes()
    eve = datetime(2026, 6, 15, 23, 59, 59, tzinfo=UTC)
    assert listed.rates(eve)[0]["input_mtok"].base == Decimal("0.4")
    assert listed.rates(datetime(2026, 6, 16, tzinfo=UTC))[0]["input_mtok"].base == Decimal("1.5")


def test_rates_of_an_hour_hold_within_it() -> None:
    listed = built_in().find("deepseek", "deepseek-v4-flash")
    assert listed is not None
    busy = {hour: listed.rates(NOON.replace(hour=hour))[0]["input_mtok"].base for hour in (0, 1, 3, 4, 6, 9, 10, 12)}
    assert busy[1] == busy[3] == busy[6] == busy[9] > busy[0] == busy[4] == busy[10] == busy[12]


def test_a_tier_begins_above_its_start() -> None:
    rate = Rate(Decimal(1), ((100, Decimal(2)), (200, Decimal(3))))
    assert [rate.at(count) for count in (0, 100, 101, 200, 201)] == [1, 1, 2, 2, 3]
    assert [rate.dearest(count) for count in (0, 101, 500)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("clause", "name", "is_it"),
    [
        ({"equals": "A"}, "a", True),
        ({"starts_with": "gpt-"}, "gpt-5", True),
        ({"ends_with": "-mini"}, "gpt-5-mini", True),
        ({"contains": "x"}, "abc", False),
        ({"regex": "^o[134]"}, "o3", True),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", True),
        ({"and": [{"contains": "a"}, {"contains": "b"}]}, "a", False),
    ],
)
def test_clauses(clause: dict[str, object], name: str, is_it: bool) -> None:
    assert matches(clause, name) is is_it


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n"))
    with pytest.raises(ValueError, match="no price table"):
        Table(path)
