"""Holds the local estimate of tokens against the bill: by language, content and model, with the margin it asks for.

Problem
    Tokens are counted before a call by a rule of thumb from English prose. In other languages, in code and in JSON it
    is wrong by a factor, and a margin of some hundred tokens is eaten; what breaks the prompt cache is known to nobody.

Method
    Of the last calls with a known bill and a kept request, every other one teaches the estimator of its model
    (`analysis/tokens.py`) and the rest are judged by it: billed over estimated tokens by model and slice, with the
    mean's 95% interval, and the ratio that 99% of calls stay below with its 95% upper bound. That bound times an
    estimate is the room to leave. Beside it what four characters a token would have said. Then repeated texts whose
    counts changed (`analysis/tokenizer_change.py`), where successive prompts part (`analysis/prefix.py`) with the
    tokens that were not read from a cache for it, and hazards in prompts (`analysis/prompt_lint.py`).

Limits
    It reads at most `calls` requests, the last ones, and says how many it could not read. Prompts with images or files
    are left out of the estimate. The margin is for one call of a slice, not for all calls together, and holds while
    traffic, model and tokenizer stay as they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from watchkeeper.analysis.prefix import Divergence, Part, divergence, parts_of
from watchkeeper.analysis.prompt_lint import hazards
from watchkeeper.analysis.tokenizer_change import Probe, compare
from watchkeeper.analysis.tokens import (
    PRIOR,
    Sample,
    SliceError,
    Weights,
    errors_by_slice,
    features_of,
    learn,
    slice_of,
)
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.report import Scope, Subjects
from watchkeeper.queries.prompts import Prompted, prompted
from watchkeeper.queries.question import Reader
from watchkeeper.queries.timespan import parse_span
from watchkeeper.records.document import Block, Document, Facts, Heading, Table, Text
from watchkeeper.records.record import Scalar
from watchkeeper.records.span import Span

_FEWEST = 30
_FAR = 30 * 86_400_000_000_000


class _Read(NamedTuple):
    """A call whose request could be read."""

    span: Span
    model: str
    parts: tuple[Part, ...]
    sample: Sample | None
    naive: float


class TokensReport(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates against the bill as a document; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="tokens",
        version="1",
        theme="spend",
        summary="Estimates of tokens against the bill, the margin they ask for, and what breaks the prompt cache.",
        references=("Lawson & Hanson 1974", "Wilks 1941"),
    )
    subjects: ClassVar[Subjects] = Subjects(prefix="last:", parts=("length",), offers="lengths", ranged=False)

    calls: Annotated[int, msgspec.Meta(ge=10, le=100_000, description="At most so many of the last calls.")] = 2_000
    rows: Annotated[int, msgspec.Meta(ge=1, le=500, description="At most so many rows in a table.")] = 30

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """Write the document; the subject is `last:` and a length such as `7d`. Raises `ValueError` for another."""
        since = max(scope.since_ns, scope.now_ns - _length(scope.subject))
        calls = await prompted(reader, since, scope.until_ns or scope.now_ns + 1, self.calls)
        read = [each for each in map(_read, calls) if each is not None]
        judged = [each for each in read if each.sample is not None]
        blocks: list[Block] = [_facts(calls, read, judged)]
        blocks += [Heading(text="Estimate against the bill"), *self._errors(judged)]
        blocks += [Heading(text="The same texts, counted again"), *self._probes(read)]
        blocks += [Heading(text="Where prompts part"), *self._prefixes(read)]
        blocks += [Heading(text="Hazards in prompts"), *self._hazards(read)]
        return Document(
            title="Tokens: estimated and billed",
            subtitle=f"{len(read):,} calls, {scope.subject}",
            at_ns=scope.now_ns,
            blocks=tuple(blocks),
        )

    def _errors(self, judged: Sequence[_Read]) -> list[Block]:
        rows: list[tuple[Scalar, ...]] = []
        learnt: list[tuple[Scalar, ...]] = []
        for model, calls in sorted(_by_model(judged).items()):
            samples = [each.sample for each in calls if each.sample is not None]
            taught, held = samples[::2], samples[1::2]
            enough = len(taught) >= _FEWEST
            weights = learn(taught) if enough else PRIOR
            naive = _naive(calls[1::2] if enough else calls)
            learnt += [(model, name, round(weight, 5)) for name, weight in _used(weights, samples) if enough]
            errors = errors_by_slice(held if enough else samples, weights)
            rows += [_error_row(model, error, weights, naive[error.slice]) for error in errors]
        if not rows:
            return [Text(text="No call with a known bill and a request of text was kept in this time.")]
        names = ("model", "slice", "calls", "billed / estimate", "95% interval", "99% stay below", "margin", "4 chars")
        return [
            Text(
                text="Multiply an estimate by the margin to be right in 99% of calls of that slice, at 95% confidence. "
                "Where it is unknown there are fewer than the 299 calls that it takes. The last column is the bill "
                "over a rule of four characters a token."
            ),
            Table(columns=names, rows=tuple(rows[: self.rows]), numeric=names[2:]),
            Table(
                caption="What was learnt: tokens for each character of a class (for `message`, each text of a prompt).",
                columns=("model", "class", "tokens"),
                rows=tuple(learnt),
                numeric=("tokens",),
            ),
        ]

    def _probes(self, read: Sequence[_Read]) -> list[Block]:
        rows: list[tuple[Scalar, ...]] = []
        for model, calls in sorted(_by_model(read).items()):
            counts: dict[tuple[Part, ...], list[int]] = defaultdict(list)
            for each in calls:
                counts[each.parts].append(each.span.usage.input_tokens or 0)
            probes = [
                Probe(name=str(number), before=found[0], after=found[-1])
                for number, found in enumerate(counts.values())
                if len(found) > 1 and found[0] > 0
            ]
            if probes:
                change = compare(probes)
                rows.append((model, change.kind, change.probes, change.changed, _number(change.ratio.value)))
        if not rows:
            return [Text(text="No text was sent twice, so that no change of a tokenizer could be seen.")]
        names = ("model", "verdict", "repeated texts", "changed", "new / old tokens")
        return [Table(columns=names, rows=tuple(rows[: self.rows]), numeric=names[2:])]

    def _prefixes(self, read: Sequence[_Read]) -> list[Block]:
        found: dict[tuple[str, str, str], list[tuple[_Read, Divergence]]] = defaultdict(list)
        pairs = 0
        for (model, _), calls in _successive(read).items():
            for before, after in pairwise(calls):
                pairs += 1
                where = divergence(before.parts, after.parts)
                if where is not None and where.kind != "text":
                    found[model, where.path, where.kind].append((after, where))
        rows: list[tuple[Scalar, ...]] = []
        for (model, path, kind), cases in found.items():
            _, last = cases[-1]
            lost = sum(_lost(each.span, where) for each, where in cases)
            rows.append((model, path, kind, len(cases), last.offset, last.old, last.new, lost))
        rows.sort(key=lambda row: -int(row[-1] or 0))
        spent = sum(each.span.usage.input_tokens or 0 for each in read)
        cached = sum(each.span.usage.cache_read_tokens or 0 for each in read)
        told = Text(
            text=f"Of {pairs:,} successive prompts of a session or run, {sum(map(len, found.values())):,} part at "
            f"something that changes by itself. {cached:,} of {spent:,} input tokens were read from a cache."
        )
        names = ("model", "place", "what", "prompts", "byte", "before", "after", "tokens not cached for it")
        table = Table(columns=names, rows=tuple(rows[: self.rows]), numeric=("prompts", "byte", names[-1]))
        return [told, table] if rows else [told]

    def _hazards(self, read: Sequence[_Read]) -> list[Block]:
        counted: Counter[tuple[str, str]] = Counter()
        example: dict[tuple[str, str], str] = {}
        for each in read:
            for hazard in hazards(each.parts):
                counted[hazard.kind, hazard.path] += 1
                example[hazard.kind, hazard.path] = hazard.text
        if not counted:
            return [Text(text="None was found.")]
        rows = tuple((*key, often, example[key]) for key, often in counted.most_common(self.rows))
        return [Table(columns=("hazard", "place", "prompts", "for example"), rows=rows, numeric=("prompts",))]


def _length(subject: str) -> int:
    kind, _, length = subject.partition(":")
    if kind != "last":
        raise ValueError(f"the subject is {subject[:80]!r}, expected `last:` and a length, for example last:7d")
    return parse_span(length) if length else _FAR


def _read(call: Prompted) -> _Read | None:
    span, request = call
    model = span.request_model or span.model
    if request is None or model is None:
        return None
    parts = parts_of(request)
    billed = span.usage.input_tokens or 0
    whole = "\n".join(part.text for part in parts if part.role != "tools")
    usable = bool(parts) and billed > 0 and not _has_media(request)
    features = features_of(part.text for part in parts)
    sample = Sample(features=features, slice=slice_of(whole), billed=billed) if usable else None
    return _Read(span, model, parts, sample, max(1.0, sum(len(part.text) for part in parts) / 4))


def _has_media(request: dict[str, Any]) -> bool:
    given = request.get("messages") or request.get("input")
    for message in given if isinstance(given, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and "text" not in part and part.get("type") not in ("tool_result", "tool_use"):
                return True
    return False


def _by_model(read: Iterable[_Read]) -> dict[str, list[_Read]]:
    found: dict[str, list[_Read]] = defaultdict(list)
    for each in read:
        found[each.model].append(each)
    return found


def _successive(read: Iterable[_Read]) -> dict[tuple[str, str], list[_Read]]:
    found: dict[tuple[str, str], list[_Read]] = defaultdict(list)
    for each in read:
        joined = each.span.identity.session or each.span.identity.run
        if joined is not None:
            found[each.model, f"{each.span.identity.tenant} {joined}"].append(each)
    return found


def _used(weights: Weights, samples: Iterable[Sample]) -> list[tuple[str, float]]:
    """The weights of the classes that were seen."""
    seen = {name for sample in samples for name in sample.features}
    return [(name, weight) for name, weight in sorted(weights.by_class.items()) if name in seen]


def _naive(calls: Iterable[_Read]) -> dict[str, float]:
    """The bill over what four characters a token would have said, by slice and for all."""
    billed: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for each in calls:
        for name in (each.sample.slice, "all") if each.sample is not None else ():
            billed[name] += each.span.usage.input_tokens or 0
            said[name] += round(each.naive)
    return defaultdict(lambda: inf, {name: billed[name] / said[name] for name in said if said[name]})


def _error_row(model: str, error: SliceError, weights: Weights, naive: float) -> tuple[Scalar, ...]:
    ratio, margin = error.ratio, error.margin
    learnt = "" if weights.n else ", not learnt"
    known = None if margin.high == inf else round(margin.high, 3)
    interval = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.high < inf else "unknown"
    shown = None if naive == inf else round(naive, 3)
    return (
        model, f"{error.slice}{learnt}", ratio.n, round(ratio.value, 3), interval, round(margin.value, 3), known, shown,
    )  # fmt: skip


def _lost(span: Span, where: Divergence) -> int:
    billed, cached = span.usage.input_tokens or 0, span.usage.cache_read_tokens or 0
    return max(0, min(round(billed * where.shared_bytes / max(1, where.total_bytes)), billed - cached))


def _number(value: float) -> float | None:
    return None if value == inf else round(value, 4)


def _facts(calls: Sequence[Prompted], read: Sequence[_Read], judged: Sequence[_Read]) -> Facts:
    return Facts(
        items=(
            ("calls with a known bill", len(calls)),
            ("requests read", len(read)),
            ("estimated", len(judged)),
            ("requests not kept or not readable", len(calls) - len(read)),
        )
    )
