"""Prepares one span for reading: its facts, tokens and cost, timing, parameters, and what was ruled and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.compose.payloads import Detail
from watchkeeper.records.decision import Decision
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record, Scalar, as_json
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Status
from watchkeeper.server.views.along import along
from watchkeeper.server.views.messages import Exchange, exchange_of
from watchkeeper.server.views.waterfall import title_of
from watchkeeper.server.views.wording import UNKNOWN, count, duration, plain, pretty, usd
from watchkeeper.server.visible import visible

PARAMETERS = "gen_ai.request."
MAX_VALUE_CHARS = 2_000


class Fact(Record):
    """A named value with an optional remark under it."""

    name: str
    value: str
    remark: str = ""


class Ruling(Record):
    """A decision as it is read: the verdict, why, and the facts it was based on."""

    verdict: str
    policy: str
    version: str
    mode: str
    stage: str
    reason: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    at_ns: int


class Judgment(Record):
    """A score, outcome or feedback as it is read."""

    name: str
    value: str
    scorer: str
    explanation: str
    at_ns: int


class Happened(Record):
    """A point in time within the span, with its offset from the span's start."""

    name: str
    offset: str
    attributes: tuple[tuple[str, str], ...]


class Panel(Record):
    """The selected span."""

    trace_id: str
    span_id: str
    name: str
    detail: str
    operation: str
    status: str
    message: str
    start_ns: int
    facts: tuple[Fact, ...]
    tokens: tuple[Fact, ...]
    timing: tuple[Fact, ...]
    parameters: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, str], ...]
    manifest: tuple[tuple[str, str], ...]
    manifest_digest: str | None
    rulings: tuple[Ruling, ...]
    judgments: tuple[Judgment, ...]
    events: tuple[Happened, ...]
    payloads: tuple[tuple[str, str, int], ...]
    exchange: Exchange
    problem: str = ""
    along: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether a policy ruled against the call, so that its ruling is to be read first."""
        return any(ruling.verdict != "allow" and ruling.mode != "shadow" for ruling in self.rulings)


def panel_of(
    detail: Detail,
    decisions: Sequence[Decision] = (),
    scores: Sequence[Score] = (),
    manifest: Manifest | None = None,
    problem: str = "",
    twins: Sequence[Span] = (),
) -> Panel:
    """Everything the panel shows of a span; `problem` says what could not be read, `twins` tell of the same call."""
    span = detail.span
    name, beside = title_of(span)
    parameters, rest = _parameters(detail.attributes)
    rulings = tuple(ruling_of(each) for each in sorted(decisions, key=_loudness))
    message = visible(span.message or "")
    return Panel(
        trace_id=span.trace_id,
        span_id=span.span_id,
        name=name,
        detail=beside,
        operation=span.operation,
        status=span.status,
        message="" if any(ruling.sentence.startswith(message) for ruling in rulings) else message,
        start_ns=span.start_ns,
        facts=(*_facts(span), *_told_again(span, twins)),
        tokens=tuple(_tokens(span)),
        timing=tuple(_timing(span)),
        parameters=parameters,
        attributes=rest,
        manifest=tuple((visible(k), visible(v)) for k, v in sorted(manifest.components.items())) if manifest else (),
        manifest_digest=span.manifest,
        rulings=rulings,
        judgments=tuple(judgment_of(each) for each in scores),
        events=tuple(_happened(span)),
        payloads=tuple((body.name, body.media, body.size_bytes) for body in span.bodies),
        exchange=exchange_of(detail.conversation),
        problem=problem,
        along=along(span),
    )


def _loudness(decision: Decision) -> tuple[bool, bool]:
    """What acted comes before what was only recorded, and what stopped or changed a call before what let it go on."""
    return decision.mode == "shadow", decision.verdict == "allow"


def _facts(span: Span) -> list[Fact]:
    who = span.identity
    source = who.sources
    asked = span.request_model if span.request_model != span.response_model else None
    pairs = [
        ("Model", span.model, f"asked for {visible(asked)}" if asked and span.response_model else ""),
        ("Upstream", span.upstream or span.provider, ""),
        ("Service", span.service, ""),
        ("Came in by", span.door, "streamed" if span.stream else ""),
        ("HTTP status", span.http_status, ""),
        ("Finished because", ", ".join(span.finish_reasons) or None, ""),
        ("Error", span.error_type, ""),
        ("Tool", span.tool, span.tool_call_id or ""),
        ("Session", who.session, source.get("session", "")),
        ("Run", who.run, source.get("run", "")),
        ("User", who.user, source.get("user", "")),
        ("Agent", who.agent, source.get("agent", "")),
        ("Key", who.key, ""),
        ("Tenant", who.tenant if who.tenant != "default" else None, ""),
        ("Response id", span.response_id, ""),
        ("Fingerprint", span.fingerprint, ""),
    ]
    return [
        Fact(name=name, value=plain(value), remark=visible(remark))
        for name, value, remark in pairs
        if value is not None
    ]


def _told_again(span: Span, twins: Sequence[Span]) -> list[Fact]:
    """Who else tells of the same call, and which of them counts."""
    if span.duplicate_of is not None:
        counted = span.duplicate_of.rpartition(":")[2]
        return [Fact(name="The same call as", value=plain(counted), remark="its tokens and its cost are counted there")]
    seen = ", ".join(f"{visible(by_whom(each))} ({each.span_id})" for each in twins)
    return [Fact(name="The same call, seen by", value=seen, remark="counted once, here")] if seen else []


def by_whom(span: Span) -> str:
    """Who told of a span: the gateway, or the instrumentation that sent it."""
    scope = span.attributes.get("otel.scope.name")
    return "the gateway" if span.door == "gateway" else str(scope or span.name)


def _tokens(span: Span) -> list[Fact]:
    usage = span.usage
    known = any(getattr(usage, field) is not None for field in usage.__struct_fields__)
    if not known and span.cost is None and not span.model:
        return []
    facts = [
        Fact(name="Input", value=count(usage.input_tokens), remark=_of_which(usage.cache_read_tokens, "from cache")),
        Fact(name="Output", value=count(usage.output_tokens), remark=_of_which(usage.reasoning_tokens, "reasoning")),
    ]
    if usage.cache_write_tokens is not None:
        facts.append(Fact(name="Written to cache", value=count(usage.cache_write_tokens)))
    unknown = "no price known"
    if span.status == Status.DENIED:
        unknown = "the call was not sent"
    elif usage.output_tokens is None and usage.input_tokens is None:
        unknown = "nobody said how many tokens it used"
    cost = Fact(name="Cost", value=usd(span.cost_usd), remark=visible(span.cost_source or unknown))
    return [*facts, cost]


def _of_which(tokens: int | None, what: str) -> str:
    return "" if tokens is None else f"{tokens:,} {what}"


def _timing(span: Span) -> list[Fact]:
    first = span.first_token_ns
    facts = [Fact(name="Duration", value=duration(span.duration_ns), remark="" if span.end_ns else "not finished")]
    if first is not None or span.stream:
        facts.append(Fact(name="Time to first token", value=duration(first)))
    output, after = span.usage.output_tokens, None
    if span.duration_ns is not None and first is not None:
        after = span.duration_ns - first
    if output and after and after > 0:
        facts.append(Fact(name="Output rate", value=f"{output / (after / 1e9):,.0f} tokens/s"))
    if span.overhead_ns is not None:
        facts.append(Fact(name="Our overhead", value=duration(span.overhead_ns), remark="total less waiting upstream"))
    return facts


def _parameters(attributes: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    parameters, rest = [], []
    for key in sorted(attributes):
        text = value_text(attributes[key])
        if key.startswith(PARAMETERS):
            parameters.append((visible(key.removeprefix(PARAMETERS)), text))
        else:
            rest.append((visible(key), text))
    return tuple(parameters), tuple(rest)


def value_text(value: Any) -> str:
    """An attribute's value as text; long ones are cut with their length said."""
    text = as_json(value).decode() if isinstance(value, list | dict) else UNKNOWN if value is None else str(value)
    if isinstance(value, bool):
        text = "true" if value else "false"
    if len(text) > MAX_VALUE_CHARS:
        return f"{visible(text[:MAX_VALUE_CHARS])} … ({len(text):,} characters)"
    return pretty(text)


