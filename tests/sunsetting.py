"""Users of two versions with judged uses, for tests of retiring one: made up, each use good by a chance of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from watchkeeper.engines.experiments.exposure import DAY_NS, Judged, Use

START_NS = 1_800_000_000 * 10**9
MOVE_NS = START_NS + 60 * DAY_NS
DEPTHS = {"light": 4, "regular": 8, "deep": 20}


class World:
    """Some users of each depth, who use the old version and then, as far as they move, the new one.

    `harm` is by how much a use of the new version is less often good, by cohort; `drift` the same for every use of
    either version after the day of the move.
    """

    def __init__(
        self,
        rng: Random,
        users: Mapping[str, int],
        *,
        rate: float = 0.8,
        harm: Mapping[str, float] | None = None,
        drift: float = 0.0,
        moves: float = 1.0,
        after: int = 3,
    ) -> None:
        self.old: list[Use] = []
        self.new: list[Use] = []
        self.scores: list[dict[str, Any]] = []
        for cohort, count in users.items():
            for number in range(count):
                user, fall = f"{cohort}-{number}", (harm or {}).get(cohort, 0.0)
                for k in range(DEPTHS[cohort]):
                    self._use(rng, self.old, user, START_NS + k * DAY_NS + number, rate)
                stays = rng.random() >= moves
                side, lost = (self.old, 0.0) if stays else (self.new, fall)
                for k in range(after):
                    self._use(rng, side, user, MOVE_NS + k * DAY_NS + rng.randrange(DAY_NS), rate - lost - drift)

    def _use(self, rng: Random, side: list[Use], user: str, at_ns: int, rate: float) -> None:
        name = f"s{len(self.scores)}"
        side.append(Use(user=user, use=name, first_ns=at_ns, last_ns=at_ns, calls=1, traces=(f"t{name}",)))
        self.scores.append(score(name, float(rng.random() < rate)))

    @property
    def before(self) -> list[Use]:
        """Uses of the old version before the day of the move."""
        return [each for each in self.old if (each.first_ns or 0) < MOVE_NS]

    def judged(self, uses: Sequence[Use] | None = None) -> Judged:
        """What was judged."""
        return Judged(self.scores, [*self.old, *self.new] if uses is None else uses, 1.0)


def score(session: str | None, value: float | None, **more: Any) -> dict[str, Any]:
    """A row of the question `scores`."""
    return {
        "subject_kind": "session",
        "subject_id": session,
        "session": session,
        "trace_id": None,
        "value": value,
    } | more
