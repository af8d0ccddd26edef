"""Follows a sunset: says of each stage whether to go on, to stop and go back, or that it is not resolved yet.

A moved user counts with the change of the signal: the mean of the first `window` judged uses from the first use of the
new version on, whichever version they are of, less that of the last `window` judged uses of the old version before it.
Whoever goes back to the old version so stays in the count. Each user is one value between -1 and 1, and in the order in
which they come they feed a confidence sequence (`analysis/sequential.py`). The first of two things that is shown
decides: the mean change is below 0 (stop), or it is above -drop (proceed). As the stake is valid at every moment, one
may look as often as one likes; with the error shared out over the stages, the chance of ever stopping a sunset that
does no harm is at most alpha.

Limits: what changes for everybody at the same time looks like a change by moving: `held` is the change of those who
have not moved, to be looked at beside it. Users who leave altogether are never judged; `waiting` counts them with those
who have not come back yet. A fall between 0 and `drop` may end either way. Labels that come late may change a value
after it has been looked at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from msgspec import structs

from watchkeeper.analysis.intervals import mean, wilson
from watchkeeper.analysis.sequential import Watch, start
from watchkeeper.engines.experiments.exposure import Judged, Use, depths_of
from watchkeeper.engines.experiments.sunset import EVERYBODY, Plan, Stage, stage_alpha
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

STOP, PROCEED, OPEN, NOT_BEGUN = "stop", "proceed", "not resolved yet", "not begun"


class Standing(Record):
    """How a stage stands. `change` is of the users judged until it was decided, with an interval that always holds.

    `moved` users count for the stage, `waiting` of them have too few judged uses, `decided_ns` is the use that decided.
    `went_back` is the share of moved users whose last use is of the old version, `held` the change of the others.
    """

    number: int
    kind: str
    cohort: str
    state: str
    moved: int
    judged: int
    waiting: int
    change: Estimate | None
    users_to_stop: int | None
    users_to_proceed: int | None
    decided_ns: int | None
    went_back: Estimate | None
    held: Estimate | None
    sentence: str


class _User(NamedTuple):
    cohort: str
    old: list[Use]
    new: list[Use]

    @property
    def moved_ns(self) -> int | None:
        return min((each.first_ns or 0 for each in self.new), default=None)


class _Change(NamedTuple):
    at_ns: int
    user: str
    value: float


def follow(
    plan: Plan, old: Sequence[Use], new: Sequence[Use], judged: Judged, began: Mapping[int, int]
) -> tuple[Standing, ...]:
    """How each stage of a plan stands. `began` says when stages began (unix ns); the first has begun in any case.

    A user counts for the last stage for them that had begun when they first used the new version. Raises `ValueError`
    for a stage that is not in the plan.
    """
    unknown = sorted(began.keys() - {each.number for each in plan.stages})
    if unknown:
        raise ValueError(f"The plan has no stage {unknown[0]}; it has 1 to {len(plan.stages)}.")
    begun = {1: 0, **began}
    users = _users(plan, old, new)
    by_stage: dict[int, list[str]] = defaultdict(list)
    for name, user in users.items():
        if user.moved_ns is not None:
            by_stage[_stage_of(plan.stages, begun, user)].append(name)
    look = _Look(plan, judged, users, begun)
    return tuple(look.standing(stage, by_stage[stage.number]) for stage in plan.stages)


class _Look:
    """One look at a plan."""

    def __init__(self, plan: Plan, judged: Judged, users: Mapping[str, _User], begun: Mapping[int, int]) -> None:
        self._plan, self._judged, self._users, self._begun = plan, judged, users, begun
        self._windows = {each.name: each.window for each in plan.cohorts}
        self._alpha = stage_alpha(plan)

    def standing(self, stage: Stage, moved: Sequence[str]) -> Standing:
        """How a stage stands, by the users who count for it."""
        changes = sorted(each for name in moved if (each := self._moved(name)) is not None)
        state, watch, decided_ns = self._decide(changes)
        if stage.number not in self._begun:
            state = NOT_BEGUN
        back = sum(self._went_back(self._users[name]) for name in moved)
        return Standing(
            number=stage.number,
            kind=stage.kind,
            cohort=stage.cohort,
            state=state,
            moved=len(moved),
            judged=len(changes),
            waiting=len(moved) - len(changes),
            change=_interval(watch) if watch.n else None,
            users_to_stop=stage.users_to_stop,
            users_to_proceed=stage.users_to_proceed,
            decided_ns=decided_ns,
            went_back=wilson(back, len(moved)) if moved else None,
            held=self._held(stage, changes),
            sentence=self._sentence(stage, state, watch, len(moved) - len(changes)),
        )

    def _decide(self, changes: Sequence[_Change]) -> tuple[str, Watch, int | None]:
        """The first thing that is shown, the watch at that moment, and which use showed it."""
        watch, goal = start(alpha=self._alpha), -math.log(self._alpha)
        for each in changes:
            watch = watch.update(each.value)
            if watch.evidence(-self._plan.wanted.drop, above=True) >= goal:
                return PROCEED, watch, each.at_ns
            if watch.evidence(0.0, above=False) >= goal:
                return STOP, watch, each.at_ns
        return OPEN, watch, None

    def _moved(self, name: str) -> _Change | None:
        user = self._users[name]
        assert user.moved_ns is not None
        return self._change(name, user, user.moved_ns)

    def _change(self, name: str, user: _User, at_ns: int) -> _Change | None:
        """A user's change around a moment; None while too few uses are judged."""
        window = self._windows[user.cohort]
        uses = sorted([*user.old, *user.new], key=lambda each: (each.first_ns or 0, each.use))
        old = {each.use for each in user.old}
        known = [(each, value) for each in uses if (value := self._judged.of(each)) is not None]
        before = [value for each, value in known if (each.first_ns or 0) < at_ns and each.use in old][-window:]
        after = [(each, value) for each, value in known if (each.first_ns or 0) >= at_ns][:window]
        if len(before) < window or len(after) < window:
            return None
        return _Change(after[-1][0].first_ns or 0, name, fmean(value for _, value in after) - fmean(before))

    @staticmethod
    def _went_back(user: _User) -> bool:
        last = max((*user.old, *user.new), key=lambda each: each.first_ns or 0)
        return last in user.old

    def _held(self, stage: Stage, moved: Sequence[_Change]) -> Estimate | None:
        """The change of those of the cohort who have not moved, around the stage's begin or its users' moves."""
        at_ns = self._begun.get(stage.number) or (round(median(each.at_ns for each in moved)) if moved else 0)
        values = [
            found.value
            for name, user in self._users.items()
            if stage.cohort in (EVERYBODY, user.cohort)
            and user.moved_ns is None
            and (found := self._change(name, user, at_ns)) is not None
        ]
        return mean(values) if at_ns and len(values) > 1 else None

    def _sentence(self, stage: Stage, state: str, watch: Watch, waiting: int) -> str:
        if state == NOT_BEGUN:
            return f"Stage {stage.number} has not begun; say when with --began {stage.number}=TIME."
        signal = self._plan.wanted.signal
        if not watch.n:
            return f"No moved user has {signal} judged often enough before and after; {waiting} are waited for."
        seen = _interval(watch)
        said = f"Over {watch.n} users {signal} changed by {seen.value:+.3f} ({seen.low:+.3f} to {seen.high:+.3f})"
        if state == STOP:
            return f"{said}, which is a fall: {stage.revert}."
        if state == PROCEED:
            return f"{said}; a fall of {self._plan.wanted.drop:g} is ruled out."
        least = [each for each in (stage.users_to_stop, stage.users_to_proceed) if each is not None]
        needed = f"it takes about {min(least)} to {max(least)} users" if least else "no number of users would show it"
        return f"{said}, which shows neither; {needed}."


def _interval(watch: Watch) -> Estimate:
    """The mean change with an interval whose ends each hold at the watch's error, as the rules of a stage do."""
    return structs.replace(watch, alpha=2 * watch.alpha).interval


def _users(plan: Plan, old: Sequence[Use], new: Sequence[Use]) -> dict[str, _User]:
    """Users of the cohorts, sorted as the plan sorted them, with all that they used since."""
    wanted = plan.wanted
    planned = [each for each in old if wanted.since_ns <= (each.first_ns or 0) < wanted.until_ns]
    of_new = {(each.user, each.use) for each in new}
    found = {user: _User(plan.cuts.cohort(depth), [], []) for user, depth in depths_of(planned).items()}
    for each in old:
        if each.user in found and (each.user, each.use) not in of_new:
            found[each.user].old.append(each)
    for each in new:
        if each.user in found:
            found[each.user].new.append(each)
    return found


def _stage_of(stages: Iterable[Stage], begun: Mapping[int, int], user: _User) -> int:
    moved = user.moved_ns or 0
    open_ = [
        each.number
        for each in stages
        if each.cohort in (EVERYBODY, user.cohort) and begun.get(each.number, math.inf) <= moved
    ]
    return max(open_, default=1)
