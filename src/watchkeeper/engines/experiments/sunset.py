"""Plans how to retire a version, by who is used to it: stages by cohort, a way back, a rule to stop, what else goes.

Stages go from opting in over a default with an opt-out, light users first, to forced moves, deep users last, since
habits sit where use is deep. Every stage is judged by each moved user's own change of a signal (`following.py`): it
stops when a fall is shown, goes on when a fall of `drop` is ruled out, and is not resolved before. Both hold at any
time of looking, at an error of alpha over all stages together. Each stage has the number of users that shows a true
fall of `drop` about four times in five, and the number that rules it out where there is none (`sequential.py`, from the
cohort's own rate of the signal where it is recorded); a cohort with fewer users cannot be told apart: ask those people.

Limits: users without a name are in no cohort and are counted. The signal (thumbs, kept conversations, solved without
asking again) is yours to choose: a score by session, trace or span, good or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import comb
from statistics import fmean, median

from watchkeeper.analysis.intervals import mean
from watchkeeper.analysis.sequential import values_needed
from watchkeeper.engines.experiments.exposure import COHORTS, Cuts, Depth, Judged, Use, cuts_of, depths_of
from watchkeeper.engines.experiments.retiring import Artefact
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

ALPHA, POWER = 0.05, 0.8
MOST_USES = 3
_ENOUGH = 0.8
EVERYBODY = "all"


class Wanted(Record):
    """What is to be retired and how it is judged; `baseline` is the rate of the signal where none is recorded."""

    old: str
    new: str
    since_ns: int
    until_ns: int
    signal: str = "outcome"
    good: float = 1.0
    baseline: float = 0.8
    drop: float = 0.1
    alpha: float = ALPHA


class Cohort(Record):
    """Users of one depth, the first of them seen at `first_ns` (unix, None unknown).

    `rate` is the mean over users of the signal under the old version, None where not recorded. `window` is how many
    judged uses before and after the move count for a user. `users_to_stop` and `users_to_proceed` are None where no
    number would do.
    """

    name: str
    users: int
    calls: int
    median_calls: float
    median_uses: float
    median_days: float | None
    first_ns: int | None
    rate: Estimate | None
    window: int
    users_to_stop: int | None
    users_to_proceed: int | None


class Stage(Record):
    """One step: who moves and how, the users there are and those it takes, and its rules in words."""

    number: int
    kind: str
    cohort: str
    users: int
    users_to_stop: int | None
    users_to_proceed: int | None
    can_tell: bool
    act: str
    stop_rule: str
    proceed_rule: str
    revert: str


class Composition(Record):
    """A composition that served the old version, to go back to."""

    manifest: str
    calls: int
    components: dict[str, str] = {}


class Plan(Record):
    """What was asked for, the cohorts with where they part, the stages, the way back, and what else goes.

    The last cohort is everybody. `unnamed_calls` of the old version named no user; None where they were not counted.
    """

    wanted: Wanted
    cuts: Cuts
    cohorts: tuple[Cohort, ...]
    stages: tuple[Stage, ...]
    revert_to: tuple[Composition, ...] = ()
    retire_too: tuple[Artefact, ...] = ()
    unnamed_calls: int | None = None
    unplaced_scores: int = 0


def sunset(
    wanted: Wanted,
    uses: Sequence[Use],
    judged: Judged | None = None,
    revert_to: Sequence[Composition] = (),
    retire_too: Iterable[Artefact] = (),
    unnamed_calls: int | None = None,
) -> Plan:
    """The plan for the users of some uses; raises `ValueError` for a baseline or drop that cannot be."""
    if not 0 < wanted.drop < wanted.baseline <= 1:
        raise ValueError(
            f"The signal is {wanted.baseline:g} and may drop by {wanted.drop:g}; give 0 < drop < baseline <= 1."
        )
    depths = depths_of(uses)
    cuts = cuts_of(depths.values())
    members = {name: [user for user, depth in depths.items() if cuts.cohort(depth) == name] for name in COHORTS}
    names = [name for name in COHORTS if members[name]]
    alpha = wanted.alpha / max(1, 1 + 2 * len(names))
    by_user = _judged_by_user(uses, judged)
    groups = [(name, members[name]) for name in names] + [(EVERYBODY, list(depths))]
    cohorts = [_cohort(name, users, depths, by_user, wanted, alpha) for name, users in groups]
    return Plan(
        wanted=wanted,
        cuts=cuts,
        cohorts=tuple(cohorts),
        stages=_stages(cohorts, wanted, alpha, revert_to) if depths else (),
        revert_to=tuple(revert_to),
        retire_too=tuple(retire_too),
        unnamed_calls=unnamed_calls,
        unplaced_scores=0 if judged is None else judged.unplaced,
    )


def stage_alpha(plan: Plan) -> float:
    """The error of one stage, so that all together keep to the plan's."""
    return plan.wanted.alpha / max(1, len(plan.stages))


