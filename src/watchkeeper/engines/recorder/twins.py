"""Finds spans that tell of one and the same call, so that its tokens and its cost are counted once.

A call is often told twice: by an instrumentation and by the SDK's own spans, by the client's trace and by the gateway
that passed it on, or by a wrapper around another wrapper. Two spans are the same call when

- both name the same response id for the same tenant, overlap in time, and come from different emitters (an emitter is a
  door, service and instrumentation scope: one of them reports a call once, so equal ids from it are made-up ids); or
- one is the direct parent of the other, both are model calls of the same operation and a compatible model, their
  response ids agree where both are known, and the parent has no other such child. A call with several calls below it
  (tries of a router, for example) repeats them and is no call of its own; or
- both are moments of one call that a framework tells as spans of their own (`backend.openai.chat.start-14`, then
  `.success-14` and `.finish-14`): in one trace, of one name but for the moment, with one number.

The one that tells most is the primary; the others get its name in `duplicate_of`, as a new revision of their row. The
choice depends on the spans alone and not on their order, so it is the same whichever came first and after a rebuild.

Limits: for parents and children the latest `RECENT_CALLS` calls are remembered. A response id is looked up in the index
an hour around the call; a filter keeps all others from being looked up, and remembers at least the latest
`REMEMBERED_IDS`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from watchkeeper.kinds.ports import Log
from watchkeeper.queries.select import Among, And, Column, Known, Order, Predicate, Select
from watchkeeper.queries.timespan import FAR_NS, HOUR_NS
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Operation, Span

RECENT_CALLS = 50_000
REMEMBERED_IDS = 1_000_000
READ_AT_START = 20_000
SKEW_NS = 5_000_000_000
MOST_LOOKED_UP = 2_000
MOST_ROUNDS = 3
CALLS = (Operation.CHAT.value, Operation.COMPLETION.value, Operation.EMBEDDINGS.value)
_SHORTEST_MODEL = 3
_MOMENT = re.compile(r"(?P<call>backend(?:\.[\w-]+)+)\.(?:start|success|error|finish)-(?P<number>\d+)")
Key = tuple[str, str]


class Filter(Protocol):
    """A set that says which of some keys it has perhaps seen before, and remembers them all."""

    count: int

    def sift(self, keys: Iterable[str]) -> list[str]:
        """Those perhaps known before."""
        ...


class Twins:
    """Marks what tells of a call a second time, in a batch that is about to be indexed and in the index."""

    def __init__(self, log: Log, new_filter: Callable[[], Filter]) -> None:
        self._index, self._new_filter = log, new_filter
        self._ids = [new_filter()]
        self._parents: OrderedDict[Key, str | None] = OrderedDict()
        self._children: dict[Key, None] = {}
        self._ready = False
        self.marked = 0

    async def settle(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """The records of a batch, with duplicates among them marked and new revisions of those in the index added."""
        calls = {_key(each): each for each in records if isinstance(each, Span) and _is_call(each)}
        if not calls:
            return records
        if not self._ready:
            await self._recall()
        suspects, paired = self._suspects(calls)
        if not suspects and not paired:
            return records
        stored = await self._stored(suspects) if suspects else {}
        told = [*suspects, *paired, *stored.values()]
        traces, ids = {each.trace_id for each in told}, {each.response_id for each in told} - {None}
        here = {
            key: each
            for key, each in calls.items()
            if (each.trace_id in traces or each.response_id in ids) and _fresh(each, stored)
        }
        changed = settled([*(each for key, each in stored.items() if key not in here), *here.values()])
        if not changed:
            return records
        self.marked += len(changed)
        kept = tuple(
            msgspec.structs.replace(each, duplicate_of=changed[_key(each)])
            if isinstance(each, Span) and here.get(_key(each)) is each and _key(each) in changed
            else each
            for each in records
        )
        revised = tuple(
            msgspec.structs.replace(span, duplicate_of=changed[key], revision=span.revision + 1)
            for key, span in stored.items()
            if key in changed and key not in here
        )
        return kept + revised

    def _suspects(self, calls: Mapping[Key, Span]) -> tuple[list[Span], list[Span]]:
        """Calls of a batch that an earlier batch may hold a twin of, and those that have one within the batch."""
        named: dict[str, Span] = {}
        suspects: list[Span] = []
        paired: list[Span] = []
        parents, children = self._parents, self._children
        for key, span in calls.items():
            told = _told_names(span.identity.tenant, span.response_id, span.trace_id, span.name)
            paired += [span for name in told if named.setdefault(name, span) is not span]
            above = (span.trace_id, span.parent_id or "")
            if above in calls:
                paired.append(span)
            elif above in parents or key in children:
                suspects.append(span)
        for key, span in calls.items():
            self._remember(key, span.parent_id)
        while len(parents) > RECENT_CALLS:
            (trace_id, _), old = parents.popitem(last=False)
            if old is not None:
                children.pop((trace_id, old), None)
        before = [name for each in self._ids for name in each.sift(named)]
        if self._ids[-1].count >= REMEMBERED_IDS:
            self._ids = [self._ids[-1], self._new_filter()]
        return suspects + [named[name] for name in dict.fromkeys(before)], paired

    def _remember(self, key: Key, parent: str | None) -> None:
        if key not in self._parents:
            self._parents[key] = parent
            if parent is not None:
                self._children[(key[0], parent)] = None

    async def _recall(self) -> None:
        """After a start: what the index knows of the latest calls."""
        names = ("tenant", "response_id", "trace_id", "name", "span_id", "parent_id", "start_ns")
        known = Select(
            table="spans",
            since_ns=0,
            until_ns=FAR_NS,
            columns=tuple(Column(name=name) for name in names),
            where=And(all=(Among(column="operation", values=CALLS), Known(column="end_ns"))),
            order=(Order(by="start_ns", descending=True),),
            limit=READ_AT_START,
        )
        rows = (await self._index.select(known)).rows
        self._ids[-1].sift({name for row in rows for name in _told_names(*row[:4])})
        for _, _, trace_id, _, span_id, parent, _ in reversed(rows):
            self._remember((str(trace_id), str(span_id)), None if parent is None else str(parent))
        self._ready = True

    async def _stored(self, suspects: Sequence[Span]) -> dict[Key, Span]:
        """The calls in the index that those of a batch may be, and the calls that those may be in turn."""
        low = max(0, min(span.start_ns for span in suspects) - HOUR_NS)
        high = min(FAR_NS, max(span.start_ns for span in suspects) + HOUR_NS)
        found: dict[Key, Span] = {}
        asked: dict[str, set[str]] = {"response_id": set(), "trace_id": set()}
        fresh: Iterable[Span] = suspects
        for _ in range(MOST_ROUNDS):
            wanted = {
                "response_id": {span.response_id for span in fresh if span.response_id is not None},
                "trace_id": {span.trace_id for span in fresh},
            }
            before = set(found)
            for column, values in wanted.items():
                new = sorted(values - asked[column])
                asked[column].update(new)
                for start in range(0, len(new), MOST_LOOKED_UP):
                    found |= await self._looked_up(column, new[start : start + MOST_LOOKED_UP], low, high)
            fresh = [span for key, span in found.items() if key not in before]
            if not fresh:
                break
        return found

    async def _looked_up(self, column: str, values: Sequence[str], low_ns: int, high_ns: int) -> dict[Key, Span]:
        where: tuple[Predicate, ...] = (
            Among(column=column, values=tuple(values)),
            Among(column="operation", values=CALLS),
            Known(column="end_ns"),
        )
        rows = await self._index.select(Select(table="spans", since_ns=low_ns, until_ns=high_ns, where=And(all=where)))
        place = rows.columns.index("record")
        spans = (unpack(Span, bytes(row[place])) for row in rows.rows)  # type: ignore[call-overload]
        return {_key(span): span for span in spans}


def settled(calls: Sequence[Span]) -> dict[Key, str | None]:
    """What `duplicate_of` should say of some calls where it says something else now."""
    known = {_key(span): span for span in calls}
    right: dict[Key, str | None] = {}
    groups, repeated = _groups(calls)
    for group in groups:
        primary = max(group, key=_worth)
        for span in group:
            right[_key(span)] = None if span is primary else _name(primary)
    for outer, inner in repeated:
        right[_key(outer)] = right.get(_key(inner)) or _name(inner)
    for key, span in known.items():
        if key not in right and span.duplicate_of is not None:
            trace_id, _, span_id = span.duplicate_of.partition(":")
            if (trace_id, span_id) in known:  # it was its twin as far as was known then
                right[key] = None
    return {key: name for key, name in right.items() if known[key].duplicate_of != name}


def _name(span: Span) -> str:
    return f"{span.trace_id}:{span.span_id}"


def _groups(calls: Sequence[Span]) -> tuple[list[list[Span]], list[tuple[Span, Span]]]:
    """The calls that are told more than once, each with all that tell of it; and calls that repeat several others.

    The second come as (the one that repeats, the first below it).
    """
    ordered = sorted(calls, key=lambda span: (span.start_ns, span.trace_id, span.span_id))
    place = {_key(span): number for number, span in enumerate(ordered)}
    root = list(range(len(ordered)))

    def find(number: int) -> int:
        while root[number] != number:
            number = root[number] = root[root[number]]
        return number

    for one, other in (*_of_one_id(ordered), *_moments(ordered)):
        root[find(place[_key(one)])] = find(place[_key(other)])
    below: dict[Key, list[Span]] = {}
    for span in ordered:
        above = (span.trace_id, span.parent_id or "")
        if above in place and _wraps(ordered[place[above]], span):
            below.setdefault(above, []).append(span)
    repeated = []
    for above, inner in below.items():
        outer = ordered[place[above]]
        if len(inner) == 1:
            root[find(place[_key(inner[0])])] = find(place[above])
        elif any(each.usage.input_tokens is not None for each in inner):
            repeated.append((outer, inner[0]))
    groups: dict[int, list[Span]] = {}
    for number, span in enumerate(ordered):
        groups.setdefault(find(number), []).append(span)
    return [group for group in groups.values() if len(group) > 1], repeated


def _told_names(tenant: object, response_id: object, trace_id: object, name: object) -> Iterator[str]:
    """What spans of one call have in common: the response's id, and the call of which they tell a moment."""
    if response_id is not None:
        yield f"{tenant}\x1f{response_id}"
    if (call := _call_of(str(name))) is not None:
        yield f"{trace_id}\x1f{call}"


