"""Prices lines of usage: each with a provider, a model and the provider's own usage object, or a whole reply.

A line without a time is priced as of `REFERENCE`, so that the same file comes to the same sum whenever it is priced;
where the table changed the model's rates since then, the line says so.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from watchkeeper.adapters.formats.imported import WrongRow, moment_of
from watchkeeper.adapters.models.prices import Prices, Quote
from watchkeeper.analysis.usage import Beside, Counts, find, read
from watchkeeper.records.record import as_json

REFERENCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The instant for which lines without a time are priced: the recorded bills of the tests are of that time."""

LONGEST_LINE = 64 << 20
_TIMES = ("timestamp", "time", "created_at", "created", "createTime", "start_time")
_MODELS = ("model", "modelVersion", "model_id", "modelId")


class Malformed(ValueError):
    """A line that cannot be read; the message says what is missing or wrong."""


class Line(NamedTuple):
    """What a line says: whose model, what was used, when, and at which tier."""

    provider: str | None
    model: str | None
    counts: Counts
    at_ns: int | None
    api: str | None


class Priced(NamedTuple):
    """A line with its price; `at` is the instant whose rates were taken."""

    line: Line
    quote: Quote
    besides_usd: Decimal | None
    at: datetime
    note: str

    @property
    def total_usd(self) -> Decimal | None:
        """Everything that is charged; None when a part of it is unknown."""
        total = self.quote.total_usd
        return None if total is None or self.besides_usd is None else total + self.besides_usd

    def row(self, number: int) -> dict[str, Any]:
        """The line's answer, its dollars as exact decimals."""
        line, quote = self.line, self.quote
        fees = None if quote.fees_usd is None or self.besides_usd is None else quote.fees_usd + self.besides_usd
        row: dict[str, Any] = {
            "line": number,
            "provider": line.provider,
            "model": line.model,
            "matched_model": quote.model,
            "usage": msgspec.to_builtins(line.counts.usage()) | {"units": line.counts.units},
            "input_usd": quote.input_usd,
            "output_usd": quote.output_usd,
            "fees_usd": fees,
            "total_usd": self.total_usd,
            "cost_usd": self.total_usd,
            "billed_usd": None if line.counts.billed_usd is None else Decimal(line.counts.billed_usd),
            "source": quote.source,
            "priced_at": self.at.isoformat().replace("+00:00", "Z"),
            "reason": quote.reason,
            "note": self.note or None,
        }
        return row


def rows_of(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The JSON objects of a file of lines, plain or gzip, with their numbers; a text instead says what is wrong.

    A broken gzip stream ends the file with such a text, so that nothing is silently left out.
    """
    buffered = io.BufferedReader(cast("Any", file))
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        buffered = io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=buffered)))
    number = 0
    try:
        while data := buffered.readline(LONGEST_LINE + 1):
            number += 1
            if len(data) > LONGEST_LINE:
                yield number, f"the line is longer than {LONGEST_LINE >> 20} MiB; nothing after it was read"
                return
            if data.strip():
                yield number, _object_in(data)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        yield number + 1, f"the gzip stream is broken here, so the rest of the file was not read: {error}"


def _object_in(data: bytes) -> dict[str, Any] | str:
    try:
        value = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return value if isinstance(value, dict) else "the line is JSON but no object"


def line_of(row: Mapping[str, Any]) -> Line:
    """Read a line: `usage` (or a whole reply in `response` or `body`, or as the line itself); raises `Malformed`."""
    body = next((row[name] for name in ("response", "body", "reply") if isinstance(row.get(name), Mapping)), row)
    given = row.get("usage", row.get("usageMetadata"))
    if given is not None and not isinstance(given, Mapping):
        raise Malformed(f"usage is {type(given).__name__}, expected the usage object that the provider sent")
    usage = find(given) if isinstance(given, Mapping) else find(body)
    if usage is None and isinstance(given, Mapping):
        usage = given
    if usage is None:
        raise Malformed("there is no usage: put the usage object that the provider sent into the field `usage`")
    provider, model = _word(row, "provider", "provider_id"), _word(row, *_MODELS) or _word(body, *_MODELS)
    nested = body.get("response")
    if model is None and isinstance(nested, Mapping):
        model = _word(nested, *_MODELS)
    api = _word(row, "api", "api_flavor", "flavor")
    counts = read(usage, api)
    tier = _word(row, "service_tier", "tier") or counts.tier or _word(body, "service_tier", "serviceTier")
    return Line(provider, model, msgspec.structs.replace(counts, tier=tier), _time_of(row, body), api)


def price(line: Line, prices: Prices, at: datetime | None = None) -> Priced:
    """Price a line at its own time, else at `at`, else at `REFERENCE`."""
    stamped = line.at_ns is not None
    moment = datetime.fromtimestamp(line.at_ns / 1e9, tz=UTC) if line.at_ns is not None else at or REFERENCE
    at_ns = line.at_ns if line.at_ns is not None else int(moment.timestamp()) * 1_000_000_000
    counts = line.counts
    quote = prices.quote(line.provider, line.model, counts.units, at_ns, counts.tier, counts.speed)
    besides = [_beside(each, line, prices, at_ns) for each in counts.besides]
    total = None if any(each is None for each in besides) else sum((each or Decimal(0) for each in besides), Decimal(0))
    notes = [quote.note, *(_told(each) for each in counts.besides)]
    if not stamped and at is None and line.model and quote.reason is None:
        since = [day for day in prices.changes(line.provider, line.model) if day > REFERENCE.date().isoformat()]
        notes += [f"the line has no time, and the rates changed on {', '.join(since)}"] if since else []
    return Priced(line, quote, total, moment, "; ".join(note for note in notes if note))


def encode(row: Mapping[str, Any]) -> bytes:
    """A row as JSON, its decimals as plain numbers with all their digits and no exponent."""
    return as_json({name: _number(value) if isinstance(value, Decimal) else value for name, value in row.items()})


def _number(value: Decimal) -> msgspec.Raw:
    text = f"{value:f}"
    return msgspec.Raw((text.rstrip("0").rstrip(".") if "." in text else text).encode())


def _beside(each: Beside, line: Line, prices: Prices, at_ns: int) -> Decimal | None:
    tier, speed = line.counts.tier, line.counts.speed
    return prices.quote(line.provider, each.model or line.model, each.units, at_ns, tier, speed).total_usd


def _told(each: Beside) -> str:
    spent, written = each.units.get("input_tokens", 0), each.units.get("output_tokens", 0)
    whose = "" if each.model is None else f" of {each.model}"
    return f"fees hold {each.kind}{whose}: {spent:,} input and {written:,} output tokens that the counts leave out"


def _time_of(row: Mapping[str, Any], body: Mapping[str, Any]) -> int | None:
    for place in (row, body):
        for name in _TIMES:
            if place.get(name) is not None:
                try:
                    return moment_of(place[name])
                except (WrongRow, ValueError) as error:
                    raise Malformed(f"{name} is {str(place[name])[:60]!r}: {error}") from error
    return None


def _word(row: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise Malformed(f"{name} is {str(value)[:60]!r}, expected a text")
        if value:
            return value
    return None
