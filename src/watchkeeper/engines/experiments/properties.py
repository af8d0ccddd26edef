"""Checks invariants over generated inputs, as rates: a system that is random violates them now and then, and is told
so.

A property is a relation between the answers to a case and to its variant. Each case is asked twice and its variant
once: how often the two answers to the *same* question differ is what the system does by itself, and only what goes
beyond it counts as a violation (`excess`, with the interval of Newcombe). A counterexample is shrunk to the smallest
change that still shows it, and that pair is asked `reruns` times more: its violation is a rate with an interval too.

Limits: two answers are compared as texts (or tool calls) after `normal`, so a property about meaning needs a scorer as
its relation. Cases must be independent; one variant of each is used for the rates. The interval takes the two rates as
independent, which is wide when the same cases flicker in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.splices import Splice, ddmin, spliced
from watchkeeper.analysis.two_proportions import newcombe
from watchkeeper.kinds.ports import Completion
from watchkeeper.kinds.variant import last_text, splices_of, with_text
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Relation = Literal["same", "differs"]
Verdict = Literal["holds", "violated", "not resolved"]
Ask = Callable[[str, Mapping[str, object], str], Awaitable[Completion]]
SHRINK_TRIES = 3


class Pair(Record):
    """A counterexample: the case's text, the variant's, the smallest change that shows it, and how often it does."""

    case_id: str
    text: str
    variant: str
    answer: str | None
    variant_answer: str | None
    splices: tuple[Splice, ...]
    rate: Estimate


class Checked(Record):
    """What came of one property. `tolerance` is the excess that does not matter.

    `violations` counts pairs that break the relation; `flicker` is how often a case's own two answers differ;
    `unanswered` pairs are in neither. `excess` is violations beyond flicker for "same", and all violations for
    "differs".
    """

    name: str
    relation: Relation
    verdict: Verdict
    violations: Estimate
    flicker: Estimate
    excess: Estimate
    tolerance: float
    pairs: int
    unanswered: int
    counterexamples: tuple[Pair, ...] = ()


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """One property at work: its name, relation, pairs of cases and variants, and the excess that does not matter."""

    name: str
    relation: Relation
    pairs: tuple[tuple[Case, Case], ...]
    tolerance: float = 0.05


async def check(
    wanted: Property,
    ask: Ask,
    parameters: Mapping[str, object],
    *,
    reruns: int = 20,
    shown: int = 3,
    concurrency: int = 8,
    progress: Callable[[], object] | None = None,
) -> Checked:
    """Check a property; counterexamples are shrunk where there are any beyond flicker, at most `shown` of them."""
    turn = asyncio.Semaphore(concurrency)

    async def one(pair: tuple[Case, Case]) -> tuple[Completion, Completion, Completion]:
        case, changed = pair
        async with turn:
            first, again, other = await asyncio.gather(
                ask(case.messages, parameters, "0"),
                ask(case.messages, parameters, "1"),
                ask(changed.messages, parameters, "0"),
            )
        if progress is not None:
            progress()
        return first, again, other

    answers = await asyncio.gather(*(one(pair) for pair in wanted.pairs))
    known = [
        (pair, each)
        for pair, each in zip(wanted.pairs, answers, strict=True)
        if all(answer.error is None for answer in each)
    ]
    broken = [pair for pair, (first, _, other) in known if _broken(wanted.relation, first, other)]
    flickered = sum(normal(first) != normal(again) for _, (first, again, _) in known)
    n = len(known)
    excess = newcombe(flickered if wanted.relation == "same" else 0, n, len(broken), n)
    verdict = _verdict(excess, wanted.tolerance)
    found = [
        await _shrunk(wanted.relation, pair, ask, parameters, reruns)
        for pair in (broken[:shown] if verdict != "holds" else ())
    ]
    return Checked(
        name=wanted.name,
        relation=wanted.relation,
        verdict=verdict,
        violations=wilson(len(broken), n),
        flicker=wilson(flickered, n),
        excess=excess,
        tolerance=wanted.tolerance,
        pairs=n,
        unanswered=len(wanted.pairs) - n,
        counterexamples=tuple(sorted(found, key=lambda each: -each.rate.value)),
    )


def normal(answer: Completion) -> str:
    """An answer as it is compared: its text without case, marks and doubled spaces, and its tool calls."""
    text = "".join(sign for sign in (answer.output or "").casefold() if sign.isalnum() or sign.isspace())
    return f"{' '.join(text.split())}\0{answer.calls or ''}"


def _broken(relation: Relation, one: Completion, other: Completion) -> bool:
    same = normal(one) == normal(other)
    return not same if relation == "same" else same


def _verdict(excess: Estimate, tolerance: float) -> Verdict:
    if excess.n and excess.low > tolerance:
        return "violated"
    return "holds" if excess.n and excess.high <= tolerance else "not resolved"


async def _shrunk(
    relation: Relation, pair: tuple[Case, Case], ask: Ask, parameters: Mapping[str, object], reruns: int
) -> Pair:
    """The smallest part of the change that breaks the relation in most tries, and how often it does."""
    case, changed = pair
    text = last_text(case) or ""

    async def tries(part: Sequence[Splice], count: int, scope: str) -> list[tuple[Completion, Completion]]:
        messages = with_text(case, spliced(text, part))
        found = await asyncio.gather(
            *(
                asyncio.gather(ask(case.messages, parameters, f"{scope}{n}"), ask(messages, parameters, f"{scope}{n}"))
                for n in range(count)
            )
        )
        return [(one, other) for one, other in found if one.error is None and other.error is None]

    async def shows(part: tuple[Splice, ...]) -> bool:
        came = await tries(part, SHRINK_TRIES, "shrink-")
        return sum(_broken(relation, *each) for each in came) * 2 > len(came)

    least = await ddmin(splices_of(changed), shows)
    came = await tries(least, reruns, "rerun-")
    last: Any = came[-1] if came else (None, None)
    return Pair(
        case_id=case.case_id,
        text=text,
        variant=spliced(text, least),
        answer=None if last[0] is None else last[0].output,
        variant_answer=None if last[1] is None else last[1].output,
        splices=least,
        rate=wilson(sum(_broken(relation, *each) for each in came), len(came)),
    )
