"""What an SDK could not deliver is told to the server at the next delivery that works, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.serving import Doors
from watchkeeper.records.drop import Drop
from watchkeeper.sdk.client import Client
from watchkeeper.sdk.connection import Connection
from watchkeeper.sdk.sender import Sender

pytestmark = pytest.mark.door


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    with Doors(tmp_path) as open_doors:
        yield open_doors


def drops(doors: Doors) -> dict[tuple[str, str, str], int]:
    return {(each.what, each.reason, each.door): each.count for each in doors.records() if isinstance(each, Drop)}


def outcome(number: int) -> dict[str, object]:
    return {"session": f"s{number}", "success": True}


def test_a_full_queue_is_told_of_after_the_next_delivery(doors: Doors) -> None:
    sender = Sender(Connection(doors.url, None, 5), most_waiting=0)
    for number in range(7):
        sender.put("/api/v1/outcomes", outcome(number))
    sender._most_waiting = 10
    sender.put("/api/v1/outcomes", outcome(8))
    assert sender.flush(10) == 0 and sender.tell()
    assert drops(doors) == {("record", "sdk_full", "sdk"): 7}
    assert sender.lost == 7


def test_what_one_item_was_refused_for_is_told_and_flush_is_not_true(doors: Doors) -> None:
    client = Client(doors.url, None, 5)
    client.send("/api/v1/outcomes", {"session": "s", "success": "perhaps"})
    client.sender.lost_elsewhere("span", "sdk_not_exported", 3)
    flushed = client.flush(10)
    assert not flushed and flushed.lost == 1
    assert drops(doors) == {("record", "sdk_refused", "sdk"): 1, ("span", "sdk_not_exported", "sdk"): 3}


def test_what_the_server_does_not_take_is_told_again_with_what_came_since() -> None:
    sender = Sender(Connection("http://127.0.0.1:9", None, 0.2))
    sender.lost_elsewhere("span", "sdk_not_exported", 3)
    assert not sender.tell()
    sender.lost_elsewhere("span", "sdk_not_exported", 2)
    assert not sender.tell()
    assert [each.number for each in sender._losses.values()] == [5]


def test_texts_are_masked_before_they_leave(doors: Doors) -> None:
    client = Client(doors.url, None, 5, redact=("emails",))
    client.send("/api/v1/outcomes", {"session": "s", "success": True, "explanation": "ask bob@example.org"})
    assert client.flush(10)
    assert "ask [email]" in str(doors.records())
