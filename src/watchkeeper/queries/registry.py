"""All named questions, and how words from a URL or a command line become one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from watchkeeper.queries.acts import Effects
from watchkeeper.queries.explorer import Costs, Latency, Search, Sli, Spans, Trace, Traces, TracesNamed
from watchkeeper.queries.exported import Exported
from watchkeeper.queries.figures import Figures, Unresolved
from watchkeeper.queries.first_tokens import FirstTokens
from watchkeeper.queries.jobs import Jobs
from watchkeeper.queries.judgments import Cases, Experiments, Findings, IncidentOf, Incidents, Outcomes, Scores
from watchkeeper.queries.keeping import BodyRate, KeptTraces, Thinnings
from watchkeeper.queries.lineage import Documents, RestedOn, Sources, Withdrawals
from watchkeeper.queries.logs import Logs
from watchkeeper.queries.operations import Audits, Decisions, Drops, Manifests, Models, Overview, RunSteps
from watchkeeper.queries.proof import Checkpoints, Erasures
from watchkeeper.queries.question import Question
from watchkeeper.queries.rescues import Rescues
from watchkeeper.queries.serving import Serving
from watchkeeper.queries.sessions import Sessions
from watchkeeper.queries.timespan import parse_span, parse_time
from watchkeeper.queries.upstream_calls import UpstreamCalls
from watchkeeper.queries.uses import Uses
from watchkeeper.queries.whole import FindingsOf, ScoresOf
from watchkeeper.records.record import Record

_ALL: tuple[type[Any], ...] = (
    Audits, Cases, Costs, Decisions, Drops, Experiments, Figures, Findings, FindingsOf, IncidentOf, Incidents, Latency,
    Manifests, Models, Outcomes, Overview, RunSteps, Scores, ScoresOf, Search, Sessions, Sli, Spans, Trace, Traces,
    TracesNamed, Unresolved, Exported, Logs, Checkpoints, Erasures,
    Documents, Effects, RestedOn, Sources, Withdrawals,
    FirstTokens, BodyRate, KeptTraces, Thinnings, Jobs,
    Rescues, Serving, UpstreamCalls, Uses,
)  # fmt: skip

QUESTIONS: Mapping[str, type[Any]] = {kind.name: kind for kind in _ALL}
"""Every question by its name; each is a frozen struct whose fields are its parameters."""

EXAMPLES = {"time": "1h, 7d, 2026-01-31 or unix ns", "length": "500ms, 1m or 1d"}


class QuestionError(ValueError):
    """A question that is not known, or a parameter that it cannot take; `parameter` names it."""

    def __init__(self, sentence: str, parameter: str | None = None) -> None:
        """State the mistake in a sentence for the person who asked."""
        super().__init__(sentence)
        self.parameter = parameter


class Parameter(Record):
    """One parameter of a question: its name, what it takes, what it means, and what holds when it is not given."""

    name: str
    takes: str
    doc: str
    required: bool
    default: Any = None
    choices: tuple[str, ...] = ()


def parameters(kind: type[Any]) -> tuple[Parameter, ...]:
    """The parameters of a question, for flags, forms and API pages."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in msgspec.structs.fields(kind):
        meta = _meta(hints[field.name])
        required = field.default is msgspec.NODEFAULT
        found.append(
            Parameter(
                name=field.name,
                takes=_takes(hints[field.name]),
                doc="" if meta is None else meta.description or "",
                required=required,
                default=None if required else field.default,
                choices=_choices(hints[field.name]),
            )
        )
    return tuple(found)


def question_from(name: str, values: Mapping[str, object], now_ns: int) -> Question[Any]:
    """The question of that name with parameters as they were written; ages count back from `now_ns`.

    Values may be text (from a URL or a command line) or values already; empty text means not given. Raises
    `QuestionError` naming parameter, value and what was expected.
    """
    kind = QUESTIONS.get(name)
    if kind is None:
        raise QuestionError(f"There is no question {name!r}; the questions are {', '.join(sorted(QUESTIONS))}.")
    hints = get_type_hints(kind, include_extras=True)
    known = kind.__struct_fields__
    read: dict[str, Any] = {}
    for parameter, value in values.items():
        if parameter not in known:
            raise QuestionError(f"{name} has no parameter {parameter!r}; it has {', '.join(known)}.", parameter)
        if value is not None and value != "":
            read[parameter] = _read(name, parameter, value, hints[parameter], now_ns)
    missing = [p.name for p in parameters(kind) if p.required and p.name not in read]
    if missing:
        raise QuestionError(f"{name} needs the parameter {missing[0]!r}: {_doc(hints[missing[0]])}", missing[0])
    question: Question[Any] = kind(**read)
    try:
        question.select()
    except ValueError as error:
        raise QuestionError(f"{name}: {error}.") from error
    return question


def as_plain(answer: object) -> Any:
    """An answer as values that JSON can carry: dictionaries, lists, text and numbers."""
    if isinstance(answer, Record):
        fields = type(answer).__struct_fields__
        return {field: as_plain(getattr(answer, field)) for field in fields}
    if isinstance(answer, Mapping):
        return {str(key): as_plain(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [as_plain(value) for value in answer]
    if isinstance(answer, float) and (answer != answer or answer in (float("inf"), float("-inf"))):
        return None
    return msgspec.to_builtins(answer)


def _read(name: str, parameter: str, value: object, hint: Any, now_ns: int) -> Any:
    meta = _meta(hint)
    reads = (meta.extra or {}).get("reads") if meta is not None else None
    meant = value
    try:
        if isinstance(value, str) and reads == "time":
            meant = parse_time(value, now_ns)
        elif isinstance(value, str) and reads == "length" and not value.isdigit():
            meant = parse_span(value)
        elif isinstance(value, str) and _is_list(hint):
            meant = tuple(part.strip() for part in value.split(",") if part.strip())
        return msgspec.convert(meant, hint, strict=False)
    except (ValueError, TypeError) as error:
        expected = _takes(hint)
        raise QuestionError(
            f"{name} cannot take {parameter}={value!r}: {str(error).rstrip('.')}. It takes {expected}.", parameter
        ) from error


def _meta(hint: Any) -> msgspec.Meta | None:
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, msgspec.Meta):
                return extra
    return None


def _is_list(hint: Any) -> bool:
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(bare) is tuple


def _doc(hint: Any) -> str:
    meta = _meta(hint)
    return "" if meta is None else meta.description or ""


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(str(choice) for choice in get_args(hint))
    return tuple(
        choice for inner in get_args(hint) if not isinstance(inner, (str, msgspec.Meta)) for choice in _choices(inner)
    )


def _takes(hint: Any) -> str:
    meta = _meta(hint)
    reads = (meta.extra or {}).get("reads") if meta is not None else None
    if reads is not None:
        return EXAMPLES[reads]
    choices = _choices(hint)
    if choices:
        return "one of " + ", ".join(choices)
    if _is_list(hint):
        return "words with commas between them"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    kinds = [each for each in (get_args(bare) or (bare,)) if each is not type(None)]
    return " or ".join(words.get(each, str(each)) for each in kinds)
