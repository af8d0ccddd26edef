"""Says what each clause of a prompt does for a suite: load-bearing, neutral, harmful, or not resolved.

Every clause is left out, and the same cases are asked again. First whole groups are left out (the rows and the columns
of a grid, so that two clauses share at most one group): where a group can go and neither the mean nor the number of
changed cases shows it, its clauses are neutral and need no arm of their own. The rest are left out one by one. The full
prompt is asked twice, and the second time is the control: what chance alone changes.

What is promised: "load-bearing" and "harmful" are said with Holm's correction over *all* clauses of the prompt, so that
a prompt of which nothing matters gets any such verdict with a chance of at most `alpha`. "neutral" needs an interval
within the margin: a clause whose absence costs the margin or more is called neutral with a chance of at most `alpha`.

Limits: the verdicts are about this suite, model and margin. Clauses of which each stands in for the other are neutral
alone and not together: leave-one-out cannot see it, and that is why a deletion needs its own test of non-inferiority
(`trimming.py`). In a group a helping and a harming clause can hide each other where they act on the same cases.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from watchkeeper.analysis.adherence import check_of
from watchkeeper.analysis.clause_lint import Find, lint
from watchkeeper.analysis.clauses import Clause, clauses_of, tokens_of, without
from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.multiplicity import holm
from watchkeeper.analysis.paired import Comparison
from watchkeeper.analysis.two_proportions import fisher_exact
from watchkeeper.engines.experiments.arms import Answers, against
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Role = Literal["load-bearing", "neutral", "harmful", "not resolved"]
Ask = Callable[[str, str, str], Awaitable[Answers]]
"""Asks all cases with a prompt: what the arm is called, the prompt, and the draw."""

FEWEST_TO_SCREEN = 9
_ALPHA = 0.05


class Wanted(Record):
    """What a profile is made with: the score, the difference of it that does not matter, and whether to screen.

    `parameters` and `policies` are what may enforce a clause already, `usd_per_token` the price of an input token.
    """

    score: str
    margin: float
    screen: bool = True
    parameters: dict[str, Any] = {}
    policies: tuple[str, ...] = ()
    usd_per_token: float | None = None


class Adherence(Record):
    """How often outputs keep to a clause, with it in the prompt and without it."""

    what: str
    kept: Estimate
    kept_without: Estimate | None = None


class Judged(Record):
    """A clause and what it does. `effect` is the score with it minus the score without it, over paired cases.

    `alone` tells whether it was left out alone; else effect and p-value are those of the group that was left out as a
    whole. `billed` are the input tokens that it costs in each call where the provider told them, `tokens` an estimate.
    """

    clause_id: str
    text: str
    heading: str | None
    position: float
    tokens: float
    billed: float | None
    usd_per_1000_calls: float | None
    role: Role
    alone: bool
    effect: Estimate
    p_value: float
    adjusted_p_value: float
    minimum_detectable_effect: float | None
    cases_changed: int
    unpaired: int
    adherence: Adherence | None = None


class Group(Record):
    """Clauses left out together: what they do together, and whether all of them are neutral for it."""

    clauses: tuple[str, ...]
    effect: Estimate
    cases_changed: int
    quiet: bool


class Profile(Record):
    """A whole prompt: its clauses with what they do, the groups, the control and what there is to ask about it."""

    score: str
    margin: float
    cases: int
    tokens: float
    mean: float
    clauses: tuple[Judged, ...]
    groups: tuple[Group, ...]
    control: Comparison
    finds: tuple[Find, ...]
    arms: int
    failed: int

    def named(self, *roles: Role) -> tuple[str, ...]:
        """The ids of the clauses with one of some roles."""
        return tuple(each.clause_id for each in self.clauses if each.role in roles)


class Profiler:
    """Profiles one prompt. `ask` asks all cases with a prompt; nothing else is known of how."""

    def __init__(self, prompt: str, ask: Ask, wanted: Wanted) -> None:
        self._prompt, self._ask, self._wanted = prompt, ask, wanted
        self._clauses = clauses_of(prompt)
        self._arms = self._failed = 0
        if len(self._clauses) < 2:
            raise ValueError(
                f"The prompt has {len(self._clauses)} clauses, and leaving one out needs two. Name a longer prompt."
            )

    async def profile(self) -> Profile:
        """Ask all arms that it takes, and judge."""
        full = await self._arm("full prompt", self._prompt)
        control = await self._arm("full prompt again", self._prompt, draw="control.")
        chance = self._compare(control, full)
        if not chance.n:
            raise ValueError(
                f"No case has a value of {self._wanted.score!r} with the full prompt. See why: run the suite first."
            )
        groups, by_group = await self._screen(full, chance)
        alone: dict[str, tuple[Comparison, Answers]] = {}
        for clause in self._clauses:
            if clause.clause_id not in by_group:
                arm = await self._arm(f"without {clause.clause_id}", without(self._prompt, {clause.clause_id}))
                alone[clause.clause_id] = self._compare(arm, full), arm
        # Clauses that were screened out take part in the correction, so that it holds whatever the screening chose.
        adjusted = holm([alone[c.clause_id][0].p_value if c.clause_id in alone else 1.0 for c in self._clauses])
        judged = tuple(
            self._judged(clause, alone[clause.clause_id], p_value, full)
            if clause.clause_id in alone
            else self._screened(clause, by_group[clause.clause_id], full)
            for clause, p_value in zip(self._clauses, adjusted, strict=True)
        )
        return Profile(
            score=self._wanted.score,
            margin=self._wanted.margin,
            cases=chance.n,
            tokens=tokens_of(self._prompt),
            mean=chance.mean_b,
            clauses=judged,
            groups=groups,
            control=chance,
            finds=lint(self._clauses, self._wanted.parameters, self._wanted.policies),
            arms=self._arms,
            failed=self._failed,
        )

    async def _arm(self, name: str, prompt: str, draw: str = "") -> Answers:
        arm = await self._ask(name, prompt, draw)
        self._arms += 1
        self._failed += arm.errors
        return arm

    def _compare(self, shortened: Answers, full: Answers, confidence: float = 1 - _ALPHA) -> Comparison:
        """From the shortened prompt to the full one: the difference is what the clauses add."""
        score = self._wanted.score
        return against(shortened.values(score), full.values(score), full.clusters, self._wanted.margin, confidence)

    async def _screen(self, full: Answers, chance: Comparison) -> tuple[tuple[Group, ...], dict[str, Comparison]]:
        """Leave groups out; which clauses need no arm of their own, with what their group showed.

        A clause is in two groups, and one quiet group is enough; so each is tested at half of alpha.
        """
        if not self._wanted.screen or len(self._clauses) < FEWEST_TO_SCREEN:
            return (), {}
        groups, settled = [], {}
        for members in grid(self._clauses):
            ids = tuple(clause.clause_id for clause in members)
            arm = await self._arm(f"without {len(ids)} clauses", without(self._prompt, ids))
            found = self._compare(arm, full, 1 - _ALPHA / 2)
            quiet = found.verdict == "equivalent" and not _moves_more(found, chance)
            settled.update({name: found for name in ids if quiet and name not in settled})
            changed = found.improved + found.worsened
            groups.append(Group(clauses=ids, effect=found.difference, cases_changed=changed, quiet=quiet))
        return tuple(groups), settled

    def _judged(self, clause: Clause, found: tuple[Comparison, Answers], adjusted: float, full: Answers) -> Judged:
        comparison, arm = found
        role: Role = "not resolved"
        if comparison.verdict == "equivalent":
            role = "neutral"
        elif comparison.verdict in ("better", "worse") and adjusted < _ALPHA:
            role = "load-bearing" if comparison.verdict == "better" else "harmful"
        return self._row(clause, comparison, role, adjusted, _adherence(clause, full, arm), _billed(full, arm))

    def _screened(self, clause: Clause, group: Comparison, full: Answers) -> Judged:
        return self._row(clause, group, "neutral", 1.0, _adherence(clause, full, None), None, alone=False)

    def _row(
        self,
        clause: Clause,
        found: Comparison,
        role: Role,
        adjusted: float,
        adherence: Adherence | None,
        billed: float | None,
        alone: bool = True,
    ) -> Judged:
        price = self._wanted.usd_per_token
        tokens = clause.tokens if billed is None else billed
        return Judged(
            clause_id=clause.clause_id,
            text=clause.text,
            heading=clause.heading,
            position=clause.position,
            tokens=clause.tokens,
            billed=billed,
            usd_per_1000_calls=None if price is None else 1000 * price * tokens,
            role=role,
            alone=alone,
            effect=found.difference,
            p_value=found.p_value,
            adjusted_p_value=adjusted,
            minimum_detectable_effect=found.minimum_detectable_effect,
            cases_changed=found.improved + found.worsened,
            unpaired=found.unpaired_a + found.unpaired_b,
            adherence=adherence,
        )


def grid(clauses: Sequence[Clause]) -> list[tuple[Clause, ...]]:
    """Groups of about the square root: neighbours, then every so manieth; two clauses share at most one group."""
    width = math.ceil(math.sqrt(len(clauses)))
    rows = [tuple(clauses[i : i + width]) for i in range(0, len(clauses), width)]
    columns = [tuple(clauses[i::width]) for i in range(width)]
    return [group for group in (*rows, *columns) if group]


def most_arms(clauses: int, screen: bool) -> int:
    """How many prompts a profile asks at most: the full one twice, groups, and every clause alone."""
    width = math.ceil(math.sqrt(clauses))
    return 2 + clauses + (math.ceil(clauses / width) + width if screen and clauses >= FEWEST_TO_SCREEN else 0)


def policies_of(uses: Collection[str], redacts: bool) -> tuple[str, ...]:
    """What the settings enforce, by the names that the lint knows."""
    return (*sorted(set(uses)), *(("redaction",) if redacts else ()))


def _moves_more(found: Comparison, chance: Comparison) -> bool:
    """Whether more cases changed than by chance alone: a mean can stand still over many changes."""
    moved, by_chance = found.improved + found.worsened, chance.improved + chance.worsened
    if not found.n or moved / found.n <= by_chance / chance.n:
        return False
    return fisher_exact(moved, found.n, by_chance, chance.n) < _ALPHA


def _billed(full: Answers, arm: Answers) -> float | None:
    with_it, without_it = full.input_tokens, arm.input_tokens
    return None if with_it is None or without_it is None else with_it - without_it


def _adherence(clause: Clause, full: Answers, arm: Answers | None) -> Adherence | None:
    check = check_of(clause.text)
    if check is None:
        return None
    kept = _rate(full, check.holds)
    if kept is None:
        return None
    return Adherence(what=check.what, kept=kept, kept_without=None if arm is None else _rate(arm, check.holds))


def _rate(answers: Answers, holds: Callable[[str], bool]) -> Estimate | None:
    """The share of cases whose first answer keeps to it."""
    said: Mapping[str, str] = {r.case_id: r.output for r in answers.results if r.repeat == 0 and r.output is not None}
    return wilson(sum(map(holds, said.values())), len(said)) if said else None
