"""Rules on changes of a prompt: a deletion must be shown not to cost anything, a growth must be shown to pay.

`trim` deletes clauses and keeps the shorter prompt only where it is non-inferior on cases that did not choose what was
deleted. `gate` compares two versions: clauses that went or were reworded need non-inferiority, tokens that came need
"better". What the cases cannot show is "not resolved", which is no permission.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchkeeper.analysis.clauses import Difference, difference, tokens_of, without
from watchkeeper.analysis.paired import Comparison
from watchkeeper.engines.experiments.arms import Answers, against
from watchkeeper.engines.experiments.profiler import Ask
from watchkeeper.records.case import Case
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record

_SAFE = ("equivalent", "non-inferior", "better")


class Ruling(Record):
    """What came of a change. `passed` None: the cases cannot say. `sentences` give the reasons, worst first."""

    passed: bool | None
    sentences: tuple[str, ...]
    tokens_before: float
    tokens_after: float
    comparison: Comparison | None = None
    dropped: tuple[str, ...] = ()
    prompt: str | None = None
    change: Difference | None = None


def halves(cases: Sequence[Case]) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Cases to choose with and cases to confirm with: about half each, by the digest of their cluster or id."""
    chosen: list[list[Case]] = [[], []]
    for case in cases:
        chosen[int(digest((case.cluster or case.case_id).encode("utf-8", "replace"))[-1], 16) % 2].append(case)
    return tuple(chosen[0]), tuple(chosen[1])


async def trim(prompt: str, dropped: Sequence[str], ask: Ask, score: str, margin: float) -> Ruling:
    """Ask the full prompt and the one without `dropped`, and rule; raises `ValueError` for an id that is not there."""
    shorter = without(prompt, set(dropped))
    before, after = tokens_of(prompt), tokens_of(shorter)
    if not dropped:
        said = "No clause was found neutral or harmful, so there is nothing to delete."
        return Ruling(passed=None, sentences=(said,), tokens_before=before, tokens_after=before)
    found = _compared(await ask("full prompt", prompt, ""), await ask("trimmed prompt", shorter, ""), score, margin)
    passed = _non_inferior(found)
    return Ruling(
        passed=passed,
        sentences=(_sentence(found, "the trimmed prompt", score),),
        tokens_before=before,
        tokens_after=after,
        comparison=found,
        dropped=tuple(dropped),
        prompt=shorter if passed else None,
    )


async def gate(
    old: str, new: str, ask: Ask | None, score: str | None, margin: float | None, allowed_growth: float = 0.0
) -> Ruling:
    """Rule on a new version of a prompt. `allowed_growth` is the share of tokens that may come without evidence.

    Without `ask` there is no evidence: a version that keeps every clause and grows no more than allowed passes, and
    nothing else does.
    """
    change = difference(old, new)
    grew = change.growth > allowed_growth * change.tokens_before
    lost = len(change.removed)
    found: Comparison | None = None
    if ask is not None and score is not None and margin is not None and (grew or lost or change.added):
        found = _compared(await ask("old prompt", old, ""), await ask("new prompt", new, ""), score, margin)
    outcomes: list[tuple[bool | None, str]] = []
    share = change.growth / change.tokens_before if change.tokens_before else float("inf")
    if grew:
        outcomes.append(_grown(found, score, share))
    if lost:
        went = f"{lost - len(change.reworded)} clauses went, {len(change.reworded)} were reworded"
        if found is None:
            outcomes.append((False, f"{went}, with no evidence. Name a suite: --suite FILE --margin DIFFERENCE."))
        else:
            outcomes.append((_non_inferior(found), f"{went}: {_sentence(found, 'the new prompt', str(score))}"))
    if not outcomes:
        outcomes.append((True, "No clause went, and it grew no more than is allowed."))
    outcomes.sort(key=lambda each: {False: 0, None: 1, True: 2}[each[0]])
    return Ruling(
        passed=outcomes[0][0],
        sentences=tuple(sentence for _, sentence in outcomes),
        tokens_before=change.tokens_before,
        tokens_after=change.tokens_after,
        comparison=found,
        change=change,
    )


def _grown(found: Comparison | None, score: str | None, share: float) -> tuple[bool | None, str]:
    grown = f"It grew by {share:.1%} in tokens"
    if found is None:
        return False, f"{grown} without evidence. Name a suite that shows what for: --suite FILE --margin DIFFERENCE."
    if found.verdict == "better":
        return True, f"{grown}, and {_sentence(found, 'the new prompt', str(score))}"
    passed = False if found.verdict in ("worse", "equivalent") else None
    return passed, f"{grown}, and is not shown to be better: {_sentence(found, 'the new prompt', str(score))}"


def _compared(a: Answers, b: Answers, score: str, margin: float) -> Comparison:
    found = against(a.values(score), b.values(score), a.clusters, margin)
    if not found.n:
        raise ValueError(f"No case has a value of {score!r} with both prompts. See why: run the suite with either.")
    return found


def _non_inferior(found: Comparison) -> bool | None:
    """Whether b is not worse than a by the margin; False where it is shown to be worse, None where neither is shown.

    A case that only the old prompt could answer is a loss that the paired cases do not show: it forbids a pass.
    """
    if found.verdict == "worse":
        return False
    return True if found.verdict in _SAFE and found.unpaired_a <= found.unpaired_b else None


def _sentence(found: Comparison, what: str, score: str) -> str:
    difference = found.difference
    told = (
        f"{what} is {found.verdict} on {score} ({difference.value:+.3g}, 95% interval {difference.low:+.3g} to "
        f"{difference.high:+.3g}, margin {found.margin:g}, n = {found.n})"
    )
    left_out = found.unpaired_a + found.unpaired_b
    return told + (f"; {left_out} cases have a value on one side only." if left_out else ".")
