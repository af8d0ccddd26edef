"""Finds clauses of a prompt that say a thing twice, contradict each other, or say what is enforced elsewhere anyway.

- duplicate: two clauses with nearly the same words of content, the same polarity and the same numbers;
- contradiction: two clauses about the same thing of which one commands and the other forbids it, of which the numbers
  cannot both be kept (at most 50 words, at least 120 words), or which ask for opposite qualities (brief, detailed);
- enforced elsewhere: what a schema of the request, a parameter or a policy of the gateway sees to without being asked;
- middle: an emphatic clause in the middle half of a long prompt, where models were measured to read worst (Liu et al.
  2023, "Lost in the Middle", for retrieval; a reason to measure, no threshold).

Limits: words are compared, not meanings, in English; a contradiction in other words is missed, and a clause with a
condition ("unless", "if") is not held against one without. Every find is a question to a person, never a deletion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

from watchkeeper.analysis.clauses import Clause
from watchkeeper.records.record import Record

FindKind = Literal["duplicate", "contradiction", "enforced elsewhere", "middle"]
_LONG_TOKENS = 1_000
_ALIKE = 0.8
_SAME_THING = 0.6
_NOT = re.compile(
    r"\b(?:never|don['’]?t|do not|must not|mustn['’]?t|should not|shouldn['’]?t|may not|cannot|can['’]?t|avoid"
    r"|refrain from|under no circumstances|no longer|without|forbidden|prohibited|not allowed)\b",
    re.I,
)
_CONDITION = re.compile(r"\b(?:if|unless|when|whenever|except|only|until|otherwise|in case|where|but|instead)\b", re.I)
_EMPHATIC = re.compile(r"\b(?:must|never|always|important|critical|under no circumstances|mandatory|required)\b", re.I)
_QUANTITY = re.compile(
    r"(?P<bound>at most|no more than|not more than|up to|under|below|fewer than|less than|maximum(?: of)?|max\.?"
    r"|at least|no fewer than|no less than|more than|over|minimum(?: of)?|min\.?|exactly|within)?\s*"
    r"(?P<number>\d+(?:[.,]\d+)?|one|two|three|four|five|six|seven|eight|nine|ten)\s+(?:\w+\s+)?"
    r"(?P<unit>words?|sentences?|paragraphs?|characters?|bullets?|points?|items?|lines?|steps?|options?|examples?"
    r"|questions?|seconds?|minutes?|hours?|days?|weeks?|months?|dollars?|euros?|tokens?|times)\b",
    re.I,
)
_NUMBERS = {
    w: i for i, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
}
_MOST = ("at most", "no more than", "not more than", "up to", "under", "below", "fewer", "less", "max", "within")
_LEAST = ("at least", "no fewer than", "no less than", "more than", "over", "min")
_OPPOSITES = tuple(
    (frozenset(a.split()), frozenset(b.split()))
    for a, b in (
        ("brief briefly short concise concisely terse", "detailed detail thorough thoroughly long lengthy elaborate"),
        ("formal formally", "informal informally casual casually"),
        ("lowercase", "uppercase"),
        ("first", "last"),
        ("singular", "plural"),
        ("markdown", "plaintext"),
        ("metric", "imperial"),
    )
)
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        """
a an the to of in on at for with by from as and or that this these those it its is are be been was were you your
always never must should shall will would may can could do does not no don t please make sure ensure every each any
all only just also very most least than more up to over under about into their they them there use using keep give
""",
    )
)
_ONE_WORD = (
    "answer replies reply answers response responses respond responding answering replying write",
    "customer customers user users client clients",
    "say state mention tell says mentioning",
)
_CANON = {word: words.partition(" ")[0] for words in _ONE_WORD for word in words.split()}
_OUTPUT = re.compile(r"\b(?:only|valid|respond|return|reply|answer|output|format)\b", re.I)
_PERSONAL = re.compile(
    r"\b(?:personal data|pii|e-?mail address(?:es)?|phone numbers?|credit cards?|card numbers?)\b", re.I
)
_WORD = re.compile(r"[\w'’]+(?:[/._-]+[\w'’]+)*")
_POLICY_WORDS = {
    "budget": re.compile(
        r"\b(?:budget|spend(?:ing)?|cost(?:s)?) (?:limit|cap)|\b(?:over|exceed)\b.{0,20}\bbudget\b", re.I
    ),
    "loop": re.compile(r"\b(?:loop(?:s|ing)?|repeat(?:ing)? (?:the same|a) (?:tool|call|step|action))", re.I),
    "tool_cap": re.compile(r"\b(?:call|use|invoke)\b.{0,40}\b(?:tools?|search)\b.{0,40}\b(?:times|once|twice)\b", re.I),
}


class Find(Record):
    """One find: its kind, the clauses that it is about, and a sentence."""

    kind: FindKind
    clauses: tuple[str, ...]
    sentence: str


def lint(
    clauses: Sequence[Clause], parameters: Mapping[str, Any] | None = None, policies: Collection[str] = ()
) -> tuple[Find, ...]:
    """What is to be asked about these clauses.

    `parameters` are those of the request (`response_format`, `tools`, `max_tokens`), `policies` the ids of those that
    the gateway enforces, with "redaction" where personal data is taken out.
    """
    found: list[Find] = []
    read = [_read(clause.text) for clause in clauses]
    for (a, x), (b, y) in combinations(zip(clauses, read, strict=True), 2):
        pair = (a.clause_id, b.clause_id)
        clash = _clash(x, y)
        if clash is not None:
            found.append(Find(kind="contradiction", clauses=pair, sentence=clash))
        elif _same(x, y):
            found.append(Find(kind="duplicate", clauses=pair, sentence="They say nearly the same words."))
    for clause in clauses:
        by = _enforced(clause.text, parameters or {}, policies)
        if by is not None:
            said = f"{by} sees to it; the clause costs about {clause.tokens:.0f} tokens a call."
            found.append(Find(kind="enforced elsewhere", clauses=(clause.clause_id,), sentence=said))
    total = sum(clause.tokens for clause in clauses)
    for clause in clauses if total >= _LONG_TOKENS else ():
        if 0.25 < clause.position < 0.75 and _EMPHATIC.search(clause.text):
            said = f"It stands {clause.position:.0%} of the way into about {total:,.0f} tokens; try it at an end."
            found.append(Find(kind="middle", clauses=(clause.clause_id,), sentence=said))
    return tuple(found)


class _Reading(Record):
    """What is compared of a clause."""

    words: frozenset[str]
    forbids: bool
    conditional: bool
    quantities: tuple[tuple[str, float, float], ...]
    short: bool


def _read(text: str) -> _Reading:
    quantities = tuple(_quantity(match) for match in _QUANTITY.finditer(text))
    plain = _NOT.sub(" ", _QUANTITY.sub(" ", text)).casefold()
    words = frozenset(_CANON.get(word, _stem(word)) for word in _WORD.findall(plain) if word not in _EMPTY)
    return _Reading(
        words=words,
        forbids=_NOT.search(text) is not None,
        conditional=_CONDITION.search(text) is not None,
        quantities=quantities,
        short=len(text) <= 300,
    )


def _stem(word: str) -> str:
    for end in ("ing", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 4:
            return word.removesuffix(end)
    return word


def _quantity(match: re.Match[str]) -> tuple[str, float, float]:
    """The unit of a number and the least and most that it allows."""
    number = match["number"].replace(",", ".").casefold()
    value = float(_NUMBERS.get(number, 0) or number)
    bound = (match["bound"] or "").casefold()
    low = value if not bound.startswith(_MOST) else -math.inf
    high = value if not bound.startswith(_LEAST) else math.inf
    return match["unit"].casefold().rstrip("s"), low, high


def _overlap(x: _Reading, y: _Reading) -> float:
    union = x.words | y.words
    return len(x.words & y.words) / len(union) if union else 0.0


def _same(x: _Reading, y: _Reading) -> bool:
    alike = len(x.words & y.words) >= 3 and _overlap(x, y) >= _ALIKE
    return alike and x.forbids == y.forbids and sorted(x.quantities) == sorted(y.quantities)


def _clash(x: _Reading, y: _Reading) -> str | None:
    """Why both cannot be kept, or None."""
    if x.conditional != y.conditional or not (x.short and y.short):
        return None
    if x.conditional and _overlap(x, y) < _ALIKE:
        return None
    shared = x.words & y.words
    if x.forbids != y.forbids and len(shared) >= 2 and _overlap(x, y) >= _SAME_THING and x.quantities == y.quantities:
        return f"One asks for what the other forbids: {', '.join(sorted(shared))}."
    for unit, low, high in x.quantities if not (x.forbids or y.forbids) else ():
        for other, least, most in y.quantities:
            about = _overlap(x, y) >= _SAME_THING or not x.words or not y.words
            if unit == other and about and max(low, least) > min(high, most):
                return f"Their numbers of {unit}s cannot both be kept ({_span(low, high)}, and {_span(least, most)})."
    for one, opposite in _OPPOSITES if x.forbids == y.forbids else ():
        for here, there in ((x, y), (y, x)):
            if here.words & one and there.words & opposite and not (here.words & opposite or there.words & one):
                rest_x, rest_y = here.words - one, there.words - opposite
                if rest_x and rest_y and len(rest_x & rest_y) / len(rest_x | rest_y) >= _SAME_THING:
                    ends = sorted(here.words & one)[0], sorted(there.words & opposite)[0]
                    return f"One asks for {ends[0]} and the other for {ends[1]}, of the same thing."
    return None


def _span(low: float, high: float) -> str:
    if low == high:
        return f"{low:g}"
    return f"at most {high:g}" if low == -math.inf else f"at least {low:g}"


def _enforced(text: str, parameters: Mapping[str, Any], policies: Collection[str]) -> str | None:
    """What enforces a clause already, in words, or None."""
    form = parameters.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind in ("json_schema", "json_object") and re.search(r"\bjson\b", text, re.I) and _OUTPUT.search(text):
        return "the request's `response_format`"
    if kind == "json_schema" and isinstance(form, Mapping):
        named = _named(form.get("json_schema", {}))
        quoted = set(re.findall(r"[`\"']([\w-]{2,40})[`\"']", text))
        if (
            quoted
            and quoted <= named
            and re.search(r"\b(?:field|key|property|value|one of|either|must be)\b", text, re.I)
        ):
            return "the schema of `response_format`"
    limited = parameters.keys() & {"max_tokens", "max_completion_tokens", "max_output_tokens"}
    if limited and re.search(r"\b\d+ tokens\b", text, re.I):
        return "the request's limit of output tokens"
    if "redaction" in policies and _PERSONAL.search(text) and _NOT.search(text):
        return "redaction at capture (of what is kept, not of what is said to the user)"
    for policy, words in _POLICY_WORDS.items():
        if policy in policies and words.search(text):
            return f"the policy {policy!r}"
    return None


def _named(schema: Any) -> set[str]:
    """Every property name and constant of a schema."""
    if isinstance(schema, Mapping):
        own = set(schema.get("properties", {})) if isinstance(schema.get("properties"), Mapping) else set()
        values = schema.get("enum")
        own |= {str(value) for value in values} if isinstance(values, list) else set()
        return own.union(*(_named(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_named(value) for value in schema))
    return set()
