"""The question for sessions finds the top ones by one sum, and then all sums of those alone."""

from __future__ import annotations

import pytest

from watchkeeper.adapters.store.plan import check
from watchkeeper.queries.sessions import Sessions


@pytest.mark.parametrize("sort", ["cost", "calls", "errors", "tokens", "newest"])
def test_the_plan_fits_the_tables_and_cuts_within(sort: str) -> None:
    plan = Sessions(sort=sort, limit=7, cursor=3).select()
    check(plan)
    (join,) = plan.joins
    assert (plan.limit, join.select.limit, join.select.offset) == (None, 7, 3)
    assert plan.order == join.select.order
