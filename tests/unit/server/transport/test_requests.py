"""What of a request's head is taken, and what is not."""

from __future__ import annotations

import pytest

from watchkeeper.server.transport.requests import Bad, Framing, check_field, framing_of, target_of

LENGTH, CHUNKED = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        ([], Framing(0, False, False)),
        ([LENGTH], Framing(5, False, False)),
        ([(b"content-length", b"0")], Framing(0, False, False)),
        ([CHUNKED], Framing(None, False, False)),
        ([(b"transfer-encoding", b"Chunked")], Framing(None, False, False)),
        ([LENGTH, (b"expect", b"100-Continue")], Framing(5, True, False)),
        ([(b"x-forwarded-for", b"10.0.0.1")], Framing(0, False, True)),
    ],
)
def test_a_plain_head_says_how_its_body_ends(headers: list[tuple[bytes, bytes]], framing: Framing) -> None:
    assert framing_of(headers, "1.1") == framing


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([LENGTH, LENGTH], "1.1", 400),
        ([LENGTH, CHUNKED], "1.1", 400),
        ([CHUNKED, LENGTH], "1.1", 400),
        ([CHUNKED, CHUNKED], "1.1", 501),
        ([CHUNKED], "1.0", 501),
        ([(b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([(b"content-length", b"")], "1.1", 400),
        ([(b"content-length", b"1_0")], "1.1", 400),
        ([(b"content-length", "５".encode())], "1.1", 400),
        ([(b"content-length", b"9" * 19)], "1.1", 400),
        ([(b"expect", b"a miracle")], "1.1", 417),
    ],
)
def test_a_head_with_two_readings_is_refused(headers: list[tuple[bytes, bytes]], version: str, status: int) -> None:
    with pytest.raises(Bad) as caught:
        framing_of(headers, version)
    assert caught.value.status == status and caught.value.sentence.endswith(".")


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\tb", "ä".encode(), b"a\x00", b"a" * 257])
def test_an_odd_name_is_refused(name: bytes) -> None:
    with pytest.raises(Bad):
        check_field(name, b"value")


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\nb", b"\x1b[0m", b"\x7f"])
def test_a_value_with_control_characters_is_refused(value: bytes) -> None:
    with pytest.raises(Bad):
        check_field(b"name", value)


@pytest.mark.parametrize("value", [b"", b"a\tb", "ä".encode(), b"\xff\xfe"])
def test_any_other_value_is_taken(value: bytes) -> None:
    check_field(b"x-name", value)


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a?b=c?d", "/a", b"b=c?d"),
        (b"http://host:1/a?b", "/a", b"b"),
        (b"/%C3%A4", "/ä", b""),
        (b"/a%2Fb", "/a/b", b""),
        (b"/" + b"a" * 5000, "/" + "a" * 5000, b""),
    ],
)
def test_a_target_is_read_into_its_parts(url: bytes, path: str, query: bytes) -> None:
    target = target_of(url)
    assert (target.path, target.query) == (path, query)


@pytest.mark.parametrize("url", [b"", b"host:443", "/ä".encode()])
def test_a_target_that_is_none_is_refused(url: bytes) -> None:
    with pytest.raises(Bad):
        target_of(url)
