"""What a request's head must be like before anybody acts on it: one reading of its length, and nothing left open.

Two programs that read the same bytes differently can be made to see different requests (RFC 9112, section 11.2). So
what the standard lets a server repair is refused here: a length given twice or beside chunks, a coding other than
chunked, chunks in HTTP/1.0, control characters in a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import httptools

Header = tuple[bytes, bytes]

_LONGEST_LENGTH = 18
_LONGEST_NAME = 256
"""Names and targets are remembered: with a bound, so that nobody can fill the memory with odd ones."""
_CONTROLS = bytes(each for each in range(32) if each != 9) + b"\x7f"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Bad(Exception):
    """A request that cannot be answered on its merits: the status to refuse it with, and why in a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence


class Target(NamedTuple):
    """A request's target in the parts that ASGI wants."""

    path: str
    raw_path: bytes
    query: bytes


class Framing(NamedTuple):
    """How a request's body ends and what its head says of the connection. `length` None is a body in chunks."""

    length: int | None
    expects: bool
    forwarded: bool


def framing_of(headers: Sequence[Header], version: str) -> Framing:
    """Read what a head says of its body; `headers` have lower-case names. Raises `Bad` for what is not plain."""
    length: int | None = None
    chunked = expects = forwarded = False
    for name, value in headers:
        if name == b"content-length":
            if length is not None:
                raise Bad(400, "two_lengths", "The request gives its length twice. Send Content-Length once.")
            if not value.isdigit() or len(value) > _LONGEST_LENGTH:
                raise Bad(400, "bad_length", "Content-Length is not a number. Send a whole number.")
            length = int(value)
        elif name == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked" or version == "1.0":
                raise Bad(501, "unknown_coding", "The transfer coding is not known here. Send chunked, or a length.")
            chunked = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Bad(417, "expectation_failed", "Only the expectation 100-continue is met here.")
            expects = version != "1.0"
        elif name.startswith(b"x-forwarded-"):
            forwarded = True
    if chunked and length is not None:
        raise Bad(400, "two_framings", "The request gives a length and sends chunks. Send one of them.")
    return Framing(None if chunked else length or 0, expects, forwarded)


def check_field(name: bytes, value: bytes) -> None:
    """Raise `Bad` for a header that another program could read in another way: odd names, control characters."""
    if len(name) > _LONGEST_NAME:
        raise Bad(431, "name_too_long", f"A header's name has more than {_LONGEST_NAME} bytes.")
    if not _is_token(name):
        raise Bad(400, "bad_header", "A header's name holds characters that names do not have.")
    if value.translate(None, _CONTROLS) != value:
        raise Bad(400, "bad_header", "A header's value holds control characters. Send it without them.")


@lru_cache(maxsize=1024)
def _is_token(name: bytes) -> bool:
    return bool(name) and all(each in _TOKEN for each in name)


def target_of(url: bytes) -> Target:
    """A request's target in parts; raises `Bad` when it is none."""
    return _target(url) if len(url) <= _LONGEST_NAME else _parsed(url)


def _parsed(url: bytes) -> Target:
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise Bad(400, "bad_target", "The request's target is not one. Send a path.") from error
    raw = parsed.path or b"/"
    try:
        path = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise Bad(400, "bad_target", "The request's path holds bytes that are not ASCII. Write them as %XX.") from error
    return Target(unquote(path) if "%" in path else path, raw, parsed.query or b"")


_target = lru_cache(maxsize=512)(_parsed)
