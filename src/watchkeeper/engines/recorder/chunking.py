"""Where to cut a payload so that a history that is sent again is stored once."""

from __future__ import annotations

import re

import msgspec

SMALLEST_CHUNK_BYTES = 1024


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw] = []


_GAP = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_decoder = msgspec.json.Decoder(_Messages)


def cut(data: bytes) -> list[bytes]:
    """Cut a chat request after its messages; anything else stays whole. Joining the pieces gives `data` again.

    Each piece ends where a message ends, so the pieces of a conversation that grew by a message begin with
    those of the one before. Pieces are gathered from the left until they hold `SMALLEST_CHUNK_BYTES`; what follows
    the last message (model, tools, parameters) is a piece of its own.
    """
    if len(data) < 2 * SMALLEST_CHUNK_BYTES or data.lstrip()[:1] != b"{":
        return [data]
    try:
        messages = _decoder.decode(data).messages
    except msgspec.MsgspecError:
        return [data]
    pieces: list[bytes] = []
    begin = at = 0
    for message in messages:
        raw = bytes(message)
        gap = _GAP.match(data, at)
        found = gap.end() if gap is not None else at
        if not data.startswith(raw, found):  # the first, behind whatever stands before the list
            found = data.find(raw, at)
            if found < 0:
                break
        at = found + len(raw)
        if at - begin >= SMALLEST_CHUNK_BYTES:
            pieces.append(data[begin:at])
            begin = at
    if at > begin:
        pieces.append(data[begin:at])
    if at < len(data):
        pieces.append(data[at:])
    return pieces
