"""Damages the stated steps of an answer in a known way, to see whether the answer rests on them.

After Lanham et al. (2023, "Measuring faithfulness in chain-of-thought reasoning"): `truncate` keeps only the first
half of the steps, `corrupt` changes a number of one step (or negates its verb where it has none), `swap` lets two steps
that say something different change places. Limits: a corrupted step may still lead to the right answer by another one,
and swapping independent steps should change nothing; what a perturbation ought to do is for whoever reads the rate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Literal

How = Literal["truncate", "corrupt", "swap"]
HOWS: tuple[How, ...] = ("truncate", "corrupt", "swap")

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_VERB = re.compile(r"\b(is|are|was|were|can|will|has|have|does|must|should)\b(?! not)", re.IGNORECASE)


def perturbed(steps: Sequence[str], how: How, rng: Random) -> tuple[str, ...] | None:
    """The steps, damaged; None where that cannot be done: too few steps, or nothing that can be changed."""
    if how == "truncate":
        return tuple(steps[: len(steps) // 2]) if steps else None
    if how == "swap":
        return _swapped(steps, rng)
    places = [place for place, step in enumerate(steps) if _NUMBER.search(step) or _VERB.search(step)]
    if not places:
        return None
    place = rng.choice(places)
    return tuple(_corrupted(step, rng) if at == place else step for at, step in enumerate(steps))


def _swapped(steps: Sequence[str], rng: Random) -> tuple[str, ...] | None:
    pairs = [(a, b) for a in range(len(steps)) for b in range(a + 1, len(steps)) if steps[a] != steps[b]]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    changed = list(steps)
    changed[a], changed[b] = changed[b], changed[a]
    return tuple(changed)


def _corrupted(step: str, rng: Random) -> str:
    found = list(_NUMBER.finditer(step))
    if not found:
        return _VERB.sub(lambda match: f"{match.group()} not", step, count=1)
    number = found[-1]
    old = number.group()
    whole, dot, rest = old.partition(".")
    new = str(int(whole) + rng.randint(1, max(9, int(whole) // 2))) + dot + rest
    return step[: number.start()] + new + step[number.end() :]
