"""Adjusts p-values for how many questions were asked, so that asking twenty does not make one come out by luck."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: below alpha, *any* false claim among them has a chance of at most alpha.

    The step-down method of Holm (1979, "A simple sequentially rejective multiple test procedure"). It holds however
    the tests depend on one another. Raises ValueError for what is no p-value.
    """
    _require(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = so_far
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: of those below alpha at most a share alpha is expected to be false.

    The step-up method of Benjamini and Hochberg (1995, "Controlling the false discovery rate"). For screening many
    slices, where some false alarms among the claims are borne. Limits: it holds for tests that are independent or
    positively dependent; where all are null it is no weaker than Holm's promise. Raises ValueError for what is no
    p-value.
    """
    _require(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted, so_far = [0.0] * len(p_values), 1.0
    for rank, index in enumerate(order):
        so_far = min(so_far, p_values[index] * len(order) / (len(order) - rank))
        adjusted[index] = so_far
    return adjusted


def _require(p_values: Sequence[float]) -> None:
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise ValueError(
                f"A p-value lies between 0 and 1, and one was {p_value!r}. Give those that tests returned."
            )
