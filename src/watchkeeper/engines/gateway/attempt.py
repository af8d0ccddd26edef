"""One try at a call under an idempotency key, as the call itself sees it."""

from __future__ import annotations

from watchkeeper.records.span import Span

MARK = "watchkeeper.idempotency"
"""The attribute of a call's span that names the attempt it was made in."""


class Attempt:
    """One try at a keyed call, from its claim to its end; the call's logbook notes in it what it writes.

    `asked` is whether the upstream may have been asked, `untouched` whether it certainly did no work.
    """

    __slots__ = ("asked", "name", "span", "untouched")

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = False
        self.untouched = False
        self.span: Span | None = None
