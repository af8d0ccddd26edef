"""Finds the traces that are worth keeping: those with consequences, and a random share of the rest.

Every reason is a question to the index about some traces at a time. What "costly" and "slow" mean is measured on the
calls of the same upstream and model in the day before and the span of time in question; groups too small to say so
have no outliers. The random share is drawn by a keyed hash of the trace id: the same trace is drawn or not whichever
segment it is met in, so that a kept trace is whole, and nobody without the key can choose to be drawn.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from watchkeeper.engines.keeping.rules import DAY_NS, Rules
from watchkeeper.queries.filters import CALLS, all_of, columns, count
from watchkeeper.queries.question import Reader
from watchkeeper.queries.select import Aggregate, Among, Compare, Known, Or, Predicate, Select, Table
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.kept import Reason

AT_ONCE = 2_000
"""Subjects asked about in one question."""
FEWEST_COSTS = 20
FEWEST_DURATIONS = 100
HITS = ("amend", "deny", "hold", "retry")
NEGATIVE = frozenset(("bad", "down", "no", "negative", "thumbs_down", "thumbsdown", "dislike", "complaint", "wrong"))
FAILED = ("error", "denied", "open")

_Group = tuple[object, object]


class Chosen(NamedTuple):
    """Why a trace is kept, and with what probability a trace like it is; `fresh` when that was decided only now."""

    reasons: tuple[str, ...]
    probability: float
    fresh: bool = True


class _Limits(NamedTuple):
    """Above which cost, by upstream and model, and above which duration, by model, a call is one to keep."""

    cost: Mapping[_Group, float]
    slow: Mapping[object, float]


class Chooser:
    """Says which traces are kept beyond the window, from what is known of them when it ends."""

    def __init__(self, reader: Reader, rules: Rules, key: bytes) -> None:
        """`key` is the secret of the random share."""
        self._reader, self._rules, self._key = reader, rules, key

    async def choose(self, traces: Collection[str], since_ns: int, until_ns: int) -> dict[str, Chosen]:
        """Of some traces those to keep; their spans began between `since_ns` and `until_ns`.

        A trace that was kept before stays kept for the same reasons.
        """
        wanted = frozenset(traces)
        chosen = await self._known(wanted, since_ns)
        reasons: dict[str, set[Reason]] = {}
        async for trace, reason in self._reasons(wanted, since_ns, until_ns):
            if trace in wanted:
                reasons.setdefault(trace, set()).add(reason)
        for trace in wanted - chosen.keys():
            why = tuple(sorted(str(each) for each in reasons.get(trace, ()) if each in self._rules.reasons))
            if why:
                chosen[trace] = Chosen(why, 1.0)
            elif self.drawn(trace):
                chosen[trace] = Chosen((Reason.RANDOM.value,), self._rules.share)
        return chosen

    def drawn(self, trace_id: str) -> bool:
        """Whether a trace belongs to the random share."""
        number = hashlib.blake2b(trace_id.encode(), key=self._key, digest_size=8, person=b"wk-sample").digest()
        return int.from_bytes(number, "big") < self._rules.share * 2.0**64

    async def _known(self, traces: frozenset[str], since_ns: int) -> dict[str, Chosen]:
        """Those of some traces that were kept before."""
        kept = columns("trace_id", "reasons", "probability")
        return {
            str(row["trace_id"]): Chosen(
                reasons=tuple(msgspec.json.decode(row["reasons"] or "[]", type=list[str])),
                probability=float(row["probability"]),
                fresh=False,
            )
            for row in await self._rows("kept", kept, [Known(column="trace_id")], since_ns)
            if row["trace_id"] in traces
        }

    async def _reasons(self, traces: frozenset[str], since_ns: int, until_ns: int) -> AsyncIterator[tuple[str, Reason]]:
        """Traces with a reason to be kept, others than the wanted ones among them."""
        async for trace, reason in self._of_spans(since_ns, until_ns):
            yield trace, reason
        # What was ruled, done or said of a span is not older than the span.
        known, hits = Known(column="trace_id"), Among(column="verdict", values=HITS)
        for row in await self._rows("decisions", columns("trace_id"), [known, hits], since_ns - DAY_NS):
            yield str(row["trace_id"]), Reason.GUARD
        for row in await self._rows("effects", columns("trace_id", "reversible"), [known], since_ns - DAY_NS):
            if row["reversible"] is not True:  # unknown is not reversible
                yield str(row["trace_id"]), Reason.EFFECT
        for row in await self._rows("incidents", columns("traces"), [], latest_by=("incident_id",)):
            for trace in msgspec.json.decode(row["traces"] or "[]"):
                yield str(trace), Reason.INCIDENT
        async for trace, reason in self._judged(traces, since_ns, until_ns):
            yield trace, reason

    async def _of_spans(self, since_ns: int, until_ns: int) -> AsyncIterator[tuple[str, Reason]]:
        limits = await self._limits(since_ns, until_ns)
        striking: list[Predicate] = [Among(column="status", values=FAILED)]
        for column, above in (("cost_usd", limits.cost), ("duration_ns", limits.slow)):
            if above:
                striking.append(Compare(column=column, op=">", value=min(above.values())))
        wanted = columns("trace_id", "status", "operation", "upstream", "model", "cost_usd", "duration_ns")
        for row in await self._rows("spans", wanted, [Or(any=tuple(striking))], since_ns, until_ns + 1):
            for reason in _of_span(row, limits):
                yield str(row["trace_id"]), reason

    async def _judged(self, traces: frozenset[str], since_ns: int, until_ns: int) -> AsyncIterator[tuple[str, Reason]]:
        """Complaints and low scores about traces, or about their spans, sessions and runs."""
        low: list[Predicate] = [
            Compare(column="value", op="<", value=self._rules.low_score), Among(column="label", values=_labels())
        ]  # fmt: skip
        about: dict[str, set[Reason]] = {}
        wanted = columns("subject_id", "trace_id", "name", "value", "label")
        rows = await self._rows("scores", wanted, [Or(any=tuple(low))], since_ns - DAY_NS, latest_by=("score_id",))
        for row in rows:
            reason = self._bad(row)
            if reason is None:
                continue
            if row["trace_id"] is not None:
                yield str(row["trace_id"]), reason
            subject = str(row["subject_id"])
            if subject in traces:
                yield subject, reason
            else:
                about.setdefault(subject, set()).add(reason)
        for some in _batches(sorted(about)):
            names = tuple(some)
            places = [Among(column=column, values=names) for column in ("session", "run", "span_id")]
            found = columns("trace_id", "session", "run", "span_id")
            for row in await self._rows("spans", found, [Or(any=tuple(places))], since_ns, until_ns + 1):
                for name in ("session", "run", "span_id"):
                    for reason in about.get(str(row[name]), ()):
                        yield str(row["trace_id"]), reason

    def _bad(self, row: Mapping[str, Any]) -> Reason | None:
        value, label = row["value"], str(row["label"] or "").lower()
        low = label in NEGATIVE if value is None else value < self._rules.low_score
        if not low and label not in NEGATIVE:
            return None
        return Reason.COMPLAINT if row["name"] in self._rules.complaints else Reason.LOW_SCORE

    async def _limits(self, since_ns: int, until_ns: int) -> _Limits:
        since_ns -= DAY_NS
        calls = Among(column="operation", values=CALLS)
        cost = await self._rows(
            "spans",
            (*columns("upstream", "model"), count("n"), *_quantiles("cost_usd", low=0.25, middle=0.5, high=0.75)),
            [calls, Known(column="cost_usd"), Compare(column="cost_usd", op=">", value=0)],
            since_ns, until_ns + 1, group=("upstream", "model"),
        )  # fmt: skip
        slow = await self._rows(
            "spans",
            (*columns("model"), count("n"), *_quantiles("duration_ns", slow=self._rules.slow_quantile)),
            [calls, Known(column="duration_ns"), Compare(column="status", op="=", value="ok")],
            since_ns, until_ns + 1, group=("model",),
        )  # fmt: skip
        return _Limits(
            cost={
                (row["upstream"], row["model"]): fence(row["low"], row["middle"], row["high"], self._rules.cost_fence)
                for row in cost
                if row["n"] >= FEWEST_COSTS
            },
            slow={row["model"]: float(row["slow"]) for row in slow if row["n"] >= FEWEST_DURATIONS},
        )

    async def _rows(
        self,
        table: Table,
        wanted: tuple[Any, ...],
        where: list[Predicate],
        since_ns: int = -FAR_NS,
        until_ns: int = FAR_NS,
        group: tuple[str, ...] = (),
        latest_by: tuple[str, ...] = (),
    ) -> list[dict[str, Any]]:
        plan = Select(
            table=table, since_ns=since_ns, until_ns=until_ns, columns=wanted, where=all_of(where), group=group,
            latest_by=latest_by,
        )  # fmt: skip
        return (await self._reader.select(plan)).dicts()


def fence(low: float, middle: float, high: float, reach: float) -> float:
    """The cost above which a call is an outlier: Tukey's upper fence on the logarithm, and at least twice the median.

    For log-normal costs and `reach` 1.5 about 0.35% of calls lie above it, whatever their scale and spread.
    """
    return max(2 * middle, high * math.pow(high / low, reach))


def _of_span(row: Mapping[str, Any], limits: _Limits) -> Iterator[Reason]:
    if row["status"] in FAILED:
        yield Reason.ERROR
    if row["operation"] not in CALLS:
        return
    cost, duration_ns = row["cost_usd"], row["duration_ns"]
    if cost is not None and cost > limits.cost.get((row["upstream"], row["model"]), math.inf):
        yield Reason.COST
    if duration_ns is not None and duration_ns > limits.slow.get(row["model"], math.inf):
        yield Reason.SLOW


def _quantiles(column: str, **at: float) -> tuple[Aggregate, ...]:
    return tuple(Aggregate(function="quantile", column=column, alias=alias, q=q) for alias, q in at.items())


def _labels() -> tuple[str, ...]:
    """The labels that say no, as people write them."""
    return tuple(sorted({form for word in NEGATIVE for form in (word, word.upper(), word.capitalize())}))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(itertools.islice(left, AT_ONCE)):
        yield some
