"""A payload kept in the journal: the addresses of the chunks that, joined, are its exact bytes."""

from __future__ import annotations

from watchkeeper.records.record import Record


class Address(Record, array_like=True, omit_defaults=False):
    """Where one chunk lies: its keyed digest (32 hex digits) and its place (writer, segment, offset in bytes)."""

    digest: str
    writer: str
    segment: int
    offset: int


class Body(Record):
    """The bytes of one payload of a span.

    `name` says what it is: "request" (as the client sent it), "sent" (as it was sent on, only when it differs),
    "reply" (as the upstream answered), "messages.input", "tool.arguments", "feedback.diff" ... `size_bytes` is the
    length of all chunks joined. `media` is the content type. `redactions` is how many places were replaced at capture,
    by the rules `redacted_by`: with none, these are the very bytes that passed.
    """

    name: str
    size_bytes: int
    chunks: tuple[Address, ...] = ()
    media: str = "application/json"
    redactions: int = 0
    redacted_by: tuple[str, ...] = ()
