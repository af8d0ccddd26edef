"""Plans how to retire a version, by who is used to it: stages by cohort, a way back, a rule to stop.

Users are sorted by depth of use of the old version: replies, and days from their first to their last. "light" have at
most the median number of replies, "deep" are the tenth with the most replies (or who used it for at least 30 days and
above the median), the others "regular". Stages go from opt-in to light, regular and deep users, since habits sit where
use is deep. Each stage has the number of users at which a drop of a cohort's signal by `drop` from `baseline` would be
seen four times in five (two independent rates, the moved against the not yet moved), and none is begun before its
number is reached; a cohort with fewer users cannot be told apart and has to be asked.

Limits: users without a name are in no cohort and are counted. The signal (thumbs, kept conversations, solved without
asking again) is yours to choose: a rate of users.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from watchkeeper.analysis.behaviour import Told
from watchkeeper.analysis.planning import plan
from watchkeeper.records.record import Record

DAY_NS = 86_400_000_000_000
LONG_DAYS = 30.0
RETIRE = ("prompt", "judge and its calibration", "regression set", "incident notes and runbooks", "canaries and alerts")


class Cohort(Record):
    """Users of one depth: how many, their replies, and the median of replies and of days."""

    name: str
    users: int
    replies: int
    median_replies: float
    median_days: float | None


class Stage(Record):
    """One step: who moves, the share of that cohort, the users it takes to see the drop, whether there are so many."""

    number: int
    cohort: str
    share: float
    users: int
    users_needed: int
    can_tell: bool
    stop_rule: str
    revert: str


class Plan(Record):
    """Cohorts, stages, what else goes, and how many replies had no user."""

    cohorts: tuple[Cohort, ...]
    stages: tuple[Stage, ...]
    retire_too: tuple[str, ...]
    unnamed_replies: int


def sunset(replies: Sequence[Told], baseline: float = 0.8, drop: float = 0.1) -> Plan:
    """The plan for the users of some replies; raises `ValueError` for a baseline or drop that cannot be."""
    if not 0 < drop < baseline <= 1:
        raise ValueError(f"The signal is {baseline} and may drop by {drop}; give 0 < drop < baseline <= 1.")
    users: dict[str, list[int | None]] = defaultdict(list)
    for each in replies:
        if each.user is not None:
            users[each.user].append(each.at_ns)
    depths = {user: (len(times), _days(times)) for user, times in users.items()}
    needed = plan("independent", effect=drop, baseline=baseline - drop).n
    groups = _groups(depths)
    cohorts = tuple(_cohort(name, found, depths) for name, found in groups.items())
    return Plan(
        cohorts=cohorts,
        stages=_stages(cohorts, needed, drop),
        retire_too=RETIRE,
        unnamed_replies=sum(each.user is None for each in replies),
    )


def _groups(depths: dict[str, tuple[int, float | None]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"light": [], "regular": [], "deep": []}
    if not depths:
        return groups
    counts = sorted(count for count, _ in depths.values())
    middle, most = median(counts), counts[min(len(counts) - 1, int(0.9 * len(counts)))]
    for user, (count, days) in sorted(depths.items()):
        if count <= middle:
            groups["light"].append(user)
        elif count >= most or (days is not None and days >= LONG_DAYS):
            groups["deep"].append(user)
        else:
            groups["regular"].append(user)
    return groups


def _cohort(name: str, users: Sequence[str], depths: dict[str, tuple[int, float | None]]) -> Cohort:
    days = [found for user in users if (found := depths[user][1]) is not None]
    counts = [depths[user][0] for user in users]
    return Cohort(
        name=name,
        users=len(users),
        replies=sum(counts),
        median_replies=median(counts) if counts else 0.0,
        median_days=median(days) if days else None,
    )


def _stages(cohorts: Sequence[Cohort], needed: int, drop: float) -> tuple[Stage, ...]:
    found: list[Stage] = []
    steps = [("whoever opts in", 0.1, sum(each.users for each in cohorts))]
    steps += [(each.name, share, each.users) for each in cohorts for share in (0.25, 1.0) if each.users]
    for number, (cohort, share, users) in enumerate(steps, 1):
        moved = int(users * share)
        found.append(
            Stage(
                number=number,
                cohort=cohort,
                share=share,
                users=moved,
                users_needed=needed,
                can_tell=moved >= needed and (share == 1.0 or users - moved >= needed),
                stop_rule=f"stop and go back when the cohort's signal is lower by {drop:g} with an interval below zero",
                revert="route the cohort to the old version; keep it, its prompt and judge until the last stage held",
            )
        )
    return tuple(found)


def _days(times: Sequence[int | None]) -> float | None:
    known = [each for each in times if each is not None]
    return (max(known) - min(known)) / DAY_NS if known else None