def change_law(before: float, after: float, window: int) -> dict[float, float]:
    """How the difference of two shares of `window` uses falls, where each is good with these chances by itself."""
    law: dict[float, float] = {}
    for i in range(window + 1):
        for j in range(window + 1):
            chance = _binomial(i, window, before) * _binomial(j, window, after)
            law[(j - i) / window] = law.get((j - i) / window, 0.0) + chance
    return law


def _binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def _judged_by_user(uses: Iterable[Use], judged: Judged | None) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for each in uses if judged is not None else ():
        assert judged is not None
        value = judged.of(each)
        if value is not None:
            found.setdefault(each.user, []).append(value)
    return found


def _cohort(
    name: str,
    users: Sequence[str],
    depths: Mapping[str, Depth],
    judged: Mapping[str, Sequence[float]],
    wanted: Wanted,
    alpha: float,
) -> Cohort:
    found = [depths[user] for user in users]
    days = [each.days for each in found if each.days is not None]
    known = [judged[user] for user in users if user in judged]
    window = _window([len(each) for each in known])
    rate = mean([fmean(each) for each in known]) if known else None
    before = wanted.baseline if rate is None else rate.value
    fallen = max(0.0, before - wanted.drop)
    return Cohort(
        name=name,
        users=len(users),
        calls=sum(each.calls for each in found),
        median_calls=median([each.calls for each in found]) if found else 0.0,
        median_uses=median([each.uses for each in found]) if found else 0.0,
        median_days=median(days) if days else None,
        first_ns=min((each.first_ns for each in found if each.first_ns is not None), default=None),
        rate=rate,
        window=window,
        users_to_stop=values_needed(change_law(before, fallen, window), 0.0, above=False, alpha=alpha, power=POWER),
        users_to_proceed=values_needed(
            change_law(before, before, window), -wanted.drop, above=True, alpha=alpha, power=POWER
        ),
    )


def _window(counts: Sequence[int]) -> int:
    """The most uses, up to three, that four of five judged users have."""
    for window in range(MOST_USES, 1, -1):
        if counts and sum(count >= window for count in counts) >= _ENOUGH * len(counts):
            return window
    return 1


_ACTS = {
    "opt-in": "offer the new version; nobody moves without having asked",
    "default": "the new version is what they get; a switch they can see leads back",
    "forced": "no switch any more; before this stage ask those who switched back why",
}


def _stages(
    cohorts: Sequence[Cohort], wanted: Wanted, alpha: float, revert_to: Sequence[Composition]
) -> tuple[Stage, ...]:
    by_name = {each.name: each for each in cohorts}
    named = [name for name in COHORTS if name in by_name]
    steps = [("opt-in", EVERYBODY), *(("default", name) for name in named), *(("forced", name) for name in named)]
    back = f"composition {revert_to[0].manifest}" if revert_to else wanted.old
    found = []
    for number, (kind, name) in enumerate(steps, 1):
        cohort = by_name[name]
        found.append(
            Stage(
                number=number,
                kind=kind,
                cohort=name,
                users=cohort.users,
                users_to_stop=cohort.users_to_stop,
                users_to_proceed=cohort.users_to_proceed,
                can_tell=_enough(cohort.users, cohort.users_to_stop) and _enough(cohort.users, cohort.users_to_proceed),
                act=_ACTS[kind],
                stop_rule=f"stop when the mean change of {wanted.signal} over the moved users is shown to be below 0 "
                f"(always-valid, error {alpha:.2%})",
                proceed_rule=f"go on when a fall of {wanted.drop:g} is ruled out (always-valid, error {alpha:.2%})",
                revert=f"route the cohort to {back}; keep it with its prompt and judges until the last stage has held",
            )
        )
    return tuple(found)


def _enough(users: int, needed: int | None) -> bool:
    return needed is not None and users >= needed