def _call_of(name: str) -> str | None:
    """The call of which a span of this name tells a moment."""
    found = _MOMENT.fullmatch(name)
    return None if found is None else f"{found['call']}-{found['number']}"


def _moments(ordered: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of spans that tell moments of one call."""
    first: dict[tuple[str, str, str], Span] = {}
    pairs = []
    for span in ordered:
        if (call := _call_of(span.name)) is not None:
            known = first.setdefault((span.identity.tenant, span.trace_id, call), span)
            if known is not span and known.operation == span.operation and _compatible(known.model, span.model):
                pairs.append((span, known))
    return pairs


def _of_one_id(ordered: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of spans that share a response id and are one call; spans that only share the id stay apart."""
    by_id: dict[tuple[str, str], list[Span]] = {}
    for span in ordered:
        if span.response_id is not None:
            by_id.setdefault((span.identity.tenant, span.response_id), []).append(span)
    pairs = []
    for same in by_id.values():
        clusters: list[list[Span]] = []
        for span in same if len(same) > 1 else ():
            fitting = next((each for each in clusters if all(_one_call(span, other) for other in each)), None)
            if fitting is None:
                clusters.append([span])
            else:
                pairs.append((span, fitting[0]))
                fitting.append(span)
    return pairs


def _one_call(one: Span, other: Span) -> bool:
    """Whether two spans with the same response id tell of the same call."""
    if one.operation != other.operation:
        return False
    if _emitter(one) == _emitter(other) and not _parented(one, other):
        return False
    if one.trace_id != other.trace_id and "gateway" not in (one.door, other.door):
        return False
    slack_ns = 0 if one.door == other.door else SKEW_NS
    first, second = (one, other) if one.start_ns <= other.start_ns else (other, one)
    return second.start_ns <= (first.end_ns or first.start_ns) + slack_ns


def _wraps(outer: Span, inner: Span) -> bool:
    """Whether a call's direct child is the same call, told by what lies underneath."""
    if outer.operation != inner.operation:
        return False
    if outer.response_id and inner.response_id and outer.response_id != inner.response_id:
        return False
    return _compatible(outer.model, inner.model)


def _parented(one: Span, other: Span) -> bool:
    return one.trace_id == other.trace_id and (one.parent_id == other.span_id or other.parent_id == one.span_id)


def _compatible(one: str | None, other: str | None) -> bool:
    """Whether two names may mean one model: "openai/gpt-4o" and "gpt-4o-2024-08-06"; an unknown name may mean any."""
    if one is None or other is None:
        return True
    first, second = sorted((one.rpartition("/")[2].lower(), other.rpartition("/")[2].lower()), key=len)
    return second == first or (len(first) >= _SHORTEST_MODEL and second.startswith(f"{first}-"))


def _emitter(span: Span) -> tuple[str, str | None, object]:
    return span.door, span.service, span.attributes.get("otel.scope.name")


def _worth(span: Span) -> tuple[object, ...]:
    """How much a span tells of its call; what is known of tokens first, then of money, then who saw the bytes."""
    usage = span.usage
    counted = "watchkeeper.usage" not in span.attributes
    tokens = (usage.input_tokens is not None) + (usage.output_tokens is not None)
    splits = sum(
        part is not None for part in (usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    )
    told = sum(bool(each) for each in (span.response_model, span.finish_reasons, span.preview, span.first_token_ns))
    gateway = span.door == "gateway"
    return tokens > 0 and counted, tokens, span.cost is not None, gateway, splits, told, span.trace_id, span.span_id


def _is_call(span: Span) -> bool:
    return span.operation in CALLS and span.end_ns is not None


def _key(span: Span) -> Key:
    return span.trace_id, span.span_id


def _fresh(span: Span, stored: dict[Key, Span]) -> bool:
    """Whether a span of a batch will stand in the index: it is not there yet, or with a lower revision."""
    there = stored.get(_key(span))
    return there is None or span.revision > there.revision
