"""Takes an answer apart into what it answers and why it says so, with the sources that each reason cites.

Two ways of writing are read. A JSON object with `answer` and `reasons` (or `reasoning`, `rationale`, `explanation`,
`steps`, `because`: a text or a list of texts, or of objects with `text` and `cites`), and `factors` (a list of names,
or an object of names and values). Or plain text: a line that begins with "Answer:" or "Final answer:" (or "####") is
the answer, "Factors:" names factors, and every other sentence is a reason. Text without such a line is one answer whose
sentences are its reasons too.

A citation is `[3]`, `[2, 4]`, a name in brackets that has a dot, a slash, a colon, a hyphen, an underscore or a digit
in it (`[policies/returns.md]`), `(source: NAME)` or a web address. Limits: a name in brackets that reads like a word
(`[sic]`) is no citation, nor is one that follows in words ("as the handbook says").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from watchkeeper.analysis.support import sentences
from watchkeeper.records.record import Record

REASON_FIELDS = ("reasons", "reasoning", "rationale", "explanation", "steps", "because")
MOST_REASONS = 200

_ANSWER = re.compile(r"(?im)^[ \t>*_#-]*(?:(?:final[ \t]+)?answer[*_]*[ \t]*:[*_]*|####)[ \t]*(?P<said>.*)$")
_FACTORS = re.compile(r"(?im)^[ \t>*_#-]*factors?[*_]*[ \t]*:[*_]*[ \t]*(?P<said>.*)$")
_LABEL = re.compile(r"(?i)^[ \t>*_#-]*(?:reasons?|reasoning|rationale|because|explanation|steps?)[*_]*[ \t]*:[*_ \t]*")
_BRACKET = re.compile(r"[\[【]([^\[\]【】\n]{1,200})[\]】](?!\()")
_SOURCE = re.compile(r"\((?:source|see|from|cf\.?)s?:?[ \t]+([^()\n]{1,200})\)", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>()\[\]\"']+")
_NAMED = re.compile(r"(?=.*[\w])(?=.*[./:\-_\d])[\w./:\-_#%+ ]+")
_MARK = re.compile(r"(?i)^(?:source|doc(?:ument)?|passage|ref(?:erence)?)?[ \t]*#?(\d{1,4})$")
_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)


class Reason(Record):
    """One reason: its text without citations, and what it cites: names, or numbers as text."""

    text: str
    cites: tuple[str, ...] = ()


class Stated(Record):
    """An answer taken apart. `apart` is False where answer and reasons are the same text.

    `factors` are (name, value) pairs; the value is None where only a name was given.
    """

    answer: str
    reasons: tuple[Reason, ...] = ()
    factors: tuple[tuple[str, str | None], ...] = ()
    apart: bool = True


def stated(output: str) -> Stated:
    """Take an answer apart."""
    fields = _object(output)
    return _from_text(output) if fields is None else _from_fields(fields)


def reason_of(text: str) -> Reason:
    """A sentence with its citations taken out and listed, each once."""
    cites: dict[str, None] = {}

    def bracket(match: re.Match[str]) -> str:
        found = _cited(match.group(1))
        cites.update(dict.fromkeys(found))
        return "" if found else match.group()

    def whole(match: re.Match[str]) -> str:
        cites[(match.group(1) if match.re is _SOURCE else match.group()).strip().rstrip(".,;:")] = None
        return ""

    rest = _URL.sub(whole, _SOURCE.sub(whole, _BRACKET.sub(bracket, text)))
    plain = re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"[ \t]{2,}", " ", rest)).strip()
    return Reason(text=plain, cites=tuple(cites))


def _cited(inside: str) -> list[str]:
    """What a bracket cites: all of its parts must read as citations."""
    parts = [part.strip() for part in re.split(r"[,;]", inside)]
    found = []
    for part in parts:
        number = _MARK.match(part)
        span = re.fullmatch(r"(\d{1,3})[-\u2013](\d{1,3})", part)
        if span and 0 < int(span[2]) - int(span[1]) < 20:
            found += [str(each) for each in range(int(span[1]), int(span[2]) + 1)]
        elif number:
            found.append(number.group(1))
        elif part and " " not in part and _NAMED.fullmatch(part):
            found.append(part)
        else:
            return []
    return found


def _object(output: str) -> Mapping[str, Any] | None:
    fenced = _FENCE.match(output)
    try:
        value = json.loads(fenced.group(1) if fenced else output)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "answer" in value else None


def _from_fields(fields: Mapping[str, Any]) -> Stated:
    reasons: list[Reason] = []
    for name in REASON_FIELDS:
        for said in _many(fields.get(name)):
            reasons += _reasons(said)
    factors = fields.get("factors")
    pairs = factors.items() if isinstance(factors, dict) else ((each, None) for each in _many(factors))
    return Stated(
        answer=_text(fields["answer"]),
        reasons=tuple(reasons[:MOST_REASONS]),
        factors=tuple((_name(name), None if value is None else _text(value)) for name, value in pairs if name),
    )


def _reasons(said: Any) -> Iterator[Reason]:
    """The reasons in one entry: an object's own citations belong to each of its sentences."""
    own: tuple[str, ...] = ()
    if isinstance(said, dict):
        cited = [*_many(said.get("cites")), *_many(said.get("source")), *_many(said.get("sources"))]
        own = tuple(_text(each) for each in cited)
        said = said.get("text") or said.get("reason") or said.get("claim") or ""
    for reason in _sentences(_text(said)):
        yield Reason(text=reason.text, cites=tuple(dict.fromkeys((*reason.cites, *own))))


def _from_text(output: str) -> Stated:
    answers = list(_ANSWER.finditer(output))
    factors: list[tuple[str, str | None]] = []
    for match in _FACTORS.finditer(output):
        factors += [_pair(part) for part in re.split(r"[,;]|\band\b", match.group("said")) if part.strip(" .")]
    rest = _FACTORS.sub("", output)
    if not answers:
        return Stated(answer=output.strip(), reasons=_sentences(rest), factors=tuple(factors), apart=False)
    return Stated(
        answer=reason_of(answers[-1].group("said")).text.strip("*_ "),
        reasons=_sentences(_ANSWER.sub("", rest)),
        factors=tuple(factors),
    )


def _sentences(text: str) -> tuple[Reason, ...]:
    """The sentences of a text as reasons. A citation that stands alone belongs to the sentence before it."""
    found: list[Reason] = []
    for line in text.splitlines():
        for piece in sentences(re.sub(r"^[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+", "", _LABEL.sub("", line))):
            reason = reason_of(piece.text)
            if re.search(r"\w", reason.text):
                found.append(reason)
            elif reason.cites and found:
                found[-1] = Reason(text=found[-1].text, cites=(*found[-1].cites, *reason.cites))
    return tuple(found[:MOST_REASONS])


def _pair(part: str) -> tuple[str, str | None]:
    name, sign, value = part.strip(" .*_").partition("=")
    return name.strip(), value.strip() if sign else None


def _many(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(value: Any) -> str:
    return _text(value.get("name", "")) if isinstance(value, dict) else _text(value)
