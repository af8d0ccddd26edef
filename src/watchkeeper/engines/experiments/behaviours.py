"""Tells how the replies of two versions differ in shape, what reads that shape, and who is used to it.

Replies come from files: what `eval run --out` wrote, what `watchkeeper export --format jsonl` wrote (recorded traffic),
or any JSON lines with `output`. Each feature (`analysis/shape_features.py`) is compared (`analysis/two_samples.py`);
p-values are adjusted over all features so that of those reported a share of at most `alpha` is expected to be false
(Benjamini and Hochberg, 1995). Replies of one session, cluster or case are averaged first. What is reported is ranked
by effect size times the weight of the consumers that read the feature (1 without any).

Limits: the two sides are taken as independent samples of like traffic; where the mix of questions changed, the shape
changes with it. Features hang together, so one habit may be told by several of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchkeeper.analysis.multiplicity import benjamini_hochberg
from watchkeeper.analysis.shape_features import Reply, features
from watchkeeper.analysis.two_samples import Shift, by_cluster, shift
from watchkeeper.engines.experiments.consumers import Break, Consumer, breaks
from watchkeeper.engines.experiments.rows import Row, TableError, rows_of
from watchkeeper.engines.experiments.tables import text
from watchkeeper.records.record import Record

ALPHA = 0.05


class Told(Record):
    """One reply of a side, with whom it was for, its cluster and when (unix ns), as far as known."""

    reply: Reply
    user: str | None = None
    cluster: str | None = None
    at_ns: int | None = None


class Difference(Record):
    """A feature that was compared: `p_value` is adjusted, `rank` is effect size times the weight of its readers."""

    feature: str
    shift: Shift
    p_value: float
    readers: tuple[str, ...]
    rank: float
    differs: bool


class Behaviour(Record):
    """Two versions side by side: features, those that differ first by rank; consumers, those that break first."""

    replies_a: int
    replies_b: int
    differences: tuple[Difference, ...]
    consumers: tuple[Break, ...] = ()


def read_replies(path: Path) -> list[Told]:
    """The replies in a file; rows without one (failed calls) are left out. Raises `TableError`."""
    found = [told for _, row in rows_of(path) if (told := _told(row)) is not None]
    if not found:
        raise TableError(
            f"{path} has no reply. Name a file of 'eval run --out' or 'export --format jsonl', or lines with `output`."
        )
    return found


def behaviour(
    a: Sequence[Told], b: Sequence[Told], consumers: Sequence[Consumer] = (), alpha: float = ALPHA
) -> Behaviour:
    """Compare two sides."""
    values_a, values_b = _values(a), _values(b)
    shifts = {
        name: found
        for name in sorted(values_a.keys() & values_b.keys())
        if (found := shift(values_a[name], values_b[name])) is not None
    }
    adjusted = benjamini_hochberg([each.p_value for each in shifts.values()])
    differences = [
        _difference(name, found, p_value, consumers, alpha)
        for (name, found), p_value in zip(shifts.items(), adjusted, strict=True)
    ]
    differences.sort(key=lambda each: (not each.differs, -each.rank, each.feature))
    return Behaviour(
        replies_a=len(a),
        replies_b=len(b),
        differences=tuple(differences),
        consumers=breaks(consumers, [each.reply.text for each in a], [each.reply.text for each in b]),
    )


def _difference(name: str, found: Shift, p_value: float, consumers: Sequence[Consumer], alpha: float) -> Difference:
    readers = [each for each in consumers if name in each.hangs_on()]
    weight = 1.0 + sum(each.weight for each in readers)
    return Difference(
        feature=name,
        shift=found,
        p_value=p_value,
        readers=tuple(each.name for each in readers),
        rank=abs(found.effect) * weight,
        differs=p_value < alpha,
    )


def _values(side: Sequence[Told]) -> Mapping[str, list[float]]:
    """The values of each feature, one for each cluster."""
    values: dict[str, list[float]] = defaultdict(list)
    clusters: dict[str, list[object]] = defaultdict(list)
    for place, each in enumerate(side):
        for name, value in features(each.reply).items():
            values[name].append(value)
            clusters[name].append(("alone", place) if each.cluster is None else each.cluster)
    return {name: by_cluster(values[name], clusters[name]) for name in values}


def _told(row: Row) -> Told | None:
    span = row.get("span")
    return _from_span(span, row.get("messages")) if isinstance(span, dict) else _from_result(row)


def _from_result(row: Row) -> Told | None:
    said = row.get("output")
    if said is None or row.get("error"):
        return None
    return Told(
        reply=Reply(
            text=said if isinstance(said, str) else text(said),
            tools=_tools(row.get("calls")),
            output_tokens=_whole(row.get("output_tokens")),
            duration_ns=_whole(row.get("duration_ns")),
            first_token_ns=_whole(row.get("first_token_ns")),
        ),
        user=text(row.get("user")) or None,
        cluster=text(row.get("cluster")) or text(row.get("session")) or text(row.get("case_id")) or None,
        at_ns=_whole(row.get("at_ns")) or _whole(row.get("start_ns")),
    )


def _from_span(span: Mapping[str, Any], messages: Any) -> Told | None:
    said = messages.get("output") if isinstance(messages, dict) else None
    whole = [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
    texts = [part for each in whole for part in _texts(each.get("content", each.get("parts")))]
    calls = [call for each in whole for call in each.get("tool_calls") or () if isinstance(call, dict)]
    if not texts and not calls:
        return None
    usage, identity = span.get("usage") or {}, span.get("identity") or span
    start, end = _whole(span.get("start_ns")), _whole(span.get("end_ns"))
    return Told(
        reply=Reply(
            text="".join(texts),
            tools=tuple(str((each.get("function") or each).get("name")) for each in calls),
            output_tokens=_whole(usage.get("output_tokens")),
            duration_ns=None if start is None or end is None else end - start,
            first_token_ns=_whole(span.get("first_token_ns")),
        ),
        user=text(identity.get("user")) or None,
        cluster=text(identity.get("session")) or None,
        at_ns=start,
    )


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    found = []
    for part in content if isinstance(content, list) else ():
        said = (part.get("text") or part.get("content")) if isinstance(part, dict) else part
        found += [said] if isinstance(said, str) else []
    return found


def _tools(calls: Any) -> tuple[str, ...] | None:
    import json

    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except ValueError:
            return None
    if not isinstance(calls, list):
        return None
    return tuple(str(each.get("name")) for each in calls if isinstance(each, dict))


def _whole(value: Any) -> int | None:
    try:
        return None if value in (None, "") or isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None
