"""Notices that something at the front of a prompt changes with every call, and names it.

Problem
    A provider reads back the longest prefix that a request has in common with an earlier one at a tenth of the price. A
    clock time in the system prompt, a random id or a shuffled JSON object ends that prefix at its first changed byte;
    the rest is billed in full, every turn, and nothing fails.

Method
    Successive calls of one session (else run; else of one model, agent and service) are compared part by part (see
    `analysis/prefix.py`). A pair is unstable when both prompts part at a timestamp, an id, a counter, white space or
    the order of keys, with at least half of what follows the same in both: a stable prompt would have had that cached.
    Of calls without session or run only the head (tools, system) counts, and counters do not. Pairs are counted
    together when their heads are made of the same words but for those with digits. A finding needs `min_pairs` of them
    and a share of unstable ones whose lower bound (Wilson, 99.9%) is above `share`.

    Measured on 300 simulated systems of 100 calls with a steady head, user texts full of times, ids and numbers, and
    histories that were rewritten now and then: none raised an alert (at most 1% do, at 95% confidence). A clock time
    before the head of a session of 12 calls, beside 100 steady calls, was found and named in all of 300.

Limits
    What a call would have had cached is the share of its text behind the change, in billed tokens; providers cache
    whole blocks of some hundred tokens and forget them after minutes, so it is an upper bound. A prompt that is
    rewritten on purpose (a summary of its history) is text that changed and is not counted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.prefix import Divergence, Part, divergence, parts_of
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.prompts import Prompted, prompted
from watchkeeper.queries.question import Reader
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id
from watchkeeper.records.span import Span

_HOUR_NS = 3_600_000_000_000
_HEAD = ("tools", "system", "developer")
_CONFIDENCE = 0.999
_WORDS = re.compile(r"[\w:.-]+")


class _Pair(NamedTuple):
    """Two successive calls, and the place where their prompts part if that place is unstable."""

    span: Span
    where: Divergence | None


class PromptCache(msgspec.Struct, frozen=True, kw_only=True):
    """Where the prefixes of successive prompts end; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="prompt_cache",
        version="1",
        theme="spend",
        summary="Notices that something at the front of a prompt changes with every call, and names it.",
        references=("Wilson 1927",),
    )
    every: ClassVar[timedelta] = timedelta(minutes=15)

    model: Annotated[str | None, msgspec.Meta(description="Only calls of this model.")] = None
    window_hours: Annotated[float, msgspec.Meta(gt=0, le=9_600, description="How far back prompts are compared.")] = (
        24.0
    )
    calls: Annotated[int, msgspec.Meta(ge=10, le=10_000, description="At most so many of the last calls.")] = 1_000
    min_pairs: Annotated[int, msgspec.Meta(ge=5, description="The fewest pairs of calls that may raise an alert.")] = 10
    share: Annotated[
        float, msgspec.Meta(gt=0, lt=1, description="The share of unstable pairs that has to be surely exceeded.")
    ] = 0.25

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Compare successive prompts; a finding when too many part at something that changes by itself."""
        since = max(0, window.end_ns - round(self.window_hours * _HOUR_NS))
        calls = await prompted(reader, since, window.end_ns, self.calls, self.model)
        alike: dict[tuple[str, str], list[_Pair]] = {}
        for (model, joined, _), group in _groups(calls).items():
            for head, pair in _pairs(group, within_session=joined is not None):
                alike.setdefault((model, head), []).append(pair)
        checked = (self._finding(model, pairs, window) for (model, _), pairs in alike.items())
        found = [each for each in checked if each is not None]
        return max(found, key=lambda each: float(each.evidence["lost_tokens"] or 0)) if found else None

    def _finding(self, model: str, pairs: list[_Pair], window: Window) -> Finding | None:
        unstable = [(pair.span, pair.where) for pair in pairs if pair.where is not None]
        if len(pairs) < self.min_pairs or not unstable:
            return None
        share = wilson(len(unstable), len(pairs), confidence=_CONFIDENCE)
        if share.low <= self.share:
            return None
        places = Counter((where.path, where.kind) for _, where in unstable)
        (path, kind), often = places.most_common(1)[0]
        span, where = next((s, w) for s, w in reversed(unstable) if (w.path, w.kind) == (path, kind))
        lost = sum(_lost(each, at) for each, at in unstable)
        spent = sum(pair.span.usage.input_tokens or 0 for pair in pairs)
        return Finding(
            finding_id=new_id("fnd", window.end_ns),
            monitor=self.header.id,
            version=self.header.version,
            subject=f"prompt_cache:{model}:{path}",
            at_ns=window.end_ns,
            window_start_ns=window.start_ns,
            window_end_ns=window.end_ns,
            severity="ticket",
            sentence=(
                f"{len(unstable)} of {len(pairs)} prompts to {model} part from the one before at a {kind} in {path}, "
                f"byte {where.offset:,} of {where.total_bytes:,}: {where.old!r} became {where.new!r}. "
                f"Up to {lost:,} of {spent:,} input tokens could have been read from the provider's cache. "
                "Move it behind what stays the same, or leave it out."
            ),
            estimate=share,
            evidence={
                "model": model, "path": path, "kind": kind, "pairs": len(pairs), "unstable": len(unstable),
                "at_this_place": often, "offset_bytes": where.offset, "prompt_bytes": where.total_bytes,
                "old": where.old, "new": where.new, "lost_tokens": lost, "input_tokens": spent,
                "cached_tokens": sum(pair.span.usage.cache_read_tokens or 0 for pair in pairs),
                "trace": span.trace_id, "span": span.span_id,
            },
        )  # fmt: skip


def _groups(calls: tuple[Prompted, ...]) -> dict[tuple[str, str | None, str], list[Prompted]]:
    """Calls that follow each other, by model, by what joins them (None: nothing but their make) and its name."""
    found: dict[tuple[str, str | None, str], list[Prompted]] = {}
    for call in calls:
        span = call.span
        model = span.request_model or span.model
        if model is None or call.request is None:
            continue
        who = span.identity
        joined = who.session or who.run
        other = f"{who.tenant} {who.agent} {span.service}"
        key = (model, "session" if joined else None, f"{who.tenant} {joined}" if joined else other)
        found.setdefault(key, []).append(call)
    return found


def _pairs(calls: list[Prompted], within_session: bool) -> Iterator[tuple[str, _Pair]]:
    """Successive calls, each pair with the head that its prompts have in common but for what changes."""
    parts = [parts_of(call.request or {}) for call in calls]
    for (before, after), call in zip(pairwise(parts), calls[1:], strict=True):
        where = divergence(before, after) if before and after else None
        unstable = where is not None and _is_unstable(where, within_session)
        yield _head(after), _Pair(call.span, where if unstable else None)


def _head(parts: tuple[Part, ...]) -> str:
    """Which prompts are made alike: the words of the head without those that hold a digit, in whatever order."""
    words = {word for part in parts if part.role in _HEAD for word in _WORDS.findall(part.text)}
    steady = sorted(word for word in words if not any(letter.isdigit() for letter in word))
    return hashlib.blake2b(" ".join(steady).encode(), digest_size=8).hexdigest()


def _is_unstable(where: Divergence, within_session: bool) -> bool:
    if where.kind == "text" or 2 * where.shared_bytes < where.total_bytes - where.offset:
        return False
    return within_session or (where.role in _HEAD and where.kind != "counter")


def _lost(span: Span, where: Divergence) -> int:
    """The tokens that a stable prompt would have had cached, by their share of its bytes; cached ones are not lost."""
    billed, cached = span.usage.input_tokens or 0, span.usage.cache_read_tokens or 0
    shared = round(billed * where.shared_bytes / max(1, where.total_bytes))
    return max(0, min(shared, billed - cached))
