"""The question for first tokens groups by time or by a column."""

from __future__ import annotations

import pytest

from watchkeeper.adapters.store.plan import check
from watchkeeper.queries.first_tokens import FirstTokens


@pytest.mark.parametrize("by", ["time", "model", "provider", "upstream", "service"])
def test_the_plan_fits_the_tables(by: str) -> None:
    plan = FirstTokens(by=by).select()
    check(plan)
    assert plan.group == (("bucket",) if by == "time" else (by,))
