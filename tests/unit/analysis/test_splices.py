"""Splices: a change can be taken apart, and the smallest part that shows a failure is found."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.splices import Splice, ddmin, spliced


def test_places_are_changed_in_any_order_and_the_rest_stays() -> None:
    parts = (Splice(start=6, end=11, text="sea"), Splice(start=0, end=5, text="Dear"))
    assert spliced("Hello world!", parts) == "Dear sea!" == spliced("Hello world!", parts[::-1])


@pytest.mark.parametrize("parts", [((0, 3), (2, 5)), ((0, 99),), ((3, 1),)])
def test_what_overlaps_or_lies_outside_is_refused(parts: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="overlaps"):
        spliced("Hello", tuple(Splice(start=a, end=b, text="") for a, b in parts))


@given(st.integers(1, 24), st.data())
def test_what_is_found_shows_it_and_nothing_in_it_can_be_left_out(size: int, data: st.DataObject) -> None:
    whole = tuple(Splice(start=n, end=n + 1, text="x") for n in range(size))
    needed = set(data.draw(st.sets(st.sampled_from(whole), min_size=1, max_size=min(4, size))))

    async def shows(part: tuple[Splice, ...]) -> bool:
        return needed <= set(part)

    assert set(asyncio.run(ddmin(whole, shows, most_tests=10_000))) == needed


@pytest.mark.anyio
async def test_no_more_parts_are_tried_than_allowed() -> None:
    whole, tried = tuple(Splice(start=n, end=n + 1, text="x") for n in range(64)), 0

    async def shows(part: tuple[Splice, ...]) -> bool:
        nonlocal tried
        tried += 1
        return whole[5] in part and whole[60] in part

    found = await ddmin(whole, shows, most_tests=5)
    assert tried == 5 and {whole[5], whole[60]} <= set(found)
