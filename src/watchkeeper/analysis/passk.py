"""Says how often an agent succeeds in all of k tries at the same task, pass^k, and in at least one of k, pass@k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import variance

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.records.estimate import Estimate


def pass_hat_k(successes: Sequence[int], trials: int | Sequence[int], k: int, *, confidence: float = 0.95) -> Estimate:
    """pass^k over tasks, `successes[i]` of the `trials` of each (or of `trials[i]`) being good.

    The mean over tasks of C(successes, k) / C(trials, k), unbiased for each task's chance of k successes in
    a row (Yao et al., 2024, "tau-bench"). Trials of one task are not independent, so the interval is over
    tasks: Wilson's at the size that their spread is worth, at their number if all gave the same. `n` counts tasks.
    """
    each = _trials(successes, trials, k)
    per_task = [math.comb(c, k) / math.comb(n, k) for c, n in zip(successes, each, strict=True)]
    return _over_tasks(per_task, sum(each), f"pass^{k}", confidence)


def pass_at_k(successes: Sequence[int], trials: int | Sequence[int], k: int, *, confidence: float = 0.95) -> Estimate:
    """pass@k over tasks: the mean of 1 - C(trials - successes, k) / C(trials, k).

    Unbiased for the chance that at least one of k tries succeeds (Chen et al., 2021, "Evaluating large language models
    trained on code"). The interval is that of `pass_hat_k`.
    """
    each = _trials(successes, trials, k)
    per_task = [1 - math.comb(n - c, k) / math.comb(n, k) for c, n in zip(successes, each, strict=True)]
    return _over_tasks(per_task, sum(each), f"pass@{k}", confidence)


def _trials(successes: Sequence[int], trials: int | Sequence[int], k: int) -> Sequence[int]:
    each = [trials] * len(successes) if isinstance(trials, int) else trials
    if len(each) != len(successes) or not all(
        1 <= k <= n and 0 <= c <= n for c, n in zip(successes, each, strict=False)
    ):
        raise ValueError(
            f"pass^k needs 1 <= k <= trials and 0 <= successes <= trials, and got k={k}, trials={trials}, "
            f"successes={list(successes)[:5]}... Give each task's number of successes among its trials."
        )
    return each


def _over_tasks(per_task: Sequence[float], trials: int, name: str, confidence: float) -> Estimate:
    if len(per_task) < 2 or variance(per_task) == 0:
        estimate = intervals.wilson(math.fsum(per_task), len(per_task), confidence=confidence)
        return msgspec.structs.replace(estimate, method=f"{name} over tasks, {estimate.method}")
    # Wilson's form at the size that the spread of the tasks is worth, which is never more than the trials.
    found = intervals.spread(per_task)
    low, high = intervals.rate_bounds(found, confidence, trials)
    method = f"{name} over tasks, Wilson at the effective size"
    return Estimate(value=found.value, low=low, high=high, n=found.clusters, method=method, confidence=confidence)
