"""Uses are counted by user, session and trace, and calls without a user are left out."""

import pytest

from tests.reading import NOW
from tests.replying import Call, recorded
from watchkeeper.queries.uses import Uses


@pytest.mark.anyio
async def test_each_user_is_told_with_their_calls() -> None:
    log = await recorded([Call("m", "a", "mia"), Call("m", "b", "mia"), Call("m", "c"), Call("n", "d", "leo")])
    rows = (await log.ask(Uses(model="m", until=NOW))).items
    assert [(row["user"], row["calls"], row["errors"]) for row in rows] == [("mia", 1, 0), ("mia", 1, 0)]
    assert rows[0]["first_ns"] < rows[1]["first_ns"] and rows[0]["trace_id"] != rows[1]["trace_id"]