def ruling_of(decision: Decision) -> Ruling:
    """A decision prepared for reading."""
    return Ruling(
        verdict=decision.verdict,
        policy=visible(decision.instance or decision.policy),
        version=visible(decision.version),
        mode=decision.mode,
        stage=decision.stage,
        reason=visible(decision.reason),
        sentence=visible(decision.sentence),
        facts=tuple((visible(name), fact_text(name, value)) for name, value in decision.facts.items()),
        at_ns=decision.at_ns,
    )


def fact_text(name: str, value: Scalar) -> str:
    """A fact as it is read; amounts of nano-dollars are also said in dollars."""
    text = plain(value)
    nano = isinstance(value, int) and not isinstance(value, bool) and ("nano_usd" in name or "usd" in name.split(":"))
    return f"{text} ({usd(int(value) / 1e9)})" if nano and value is not None else text


def judgment_of(score: Score) -> Judgment:
    """A score prepared for reading."""
    value = score.label if score.value is None else f"{score.value:g}"
    if score.name == "outcome" and score.value in (0.0, 1.0):
        value = "success" if score.value else "failure"
    worth = "" if score.worth_usd is None else f", worth {usd(score.worth_usd)}"
    return Judgment(
        name=visible(score.name),
        value=visible((value or UNKNOWN) + worth),
        scorer=visible(f"{score.scorer} {score.version}".strip()),
        explanation=visible(score.explanation or ""),
        at_ns=score.at_ns,
    )


def _happened(span: Span) -> list[Happened]:
    return [
        Happened(
            name=visible(event.name),
            offset=duration(event.at_ns - span.start_ns),
            attributes=tuple((visible(key), value_text(value)) for key, value in event.attributes.items()),
        )
        for event in span.events
    ]
