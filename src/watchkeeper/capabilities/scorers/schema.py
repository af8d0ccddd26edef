"""Tells whether the output is JSON that fits a schema, and if not, in which of ten ways it fails.

Problem
    Code expects fields; a prompt asks for them in words. When the output does not fit, it is swallowed or "repaired"
    in silence, and nobody knows how often or why.

Method
    The output, or the arguments of a named tool call, must be strict JSON (no comments, no NaN) that fits a JSON Schema
    (draft 4 to 2020-12, checked by jsonschema-rs). The value is 1 or 0 and the label is one of a closed set: fits, or
    empty, refusal (the reply's finish reason says so, or a short text begins like one), truncated (finish reason
    length), fenced (JSON inside a code fence), not_json, missing_field, bad_enum (a constant too), extra_key,
    wrong_type, invariant (every other rule of the schema: ranges, lengths, patterns). Of several errors the first in
    that order names the class; the explanation shows up to three.

    With `unfence` a single code fence around the JSON is taken off. That is a repair, so it is reported: a second mark,
    `schema.repair`, is 1 where it was needed and 0 where not.

Limits
    Fitting the schema says nothing about the values being right. References to other documents are not fetched.
    Refusals are known by their beginning, in English. Needs the extra `guard`; without it no scorer can be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis.refusals import begins_as_refusal
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

_ORDER = ("missing_field", "bad_enum", "extra_key", "wrong_type", "invariant")
_CLASS = {
    "required": "missing_field",
    "dependentRequired": "missing_field",
    "enum": "bad_enum",
    "const": "bad_enum",
    "additionalProperties": "extra_key",
    "unevaluatedProperties": "extra_key",
    "propertyNames": "extra_key",
    "type": "wrong_type",
}
_FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```", re.DOTALL)
_Finding = tuple[str, str | None]
_SHOWN = 3


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the output fits a JSON Schema; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="schema",
        version="1",
        theme="quality",
        summary="Whether the output is JSON that fits a schema, with the class of failure when it does not.",
        references=("https://json-schema.org/draft/2020-12",),
    )

    schema: Annotated[dict[str, Any], msgspec.Meta(description="The JSON Schema that the output must fit.")]
    tool: Annotated[
        str | None,
        msgspec.Meta(description="Judge the arguments of the first call of this tool instead of the text."),
    ] = None
    unfence: Annotated[
        bool, msgspec.Meta(description="Take off one code fence around the JSON, and report that as a repair.")
    ] = False

    def __post_init__(self) -> None:
        """Refuse a schema that is none; raises `ValueError` with the place of the mistake."""
        _validator(msgspec.json.encode(self.schema))

    def score(self, subject: Subject) -> Scores:
        """One mark, and a second one for the repair where repairs are allowed."""
        text = self._text(subject)
        finding = _outside(text, subject.finish_reason)
        repaired = False
        if finding is None:
            finding = self._read(text)
            inner = _inside_fence(text) if finding[0] == "not_json" else None
            if inner is not None:
                finding, repaired = self._fenced(inner)
            elif finding[0] == "not_json":
                finding = _no_json(text, subject.finish_reason, finding[1])
        label, explanation = finding
        mark = Mark(name="schema", value=float(label == "fits"), label=label, explanation=explanation)
        if not self.unfence:
            return (mark,)
        return mark, Mark(name="schema.repair", value=float(repaired), label="unfenced" if repaired else "none")

    def _fenced(self, inner: str) -> tuple[_Finding, bool]:
        """What to say of JSON in a code fence, and whether it was repaired."""
        label, why = self._read(inner)
        if self.unfence and label != "not_json":
            return (label, why or "after its code fence was taken off"), True
        return ("fenced", f"a code fence stands around it; inside it: {label}" + (f", {why}" if why else "")), False

    def _text(self, subject: Subject) -> str:
        if self.tool is None:
            return subject.output or ""
        try:
            calls = msgspec.json.decode(subject.calls or "[]")
            arguments = next(call["arguments"] for call in calls if call.get("name") == self.tool)
        except (msgspec.DecodeError, StopIteration, KeyError, TypeError, AttributeError):
            return ""
        return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()

    def _read(self, text: str) -> _Finding:
        """The class of some text, and why."""
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            return "not_json", f"{type(error).__name__}: {error}"[:200]
        errors = list(_validator(msgspec.json.encode(self.schema)).iter_errors(value))
        if not errors:
            return "fits", None
        found = {name for error in errors for name in _classes(error)}
        label = next(name for name in _ORDER if name in found)
        more = f" (and {len(errors) - _SHOWN} more)" if len(errors) > _SHOWN else ""
        return label, "; ".join(_sentence(error) for error in errors[:_SHOWN]) + more


def _outside(text: str, finish_reason: str | None) -> _Finding | None:
    """The class of an output that need not be read: refused, cut off before its first word, or empty."""
    if finish_reason in ("refusal", "content_filter"):
        return "refusal", f"the reply's finish reason is {finish_reason}"
    if text.strip():
        return None
    if finish_reason == "length":
        return "truncated", "the reply ended at its token limit before it said anything"
    return "empty", "there is no text to read"


def _no_json(text: str, finish_reason: str | None, why: str | None) -> _Finding:
    """The class of a text that is not JSON and holds none in a fence."""
    if finish_reason == "length":
        return "truncated", f"the reply ended at its token limit: {why}"
    return "refusal" if begins_as_refusal(text) else "not_json", why


def _inside_fence(text: str) -> str | None:
    """What stands in the one code fence of a text; None where there is none, or several."""
    found = _FENCE.findall(text)
    return found[0] if len(found) == 1 else None


def _classes(error: ValidationError) -> Iterator[str]:
    """The classes of an error; of a choice (anyOf, oneOf) those of its branches."""
    branches = getattr(error.kind, "context", None)
    if branches:
        for branch in branches:
            for inner in branch:
                yield from _classes(inner)
    else:
        yield _CLASS.get(error.kind.name, "invariant")


def _sentence(error: ValidationError) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    return f"at ${place}: {error.message}"[:200]


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Validator:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise ValueError(
            "scorer 'schema' needs jsonschema-rs, which is not installed: run pip install 'watchkeeper[guard]'."
        ) from error
    try:
        made: Validator = jsonschema_rs.validator_for(msgspec.json.decode(schema), offline=True)
    except jsonschema_rs.ValidationError as error:
        raise ValueError(
            f"the JSON Schema cannot be used: {error.message}. Mend it; other documents are not fetched."
        ) from error
    return made
