"""Lines of usage priced to the last digit, beside recorded bills, and lines that cannot be."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.adapters.models.bills import Malformed, Priced, encode, line_of, price, rows_of
from watchkeeper.adapters.models.prices import PriceRow, Prices

CASES = Path(__file__).parents[3] / "cases" / "prices" / "provider_usage.yaml"
ROWS = yaml.safe_load(CASES.read_text(encoding="utf-8"))
PRICES = Prices()
MESSAGES = {"input_tokens": 10, "cache_read_input_tokens": 0, "output_tokens": 2}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['provider']} {row['api']} {row['model']}")
def test_recorded_usage_comes_to_its_recorded_price_to_the_last_digit(row: dict[str, Any]) -> None:
    priced = price(line_of({name: row[name] for name in ("provider", "model", "usage", "api")}), PRICES)
    assert priced.quote.input_usd == Decimal(row["input_usd"])
    assert priced.quote.output_usd == Decimal(row["output_usd"])


def priced(usage: dict[str, Any], model: str = "claude-sonnet-4-5", **more: Any) -> Priced:
    return price(line_of({"provider": "anthropic", "model": model, "usage": usage} | more), PRICES)


def test_an_hours_cache_costs_more_to_write_than_five_minutes() -> None:
    five = {"input_tokens": 0, "output_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 1_000_000}}
    hour = {"input_tokens": 0, "output_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 1_000_000}}
    below = priced({**five, "cache_creation_input_tokens": 100_000} | {"cache_creation_input_tokens": 1_000_000})
    above = priced({**hour, "cache_creation_input_tokens": 1_000_000})
    assert below.quote.input_usd == Decimal("7.5") and above.quote.input_usd == Decimal("12")


def test_searches_and_other_passes_are_fees_beside_input_and_output() -> None:
    usage = MESSAGES | {"server_tool_use": {"web_search_requests": 10}}
    searched = priced(usage, timestamp="2026-11-20")
    assert searched.quote.fees_usd == Decimal("0.1") and searched.note == ""
    elsewhere = priced(usage, "claude-sonnet-4-5-20250929", provider="aws")
    assert elsewhere.quote.fees_usd == 0 and "10 web searches" in elsewhere.note
    compacted = priced(MESSAGES | {"iterations": [{"type": "compaction", "input_tokens": 1000, "output_tokens": 0}]})
    plain = priced(MESSAGES)
    assert compacted.quote == plain.quote and compacted.besides_usd == Decimal("0.003")
    assert "compaction" in compacted.note
    assert compacted.total_usd is not None and plain.total_usd is not None
    assert compacted.total_usd - plain.total_usd == Decimal("0.003")


@pytest.mark.parametrize(
    ("tier", "day", "input_usd", "note"),
    [
        (None, "2026-11-20", "4", ""),
        ("default", "2026-11-20", "4", ""),
        ("flex", "2026-11-20", "2", ""),
        ("priority", "2026-11-20", "8", ""),
        ("batch", "2026-11-20", "2", ""),
        ("flex", "2026-10-01", "4", "priced as standard: the table lists it from 2026-10-12 on"),
        ("platinum", "2026-11-20", "4", "priced as standard: the table lists no price for it"),
    ],
)
def test_a_service_tier_has_its_own_price_or_is_said_to_be_priced_as_standard(
    tier: str | None, day: str, input_usd: str, note: str
) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    line = line_of({"provider": "openai", "model": "gpt-5.6-sol", "usage": usage, "service_tier": tier, "time": day})
    answer = price(line, PRICES)
    doubled = 2  # a million tokens are above the tier by input size
    assert answer.quote.input_usd == Decimal(input_usd) * doubled
    assert answer.note.startswith(note) and bool(answer.note) == bool(note)


def test_a_price_is_that_of_the_day_and_of_the_hour() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    before, after = (
        price(line_of({"provider": "mistral", "model": "mistral-medium-latest", "usage": usage, "time": day}), PRICES)
        for day in ("2026-06-15T23:59:59Z", "2026-06-16T00:00:00Z")
    )
    assert (before.quote.input_usd, after.quote.input_usd) == (Decimal("0.4"), Decimal("1.5"))


def test_a_line_without_a_time_comes_to_the_same_sum_whenever_it_is_priced() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    line = line_of({"provider": "mistral", "model": "mistral-medium-latest", "usage": usage})
    answer = price(line, PRICES)
    assert answer.quote.input_usd == Decimal("0.4") and "2026-06-16" in answer.note
    today = price(line, PRICES, datetime(2026, 11, 21, tzinfo=UTC))
    assert today.quote.input_usd == Decimal("1.5") and today.note == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"provider": "openai", "model": "nobody-knows", "usage": {"prompt_tokens": 1}}, "has no model"),
        ({"provider": "nobody", "model": "gpt-4o", "usage": {"prompt_tokens": 1}}, "has no model"),
        ({"provider": "openai", "usage": {"prompt_tokens": 1}}, "no model is named"),
        ({"provider": "openai", "model": "gpt-4o", "usage": {"prompt_tokens": 1}}, "how many output tokens"),
        ({"provider": "openai", "model": "gpt-4o", "usage": {}}, "does not say"),
        (
            {
                "provider": "openai",
                "model": "gpt-4o",
                "usage": {
                    "prompt_tokens": 1,
                    "completion_tokens": 0,
                    "prompt_tokens_details": {"cached_tokens": 2},
                },
            },
            "contradicts itself",
        ),
    ],
)
def test_what_has_no_price_is_unknown_with_its_reason_and_never_zero(row: dict[str, Any], reason: str) -> None:
    answer = price(line_of(row), PRICES).row(1)
    assert answer["total_usd"] is None and answer["cost_usd"] is None
    assert reason in answer["reason"]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"provider": "openai"}, "no usage"),
        ({"usage": [1]}, "usage is list"),
        ({"usage": {"prompt_tokens": 1}, "model": 5}, "model is '5'"),
        ({"usage": {"prompt_tokens": 1}, "provider": []}, "provider is"),
    ],
)
def test_a_line_that_cannot_be_read_says_what_is_wrong(row: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Malformed, match=wrong):
        line_of(row)


def test_a_whole_reply_may_stand_for_the_usage() -> None:
    body = {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 10, "completion_tokens": 2}, "service_tier": "default"}
    wrapped = price(line_of({"provider": "openai", "response": body}), PRICES)
    bare = price(line_of({"provider": "openai", **body}), PRICES)
    assert wrapped.total_usd == bare.total_usd == Decimal("0.0000027")


def test_an_owners_row_goes_first_and_is_exact() -> None:
    owned = Prices([PriceRow(model="gpt-4o*", input_usd_per_million=0.1, output_usd_per_million=0.2, source="ours")])
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    answer = price(line_of({"provider": "openai", "model": "gpt-4o", "usage": usage}), owned)
    assert answer.total_usd == Decimal("0.0000005") and answer.quote.source == "ours"


def test_dollars_are_written_with_all_their_digits_and_no_exponent() -> None:
    row = {"a": Decimal("8E-8"), "b": Decimal("0.00"), "c": Decimal("12"), "d": Decimal("1E+2"), "e": Decimal("0.10")}
    assert encode(row) == b'{"a":0.00000008,"b":0,"c":12,"d":100,"e":0.1}'


def test_lines_are_read_plain_and_packed_and_a_broken_file_says_so() -> None:
    data = b'{"a":1}\n\n[1]\nnope\n{"b":2}'
    rows = list(rows_of(io.BytesIO(data)))
    assert [number for number, _ in rows] == [1, 3, 4, 5]
    assert rows[0][1] == {"a": 1} and "no object" in rows[1][1] and "not JSON" in rows[2][1]
    packed = gzip.compress(data)
    assert list(rows_of(io.BytesIO(packed))) == rows
    torn = list(rows_of(io.BytesIO(packed[:-9])))
    assert "gzip stream is broken" in str(torn[-1][1])
    assert json.loads(encode({"line": 1})) == {"line": 1}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "gpt-4o", "openai"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["usage", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
_FIELDS = st.sampled_from(
    [
        "provider", "model", "usage", "response", "timestamp", "service_tier", "api", "prompt_tokens", "input_tokens",
        "completion_tokens", "output_tokens", "iterations", "prompt_tokens_details", "choices", "content", "cost",
    ]
)  # fmt: skip


@given(st.dictionaries(_FIELDS, _JSON | st.dictionaries(_FIELDS, _JSON, max_size=6), max_size=8))
def test_whatever_a_line_holds_it_is_priced_unknown_or_malformed(row: dict[str, Any]) -> None:
    try:
        answer = price(line_of(row), PRICES)
    except Malformed:
        return
    written = json.loads(encode(answer.row(1)))
    assert (written["total_usd"] is None) != (written["reason"] is None) or answer.besides_usd is None
