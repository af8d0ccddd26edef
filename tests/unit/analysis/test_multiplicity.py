"""Asking twenty questions does not make one come out by luck."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from watchkeeper.analysis.multiplicity import benjamini_hochberg, holm


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_benjamini_hochberg_is_scipys() -> None:
    p_values = np.random.default_rng(1).random(30) ** 2
    assert benjamini_hochberg(p_values.tolist()) == pytest.approx(stats.false_discovery_control(p_values))


def test_twenty_equal_sides_give_any_false_claim_in_at_most_alpha_of_tables() -> None:
    rng = np.random.default_rng(2)
    tables = rng.random((1_000, 20))
    alone = np.mean(tables.min(axis=1) < 0.05)
    held = np.mean([min(holm(table.tolist())) < 0.05 for table in tables])
    assert alone > 0.5
    assert held < 0.05 + 3 * (0.05 * 0.95 / 1_000) ** 0.5


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, 1.2])
