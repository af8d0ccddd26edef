"""How answers are written: framing, and heads that nobody can break out of."""

from __future__ import annotations

import pytest

from watchkeeper.server.transport.answers import Answer, plain_answer


def made(method: str = "GET", version: str = "1.1", keep: bool = True) -> Answer:
    return Answer(method, version, keep)


def test_an_answer_with_a_length_is_written_as_it_is() -> None:
    answer = made()
    answer.start(200, [(b"Content-Length", b"2")])
    assert answer.body(b"hi", False) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    assert answer.whole and answer.keep


def test_an_answer_without_a_length_comes_in_chunks() -> None:
    answer = made()
    answer.start(200, [])
    assert answer.body(b"hi", True).endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
    assert answer.body(b"", True) == b"", "an empty chunk would end the body"
    assert answer.body(b"", False) == b"0\r\n\r\n"


def test_an_old_client_gets_the_body_up_to_the_end_of_the_connection() -> None:
    answer = made(version="1.0")
    answer.start(200, [])
    assert answer.body(b"hi", False) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi" and not answer.keep


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_where_no_body_belongs_none_is_written(method: str, status: int) -> None:
    answer = made(method)
    answer.start(status, [])
    assert answer.body(b"body", False).endswith(b"\r\n\r\n") and answer.whole


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\x00b"])
def test_a_header_cannot_break_out_of_its_line(value: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        made().start(200, [(b"x", value)])


@pytest.mark.parametrize(("data", "more"), [(b"three", False), (b"o", False)])
def test_a_body_of_another_length_than_announced_is_an_error(data: bytes, more: bool) -> None:
    answer = made()
    answer.start(200, [(b"content-length", b"2")])
    with pytest.raises(ValueError, match="as long as"):
        answer.body(data, more)
    assert not answer.whole


def test_how_an_answer_is_framed_is_not_the_apps_to_say() -> None:
    answer = made()
    answer.start(200, [(b"transfer-encoding", b"gzip"), (b"connection", b"close"), (b"content-length", b"0")])
    assert answer.body(b"", False) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def test_an_answer_begins_once_and_ends_once() -> None:
    answer = made()
    with pytest.raises(RuntimeError):
        answer.body(b"", False)
    answer.start(200, [])
    with pytest.raises(RuntimeError):
        answer.start(200, [])
    answer.body(b"", False)
    with pytest.raises(RuntimeError):
        answer.body(b"", False)


def test_an_unknown_status_has_no_phrase_and_an_interim_one_is_refused() -> None:
    answer = made()
    answer.start(599, [(b"content-length", b"0")])
    assert answer.body(b"", False).startswith(b"HTTP/1.1 599 \r\n")
    with pytest.raises(ValueError, match="final"):
        made().start(100, [])


def test_a_request_that_could_not_be_read_is_told_so_and_the_connection_closed() -> None:
    assert plain_answer(400, b"{}").startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close\r\n" in plain_answer(400, b"{}")
