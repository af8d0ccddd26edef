"""Gives spans the preview that came as logs: what was said in a call, where it was sent beside its span.

Log records and spans come in exports of their own, in either order and often in different batches. Whichever comes
second completes the row: a span takes what the logs said of it before, and logs that come later revise the span's row.
A span that shows a preview of its own keeps it.

Limits: only model calls and agents are looked up; logs are sought an hour around their span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from watchkeeper.kinds.ports import Log
from watchkeeper.queries.select import Aggregate, Among, And, Column, Compare, Or, Order, Select
from watchkeeper.queries.timespan import FAR_NS, HOUR_NS
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Operation, Span

_SPEAKING = (
    Operation.CHAT.value, Operation.COMPLETION.value, Operation.AGENT.value, Operation.WORKFLOW.value
)  # fmt: skip
_MOST_LOOKED_UP = 2_000
_MOST_CHARACTERS = 300
Key = tuple[str, str]
Told = tuple[int, str, str]
"""When, what was asked, what was answered."""


class LogPreviews:
    """Completes the previews of a batch that is about to be indexed, and of spans in the index that it tells of."""

    def __init__(self, log: Log) -> None:
        self._index = log
        self._any: bool | None = None

    async def settle(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """The records of a batch with previews filled in, and new revisions of spans that its logs tell of."""
        told = _told(each for each in records if isinstance(each, Logged))
        silent = {_key(each): each for each in records if isinstance(each, Span) and _is_silent(each)}
        if self._any is None:
            self._any = await self._has_logs()
        self._any = self._any or bool(told)
        if not self._any or (not told and not silent):
            return records
        here = {_key(each): each.revision for each in records if isinstance(each, Span)}
        found = await self._spans(told, list(told))
        stored = {key: span for key, span in found.items() if span.revision >= here.get(key, -1)}
        silent |= stored
        earlier = await self._logs(silent)
        previews = {
            key: text
            for key in silent
            if (text := preview_of([*earlier.get(key, ()), *told.get(key, ())])) and silent[key].preview in text
        }
        kept = tuple(
            msgspec.structs.replace(each, preview=previews[_key(each)])
            if isinstance(each, Span) and _is_silent(each) and _key(each) in previews
            else each
            for each in records
        )
        revised = tuple(
            msgspec.structs.replace(span, preview=previews[key], revision=span.revision + 1)
            for key, span in stored.items()
            if key in previews and previews[key] != span.preview
        )
        return kept + revised

    async def _has_logs(self) -> bool:
        counted = Select(
            table="logs", since_ns=0, until_ns=FAR_NS, columns=(Aggregate(function="count", alias="logs"),), limit=1
        )
        return bool((await self._index.select(counted)).rows[0][0])

    async def _spans(self, told: Mapping[Key, Sequence[Told]], keys: Sequence[Key]) -> dict[Key, Span]:
        """The spans in the index that some logs belong to."""
        found: dict[Key, Span] = {}
        for start in range(0, len(keys), _MOST_LOOKED_UP):
            some = keys[start : start + _MOST_LOOKED_UP]
            times = [at_ns for key in some for at_ns, _, _ in told[key]]
            rows = await self._index.select(
                Select(
                    table="spans",
                    since_ns=max(0, min(times) - HOUR_NS),
                    until_ns=min(FAR_NS, max(times) + HOUR_NS),
                    where=And(
                        all=(
                            Among(column="span_id", values=tuple(key[1] for key in some)),
                            Among(column="trace_id", values=tuple({key[0] for key in some})),
                        )
                    ),
                )
            )
            place = rows.columns.index("record")
            spans = (unpack(Span, bytes(row[place])) for row in rows.rows)  # type: ignore[call-overload]
            found |= {_key(span): span for span in spans if _key(span) in told}
        return found

    async def _logs(self, spans: Mapping[Key, Span]) -> dict[Key, list[Told]]:
        """What the logs in the index say of some spans."""
        found: dict[Key, list[Told]] = {}
        keys = list(spans)
        for start in range(0, len(keys), _MOST_LOOKED_UP):
            some = keys[start : start + _MOST_LOOKED_UP]
            times = [spans[key].start_ns for key in some]
            said = Or(any=(Compare(column="asked", op="!=", value=""), Compare(column="answered", op="!=", value="")))
            rows = await self._index.select(
                Select(
                    table="logs",
                    since_ns=max(0, min(times) - HOUR_NS),
                    until_ns=min(FAR_NS, max(times) + HOUR_NS),
                    columns=tuple(Column(name=each) for each in ("trace_id", "span_id", "at_ns", "asked", "answered")),
                    where=And(all=(Among(column="span_id", values=tuple(key[1] for key in some)), said)),
                    order=(Order(by="at_ns"),),
                )
            )
            for row in rows.rows:
                told = (int(str(row[2])), str(row[3] or ""), str(row[4] or ""))
                found.setdefault((str(row[0]), str(row[1])), []).append(told)
        return found


def preview_of(told: Sequence[Told]) -> str:
    """The last thing asked and everything answered, on two lines, in the order of time; what is told twice once."""
    asked, answered = "", []
    for _, question, answer in sorted(set(told)):
        asked = question or asked
        if answer:
            answered.append(answer)
    return "\n".join(text[:_MOST_CHARACTERS] for text in (asked, " ".join(answered)) if text)


def _told(logs: Iterable[Logged]) -> dict[Key, list[Told]]:
    told: dict[Key, list[Told]] = {}
    for each in logs:
        if each.trace_id is not None and each.span_id is not None and (each.asked or each.answered):
            told.setdefault((each.trace_id, each.span_id), []).append((each.at_ns, each.asked, each.answered))
    return told


def _is_silent(span: Span) -> bool:
    return not span.preview and span.operation in _SPEAKING and span.end_ns is not None


def _key(span: Span) -> Key:
    return span.trace_id, span.span_id
