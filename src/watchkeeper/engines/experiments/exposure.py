"""Who used a version, how long and how deeply: uses of it, users by depth, and what was judged of each use.

A use is a session, or a trace where no session is known. Users are sorted by depth of use of the old version: "light"
have at most the median number of calls, "deep" are the tenth with the most calls (or who used it for at least 30 days
and above the median), the others "regular".

Limits: users without a name are in no cohort. A session with calls of both versions counts as one of the new version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from watchkeeper.analysis.behaviour import Told
from watchkeeper.records.record import Record

DAY_NS = 86_400_000_000_000
LONG_DAYS = 30.0
COHORTS = ("light", "regular", "deep")


class Use(Record):
    """One use of a version by a user: when it began and ended (unix ns, None unknown), and its calls."""

    user: str
    use: str
    first_ns: int | None
    last_ns: int | None
    calls: int
    traces: tuple[str, ...] = ()


class Depth(Record):
    """How deeply a user used a version: `days` from the first call (`first_ns`) to the last, None where unknown."""

    calls: int
    uses: int
    days: float | None
    first_ns: int | None = None


class Cuts(Record):
    """Where the cohorts part, so that a user can be sorted again later."""

    light_most_calls: float
    deep_fewest_calls: float
    deep_fewest_days: float = LONG_DAYS

    def cohort(self, depth: Depth) -> str:
        """The cohort of a user."""
        if depth.calls <= self.light_most_calls:
            return "light"
        if depth.calls >= self.deep_fewest_calls or (depth.days is not None and depth.days >= self.deep_fewest_days):
            return "deep"
        return "regular"


def uses_of(rows: Iterable[Mapping[str, Any]]) -> list[Use]:
    """The uses in rows of the question `uses`, the first ones first; traces of one session are one use."""
    found: dict[tuple[str, str], Use] = {}
    for row in rows:
        user = f"{row['tenant']} {row['user']}" if row.get("tenant") else str(row["user"])
        name = str(row["session"] or row["trace_id"])
        before = found.get((user, name))
        first, last = int(row["first_ns"]), int(row["last_ns"])
        found[user, name] = Use(
            user=user,
            use=name,
            first_ns=first if before is None else min(first, before.first_ns or first),
            last_ns=last if before is None else max(last, before.last_ns or last),
            calls=int(row["calls"]) + (0 if before is None else before.calls),
            traces=(*(() if before is None else before.traces), str(row["trace_id"])),
        )
    return sorted(found.values(), key=lambda each: (each.first_ns or 0, each.user, each.use))


def uses_in(replies: Sequence[Told]) -> list[Use]:
    """The uses in replies from a file: each reply of a named user is one."""
    return [
        Use(user=each.user, use=str(number), first_ns=each.at_ns, last_ns=each.at_ns, calls=1)
        for number, each in enumerate(replies)
        if each.user is not None
    ]


def depths_of(uses: Iterable[Use]) -> dict[str, Depth]:
    """The depth of each user."""
    by_user: dict[str, list[Use]] = defaultdict(list)
    for each in uses:
        by_user[each.user].append(each)
    return {user: _depth(found) for user, found in sorted(by_user.items())}


def _depth(uses: Sequence[Use]) -> Depth:
    first = [each.first_ns for each in uses if each.first_ns is not None]
    last = [each.last_ns for each in uses if each.last_ns is not None]
    return Depth(
        calls=sum(each.calls for each in uses),
        uses=len(uses),
        days=(max(last) - min(first)) / DAY_NS if first and last else None,
        first_ns=min(first, default=None),
    )


def cuts_of(depths: Iterable[Depth]) -> Cuts:
    """Where the cohorts of some users part."""
    calls = sorted(each.calls for each in depths)
    if not calls:
        return Cuts(light_most_calls=0, deep_fewest_calls=1)
    return Cuts(light_most_calls=median(calls), deep_fewest_calls=calls[min(len(calls) - 1, int(0.9 * len(calls)))])


class Judged:
    """What was judged of uses: the share of good scores of one name, by session or trace."""

    def __init__(self, scores: Iterable[Mapping[str, Any]], uses: Iterable[Use], good: float) -> None:
        """`scores` are rows of the question `scores`; `unplaced` counts those of no known use."""
        by_trace = {trace: each.use for each in uses for trace in each.traces}
        names = set(by_trace.values())
        values: dict[str, list[float]] = defaultdict(list)
        self.unplaced = 0
        for row in scores:
            if row["value"] is None:
                continue
            place = self._place(row, by_trace, names)
            if place is None:
                self.unplaced += 1
            else:
                values[place].append(float(row["value"] >= good))
        self._values = {use: sum(found) / len(found) for use, found in values.items()}

    @staticmethod
    def _place(row: Mapping[str, Any], by_trace: Mapping[str, str], names: set[str]) -> str | None:
        session = row["subject_id"] if row["subject_kind"] == "session" else row["session"]
        if session in names:
            return str(session)
        trace = row["subject_id"] if row["subject_kind"] == "trace" else row["trace_id"]
        return by_trace.get(str(trace))

    def of(self, use: Use) -> float | None:
        """The share of good scores of a use; None where none is known."""
        return self._values.get(use.use)
