"""The command that prices usage: what it came to, to the last digit, or why that is unknown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_table

if TYPE_CHECKING:
    from watchkeeper.adapters.models.bills import Priced
    from watchkeeper.adapters.models.prices import Prices

SHOWN = 20
STOPPED = 130


class Sums:
    """What came together: dollars by model, and what could not be priced or read."""

    def __init__(self) -> None:
        self.by_model: dict[tuple[str, str, str], list[Any]] = {}
        self.total = Decimal(0)
        self.priced = self.undated = 0
        self.unknown: list[tuple[int, str]] = []
        self.malformed: list[tuple[int, str]] = []
        self.notes: dict[str, int] = {}

    def take(self, number: int, priced: Priced) -> None:
        """Count one priced line."""
        line, total = priced.line, priced.total_usd
        key = (line.provider or "–", line.model or "–", priced.quote.source or "–")
        row = self.by_model.setdefault(key, [0, 0, 0, Decimal(0), 0])
        usage = line.counts.usage()
        row[0] += 1
        row[1] += usage.input_tokens or 0
        row[2] += usage.output_tokens or 0
        self.undated += line.at_ns is None
        if priced.note:
            self.notes[priced.note] = self.notes.get(priced.note, 0) + 1
        if total is None:
            row[4] += 1
            self.unknown.append((number, priced.quote.reason or "a part of it has no price"))
            return
        self.priced += 1
        row[3] += total
        self.total += total


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--at", metavar="TIME", help="Price lines that carry no time as of this day or time; `now` is today [2026-03-01]."
)
@house_options
def price(file: Path, at: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Price the lines of usage in FILE (JSON lines, gzip too; - is standard input).

    A line holds `provider`, `model` and `usage`, the provider's own usage object (or a whole reply in `response`); also
    read are `timestamp`, `service_tier` and `api` (chat, responses, anthropic, embeddings). Your own `[[prices]]` come
    before the built-in table. With --json every line is answered by one line, its dollars as exact decimals. What has
    no known price is unknown, with the reason, and never zero. Exit code 0; 1 when lines could not be read, which are
    named; 2 when it could not be done.
    """
    from watchkeeper.compose.pricing import prices_of
    from watchkeeper.config import load

    moment = _moment(at)
    prices = prices_of(load(config, data=data))
    sums = Sums()
    stopped = False
    try:
        for number, answer in _answers(file, prices, moment, sums):
            if as_json:
                _write(number, answer)
    except KeyboardInterrupt:
        stopped = True
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not as_json:
        _tell(sums)
    for number, why in sums.malformed[:SHOWN]:
        click.echo(f"watchkeeper: line {number} was not priced: {plain(why)}", err=True)
    if len(sums.malformed) > SHOWN:
        click.echo(f"watchkeeper: and {len(sums.malformed) - SHOWN:,} more lines; --json names them all.", err=True)
    raise SystemExit(STOPPED if stopped else int(bool(sums.malformed)))


def _answers(file: Path, prices: Prices, moment: datetime | None, sums: Sums) -> Iterator[tuple[int, Priced | str]]:
    from watchkeeper.adapters.models.bills import Malformed, line_of, rows_of
    from watchkeeper.adapters.models.bills import price as price_line

    try:
        source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise Failure(
            f"{file} cannot be read: {error.strerror}. Name a file of JSON lines, or -.", "no_file"
        ) from error
    with source:
        for number, row in rows_of(source):
            try:
                priced = price_line(line_of(row), prices, moment) if isinstance(row, dict) else row
            except Malformed as error:
                priced = str(error)
            if isinstance(priced, str):
                sums.malformed.append((number, priced))
            else:
                sums.take(number, priced)
            yield number, priced


def _write(number: int, answer: Priced | str) -> None:
    from watchkeeper.adapters.models.bills import encode

    row = {"line": number, "error": answer} if isinstance(answer, str) else answer.row(number)
    sys.stdout.buffer.write(encode(row) + b"\n")


def _moment(at: str | None) -> datetime | None:
    if at is None:
        return None
    if at == "now":
        return datetime.now(tz=UTC)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise Failure(f"--at is {at!r}, expected a day as 2026-03-01, a time as 2026-03-01T12:00, or now.") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _tell(sums: Sums) -> None:
    rows = [
        (provider, model, calls, f"{spent:,}", f"{written:,}", _usd(usd, calls > unknown), unknown or "", source)
        for (provider, model, source), (calls, spent, written, usd, unknown) in sorted(sums.by_model.items())
    ]
    names = ("provider", "model", "lines", "input", "output", "US dollars", "unknown", "source")
    print_table(names, rows, "There are no lines of usage in it.")
    click.echo(f"Priced {sums.priced:,} lines at ${sums.total.normalize():f}.")
    if sums.unknown:
        first = ", ".join(f"{number} ({plain(why)})" for number, why in sums.unknown[:3])
        click.echo(f"{len(sums.unknown):,} lines have no known price and are not in the sum: {first}")
    if sums.undated:
        click.echo(
            f"{sums.undated:,} lines carry no time and are priced as of --at (2026-03-01 where it is not given)."
        )
    for note, count in sorted(sums.notes.items(), key=lambda item: -item[1])[:5]:
        click.echo(f"{count:,} lines: {plain(note)}")


def _usd(usd: Decimal, any_known: bool) -> str:
    return f"{usd.normalize():f}" if any_known else "unknown"
