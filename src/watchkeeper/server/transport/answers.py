"""How an answer is written: its head, and its body by length, in chunks, or up to the end of the connection."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from watchkeeper.server.transport.requests import Header

_LAST = b"0\r\n\r\n"


class Answer:
    """The answer to one request as it is written. `keep` is whether the connection stays open behind it."""

    __slots__ = ("_chunked", "_head", "_left", "_silent", "_version", "begun", "keep", "whole")

    def __init__(self, method: str, version: str, keep: bool) -> None:
        self.keep = keep
        self.begun = self.whole = False
        self._version = version
        self._head = b""
        self._left: int | None = None
        self._chunked = False
        self._silent = method == "HEAD"

    @property
    def open_ended(self) -> bool:
        """Whether its body, as far as it was announced, ends where the connection ends."""
        return self.begun and not (self._chunked or self._silent or self._left is not None)

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """Take the head; it is written with the first part of the body. Raises `ValueError` for a head that is none."""
        if self.begun:
            raise RuntimeError("an answer has begun already")
        self.begun = True
        lines = [_status_line(status)]
        length: int | None = None
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                length = int(value)
                if status < 200 or status == 204:
                    continue
            elif lower == b"transfer-encoding":
                continue  # how it is sent is ours to say
            elif lower == b"connection":
                if value.lower() == b"close":
                    self.keep = False
                continue
            lines.append(b"%b: %b\r\n" % (lower, value))
        expected = len(lines)
        if status in (204, 304) or status < 200:
            self._silent = True
        elif length is None and not self._silent:
            if self._version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep = False
        if not self.keep:
            lines.append(b"connection: close\r\n")
        elif self._version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\x00" in head:
            self._head = b""
            raise ValueError(f"a header of the answer holds a line break ({expected} lines)")
        self._left = length if not self._chunked else None

    def body(self, data: bytes, more: bool) -> bytes:
        """The bytes to write for a part of the body; raises `ValueError` for more than the head announced."""
        if not self.begun or self.whole:
            raise RuntimeError("a body was sent without a head before it, or after its end")
        head, self._head = self._head, b""
        if not more:
            self.whole = True
        if self._silent:
            return head
        if self._chunked:
            if not more:
                return b"%b%x\r\n%b\r\n%b" % (head, len(data), data, _LAST) if data else head + _LAST
            return b"%b%x\r\n%b\r\n" % (head, len(data), data) if data else head
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                self.whole = False
                raise ValueError("the body of an answer is not as long as its head says")
        return head + data if head else data

    def whole_of(self, status: int, body: bytes) -> bytes:
        """A whole answer in JSON."""
        self.start(status, _fields(body))
        return self.body(body, False)


def plain_answer(status: int, body: bytes) -> bytes:
    """An answer in JSON after which the connection is closed, for a request that could not be read."""
    return Answer("GET", "1.1", False).whole_of(status, body)


def _fields(body: bytes) -> list[Header]:
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    if not 200 <= status <= 999:
        raise ValueError(f"{status} is no status of a final answer")
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")
