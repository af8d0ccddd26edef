"""The owner's key is taken out of what an upstream says, however the bytes are cut."""

from __future__ import annotations

import pytest

from tests.unit.engines.gateway.stage import spec
from watchkeeper.engines.gateway.upstream import Reply, begun_by

pytestmark = pytest.mark.anyio
SECRET = b"sk-abcabcabd"


class Pieces:
    """An upstream's answer in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.status = 200
        self.raw_headers = ((b"X-Told", SECRET),)
        self._pieces = list(pieces)

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        """Nothing is open."""


async def _read(data: bytes, size: int) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    reply = Reply(Pieces(*pieces), spec("http://127.0.0.1:1"), 0, SECRET)
    assert reply.headers == [(b"x-told", b"[withheld]")]
    got = b""
    while piece := await reply.next():
        got += piece
    return got


@pytest.mark.parametrize("size", range(1, 30))
async def test_a_key_is_withheld_wherever_it_is_cut(size: int) -> None:
    said = b"sk-abcsk-abcabcabc " + SECRET + SECRET + b" and sk-abcabcab"
    assert await _read(said, size) == said.replace(SECRET, b"[withheld]")


@pytest.mark.parametrize(
    ("data", "begun"), [(b"", 0), (b"data: x\n\n", 0), (b"xs", 1), (b"xsk-abc", 6), (b"sk-abcabc", 9), (b"sk-x", 0)]
)
def test_no_more_is_held_back_than_may_begin_a_key(data: bytes, begun: int) -> None:
    assert begun_by(data, SECRET) == begun
