"""A reply that is taken once is given to all who ask, whole and in order, and holds no more than it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from watchkeeper.engines.gateway.exchange import Abandoned
from watchkeeper.engines.gateway.tape import Tape

pytestmark = pytest.mark.anyio


class Listener:
    """Keeps what it is given."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.status, self.body, self.ended, self.pause_s = 0, b"", False, pause_s

    async def send(self, message: Any) -> None:
        await asyncio.sleep(self.pause_s)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)


async def speak(tape: Tape, *pieces: bytes) -> None:
    await tape.send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in pieces:
        await asyncio.sleep(0)
        await tape.send({"type": "http.response.body", "body": piece, "more_body": True})
    await tape.send({"type": "http.response.body", "body": b""})


async def test_early_and_late_listeners_hear_the_same() -> None:
    tape, early, late = Tape(1000), Listener(), Listener()
    playing = asyncio.create_task(tape.play(early.send, first=True))
    await speak(tape, b"one ", b"two")
    await tape.play(late.send)
    await playing
    assert (early.status, early.body, early.ended) == (late.status, late.body, late.ended) == (200, b"one two", True)
    assert tape.body == b"one two"


async def test_a_reply_that_is_given_up_is_not_taken_for_whole() -> None:
    tape, listener = Tape(1000), Listener()
    await tape.send({"type": "http.response.start", "status": 200, "headers": []})
    await tape.send({"type": "http.response.body", "body": b"half", "more_body": True})
    tape.give_up()
    with pytest.raises(Abandoned):
        await tape.play(listener.send)
    assert (listener.body, listener.ended) == (b"half", False)


async def test_a_reply_that_is_too_long_goes_to_its_first_listener_at_its_pace() -> None:
    tape, slow = Tape(10), Listener(pause_s=0.001)
    playing = asyncio.create_task(tape.play(slow.send, first=True))
    pieces = [b"x" * 8 for _ in range(20)]
    await speak(tape, *pieces)
    await playing
    assert slow.body == b"".join(pieces)
    assert tape.over
    with pytest.raises(ValueError, match="longer"):
        assert tape.body


async def test_a_long_reply_whose_client_left_does_not_wait_for_it() -> None:
    tape = Tape(10)

    async def gone(message: Any) -> None:
        raise ConnectionError

    playing = asyncio.create_task(tape.play(gone, first=True))
    async with asyncio.timeout(2):
        await speak(tape, *[b"x" * 8 for _ in range(20)])
    with pytest.raises(ConnectionError):
        await playing


async def test_a_reply_that_does_not_begin_is_not_waited_for_long() -> None:
    assert await Tape(10).begun(0.01) is False
