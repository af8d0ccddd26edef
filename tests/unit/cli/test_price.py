"""`watchkeeper price` answers every line: with its price, with why there is none, or with what is wrong with it."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

KNOWN = {"provider": "openai", "model": "gpt-4o-mini", "usage": {"prompt_tokens": 10, "completion_tokens": 2}}
UNKNOWN = KNOWN | {"model": "nobody-knows"}


def price(
    folder: Path, *lines: object, args: tuple[str, ...] = (), packed: bool = False, stdin: bool = False
) -> Result:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()
    file = folder / "usage.jsonl"
    file.write_bytes(gzip.compress(text) if packed else text)
    named = "-" if stdin else str(file)
    return CliRunner().invoke(main, ["price", named, *args], input=file.read_bytes() if stdin else None)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_every_line_has_one_answer(tmp_path: Path, packed: bool, stdin: bool) -> None:
    result = price(tmp_path, KNOWN, UNKNOWN, "nope", args=("--json",), packed=packed, stdin=stdin)
    assert result.exit_code == 1
    known, unknown, wrong = (json.loads(line, parse_float=Decimal) for line in result.stdout.splitlines())
    assert (known["input_usd"], known["output_usd"]) == (Decimal("0.0000015"), Decimal("0.0000012"))
    assert known["cost_usd"] == known["total_usd"] == Decimal("0.0000027")
    assert known["matched_model"] == "gpt-4o-mini" and known["source"].startswith("genai-prices ")
    assert unknown["cost_usd"] is None and "no model" in unknown["reason"]
    assert wrong["line"] == 3 and "not JSON" in wrong["error"]
    assert "line 3 was not priced" in result.stderr


def test_an_unknown_price_is_no_failure_and_is_not_in_the_sum(tmp_path: Path) -> None:
    result = price(tmp_path, KNOWN, UNKNOWN)
    assert result.exit_code == 0
    assert "Priced 1 lines at $0.0000027." in result.stdout
    assert "1 lines have no known price" in result.stdout and "unknown" in result.stdout


def test_lines_without_a_time_are_priced_as_of_a_day_that_can_be_named(tmp_path: Path) -> None:
    line = {"provider": "mistral", "model": "mistral-medium-latest", "usage": {"prompt_tokens": 10, "total_tokens": 10}}
    for args, usd in (((), "0.000004"), (("--at", "2026-11-20"), "0.000015"), (("--at", "now"), "0.000015")):
        (row,) = price(tmp_path, line, args=("--json", *args)).stdout.splitlines()
        assert json.loads(row, parse_float=Decimal)["input_usd"] == Decimal(usd)


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["price", str(tmp_path / "none.jsonl")])
    assert missing.exit_code == 2 and "cannot be read" in missing.stderr
    wrong = price(tmp_path, KNOWN, args=("--at", "yesterday"))
    assert wrong.exit_code == 2 and "--at is 'yesterday'" in wrong.stderr


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    result = price(tmp_path)
    assert result.exit_code == 0 and "no lines of usage" in result.stdout
