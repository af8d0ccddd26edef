"""A counterexample loses what it does not need, and keeps breaking."""

import pytest

from watchkeeper.engines.experiments.shrinking import shrink


@pytest.mark.anyio
async def test_a_text_shrinks_to_the_words_that_break() -> None:
    async def broken(one: str, two: str | None) -> bool:
        return "red" in one and "lamp" in one

    assert await shrink("please send a red and a blue lamp to me", None, broken, 500) == ("redlamp", None)


@pytest.mark.anyio
async def test_a_pair_shrinks_to_its_difference() -> None:
    async def broken(one: str, two: str | None) -> bool:
        return two is not None and ("é" in two) != ("é" in one)

    found = await shrink("Emma wants a big refund now", "Zoé wants a large refund now", broken, 500)
    assert found == ("Emma", "Zoé")


@pytest.mark.anyio
async def test_a_budget_of_nothing_leaves_the_text_as_it_is() -> None:
    async def broken(one: str, two: str | None) -> bool:
        raise AssertionError("nothing may be asked")

    assert await shrink("a b c", None, broken, 0) == ("a b c", None)


@pytest.mark.anyio
async def test_the_budget_is_kept() -> None:
    asked = 0

    async def broken(one: str, two: str | None) -> bool:
        nonlocal asked
        asked += 1
        return False

    await shrink("word " * 200, None, broken, 25)
    assert asked == 25
