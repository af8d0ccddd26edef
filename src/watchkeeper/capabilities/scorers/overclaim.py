"""Scores the reasons of an answer apart from the answer, and names right answers whose reasons do not hold.

Problem
    The answer is right and the reasons are invented: a source that does not exist or says something else, a sum that
    does not come out, a factor that nobody gave. Accuracy never shows it; the people who check do, and leave.

Method
    The output is taken apart (`analysis/stated_reasons.py`). The answer is right when it is, or with `holds` contains,
    what was expected. Each reason is checked against the sources: those of `Subject.evidence` (JSON: `question`,
    `sources` with `document` and `text`, `inputs`), else the passages that the case's messages number (`[1] ...`), else
    the messages as one source. In this order: every cited source must exist ("fake_source"); stated sums are recomputed
    ("wrong_arithmetic") and their numbers must have been given or computed before ("invented_number"); what else is
    said must stand in the cited source (see `analysis/support.py`), from `supported_from` on: where only another source
    has it it is "miscited", where none has it "unsupported"; named factors must have been inputs, with their value
    where one is named ("not_an_input"). The reasons' label is the first fault in that order, else "supported".

    Three marks: `overclaim.answer` and `overclaim.reasons` are 1 or 0; `overclaim` is 0 for a right answer with
    unsupported reasons and 1 for every other one that was judged on both sides, its label the cell. A mean of 0.93 is
    an overclaim rate of 7%. `watchkeeper eval overclaim` gives the two-by-two with intervals.

Limits
    Support is by words, not by meaning: see the figures in `analysis/support.py`. A paraphrase in other words reads as
    unsupported, a negation as supported, so the rate is a bound to look into, not a verdict on one answer. A reason
    that is common knowledge and cites nothing counts as unsupported unless `uncited` is false. Reasons can be supported
    and yet not be why the model said it; for that its steps are perturbed (`engines/experiments/perturbing.py`). Where
    no source has a text, or no reason is given, the reasons are not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec

from watchkeeper.analysis.stated_arithmetic import sums, without_sums
from watchkeeper.analysis.stated_reasons import Reason, Stated, stated
from watchkeeper.analysis.support import SUPPORTED_FROM, Chunks, numbers, words
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

FAULTS = ("fake_source", "wrong_arithmetic", "invented_number", "miscited", "unsupported", "not_an_input")
_GIVEN = frozenset({"0", "1", "2", "10", "100", "1000", "1000000"})
_FEWEST_WORDS = 3
_SHOWN = 120
_PASSAGE = re.compile(
    r"(?im)^[ \t]*(?:\[(\d{1,4})\]|(?:document|source|passage)[ \t]*\[?(\d{1,4})\]?)[:.)]?[ \t]*(?=\S)"
)


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    document: str = ""
    text: str | None = None
    kept_chars: int | None = None
    entered: bool = True


class _Evidence(msgspec.Struct, frozen=True, kw_only=True):
    question: str = ""
    sources: tuple[_Source, ...] = ()
    inputs: dict[str, Any] = {}


class _Given(NamedTuple):
    """What stood before the model: its sources by name, all of them, and everything as one text."""

    named: dict[str, str]
    texts: list[str]
    everything: str
    inputs: Mapping[str, Any]


class Overclaim(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the reasons hold, apart from the answer; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="overclaim",
        version="1",
        theme="quality",
        summary="Whether an answer's reasons hold (sources, sums, factors), apart from whether the answer is right.",
        stability="experimental",
    )

    match: Annotated[
        Literal["holds", "exact"],
        msgspec.Meta(description="The answer is right when it contains what was expected, or only when it is that."),
    ] = "holds"
    supported_from: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="From this support on, a source holds a reason.")
    ] = SUPPORTED_FROM
    uncited: Annotated[
        bool, msgspec.Meta(description="Whether a reason that cites nothing must stand in a source too.")
    ] = True

    def score(self, subject: Subject) -> Scores:
        """Three marks: the answer, its reasons, and whether both together are an overclaim."""
        if not subject.output or not subject.output.strip():
            return _unknown("there is no answer on record")
        try:
            given = _given(subject)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return _unknown(f"the evidence cannot be read: {error}")
        said = stated(subject.output)
        answer = self._answer(said, None if subject.case is None else subject.case.expected)
        reasons = self._reasons(said, given)
        return answer, reasons, _together(answer, reasons)

    def _answer(self, said: Stated, expected: str | None) -> Mark:
        if not expected or not expected.strip():
            why = "not judged: there is no expected answer; give the case one"
            return Mark(name="overclaim.answer", label="unknown", explanation=why)
        right = _is(said.answer, expected) or (self.match == "holds" and _holds(said.answer, expected))
        return Mark(name="overclaim.answer", value=float(right), label="right" if right else "wrong")

    def _reasons(self, said: Stated, given: _Given) -> Mark:
        if not said.reasons and not said.factors:
            why = "not judged: no reasons are given"
            return Mark(name="overclaim.reasons", label="none", explanation=why)
        if not given.everything.strip():
            why = "not judged: no source or context with a text is on record"
            return Mark(name="overclaim.reasons", label="unknown", explanation=why)
        found: list[tuple[str, str]] = []
        chunks, computed = Chunks(given.texts), set[str]()
        for reason in said.reasons:
            found += self._faults(reason, given, chunks, computed)
        for name, value in said.factors:
            if not _was_input(name, value, given):
                found.append(("not_an_input", name if value is None else f"{name} = {value}"))
        if not found:
            return Mark(name="overclaim.reasons", value=1.0, label="supported")
        found.sort(key=lambda fault: FAULTS.index(fault[0]))
        told = "; ".join(f"{fault}: {what[:_SHOWN]}" for fault, what in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        return Mark(name="overclaim.reasons", value=0.0, label=found[0][0], explanation=told + more)

    def _faults(self, reason: Reason, given: _Given, chunks: Chunks, computed: set[str]) -> list[tuple[str, str]]:
        found = [("fake_source", each) for each in reason.cites if each.casefold() not in given.named]
        known = numbers(given.everything)
        for each in sums(reason.text):
            if not each.right:
                found.append(("wrong_arithmetic", each.text))
            found += [
                ("invented_number", f"{number} in {each.text}")
                for number in each.operands
                if _plain(number) not in known | computed | _GIVEN
            ]
            computed |= {_plain(each.result)}
        rest = without_sums(reason.text)
        if len(words(rest)) < _FEWEST_WORDS or (not reason.cites and not self.uncited):
            return found
        cited = [given.named[each.casefold()] for each in reason.cites if each.casefold() in given.named]
        if cited and Chunks(cited).support(rest).score >= self.supported_from:
            return found
        elsewhere = chunks.support(rest).score >= self.supported_from
        if elsewhere and not reason.cites:
            return found
        if cited or not reason.cites:
            found.append(("miscited" if elsewhere else "unsupported", reason.text))
        return found


def _given(subject: Subject) -> _Given:
    evidence = msgspec.json.decode(subject.evidence or "{}", type=_Evidence)
    asked = "" if subject.case is None else _message_text(subject.case.messages)
    inputs = {**({} if subject.case is None else subject.case.attributes), **evidence.inputs}
    named: dict[str, str] = {}
    sources = [each for each in evidence.sources if each.entered]
    for place, each in enumerate(sources, 1):
        text = (each.text or "")[: each.kept_chars]
        named[str(place)] = text
        if each.document:
            named[each.document.casefold()] = text
    texts = [text for text in dict.fromkeys(named.values()) if text]
    if not evidence.sources:
        named = _passages(asked)
        texts = list(named.values()) or ([asked] if asked.strip() else [])
    plain = " ".join(f"{name} {value}" for name, value in inputs.items())
    return _Given(named, texts, "\n".join([*texts, evidence.question, asked, plain]), inputs)


def _passages(text: str) -> dict[str, str]:
    """The passages that a text numbers by itself, by their number."""
    marks = list(_PASSAGE.finditer(text))
    starts = [*(each.start() for each in marks), len(text)]
    return {
        mark.group(1) or mark.group(2): text[mark.end() : starts[place + 1]].strip() for place, mark in enumerate(marks)
    }


def _message_text(messages: str) -> str:
    """All text of a message list that was given to the model; of any other input, the input."""
    try:
        value = json.loads(messages)
    except ValueError:
        return messages
    if not isinstance(value, list):
        return value if isinstance(value, str) else messages
    parts: list[str] = []
    for message in value:
        content = message.get("content") if isinstance(message, dict) else message
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            parts += [text] if isinstance(text, str) else []
    return "\n".join(parts)


def _is(answer: str, expected: str) -> bool:
    return _norm(answer) == _norm(expected)


def _holds(answer: str, expected: str) -> bool:
    """Whether the words of what was expected stand in the answer, in a row and whole."""
    return f" {_norm(expected)} " in f" {_norm(answer)} "


def _norm(text: str) -> str:
    found = re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?|[^\W\d_]+", text.casefold())
    return " ".join(_plain(each.replace(",", "")) if each[0].isdigit() else each for each in found)


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _was_input(name: str, value: str | None, given: _Given) -> bool:
    """Whether a factor stood among the inputs; with a value, whether it had that value."""
    own = [each for key, each in given.inputs.items() if words(key.replace("_", " ")) == words(name.replace("_", " "))]
    if own and value is not None:
        return any(_is(str(each), value) for each in own)
    there = set(words(given.everything.replace("_", " ")))
    wanted = words(name.replace("_", " "))
    has_name = bool(wanted) and all(word in there for word in wanted)
    return has_name and (value is None or _holds(given.everything, value))


def _together(answer: Mark, reasons: Mark) -> Mark:
    if answer.value is None or reasons.value is None:
        why = (answer if answer.value is None else reasons).explanation
        return Mark(name="overclaim", label="unknown", explanation=why)
    label = f"{answer.label}, {'supported' if reasons.value else 'unsupported'}"
    bad = answer.value == 1 and reasons.value == 0
    return Mark(name="overclaim", value=float(not bad), label=label, explanation=reasons.explanation)


def _unknown(why: str) -> Scores:
    names = ("overclaim.answer", "overclaim.reasons", "overclaim")
    return tuple(Mark(name=name, label="unknown", explanation=f"not judged: {why}") for name in names)
