"""What every HTTP layer towards upstreams must do with upstreams that lie, break off or show a wrong name."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import logging
import os
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict

from tests.conformance.wire import Say, answering, upstream
from watchkeeper.engines.gateway.errors import UpstreamFailure
from watchkeeper.engines.gateway.settings import Transport, UpstreamSpec
from watchkeeper.engines.gateway.upstream import Reply, Upstream

CARRIERS: tuple[Transport, ...] = ("native", "libraries")
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", CARRIERS)]

SEED, TRIES = int(os.environ.get("WATCHKEEPER_FUZZ_SEED", "21")), int(os.environ.get("WATCHKEEPER_FUZZ_TRIES", "200"))
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the gateway runs on."""
    return "asyncio", {"use_uvloop": True}


@asynccontextmanager
async def client(kind: Transport, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """The client side of a gateway."""
    made = Upstream(kind, tls)
    try:
        yield made
    finally:
        await made.close()


async def ask(
    made: Upstream, port: int, method: str = "POST", body: bytes = b"{}", base: str = "http://127.0.0.1", **spec: Any
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Ask and read to the end: status, headers, body."""
    given = {"timeout_s": 3.0, "connect_timeout_s": 1.0, **spec}
    where = UpstreamSpec(name="main", base_url=f"{base}:{port}/v1", credential="none", **given)
    reply = await made.ask(where, method, "/chat", CIMultiDict({"x-one": "1"}), body)
    return reply.status, dict(reply.headers), await _read(reply)


async def _read(reply: Reply) -> bytes:
    pieces = []
    try:
        while data := await reply.next():
            pieces.append(data)
    finally:
        reply.close()
    return b"".join(pieces)


async def fails(kind: Transport, script: Say, method: str = "POST", **spec: Any) -> UpstreamFailure:
    """How a call to such an upstream fails."""
    async with upstream(script) as there, client(kind) as made:
        with pytest.raises(UpstreamFailure) as caught:
            await ask(made, there.port, method, **spec)
        return caught.value


async def test_a_request_arrives_as_it_was_meant(kind: Transport) -> None:
    async with upstream(answering(WHOLE)) as there, client(kind) as made:
        assert (await ask(made, there.port, body=b'{"a": 1}'))[::2] == (200, b"hello")
        head, _, body = there.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /v1/chat HTTP/1.1" and body == b'{"a": 1}'
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        assert fields["host"] == f"127.0.0.1:{there.port}" and fields["x-one"] == "1"
        assert fields["content-length"] == "8" and "transfer-encoding" not in fields


async def test_a_connection_carries_one_request_after_the_other(kind: Transport) -> None:
    async with upstream(answering(WHOLE)) as there, client(kind) as made:
        for _ in range(5):
            assert (await ask(made, there.port))[2] == b"hello"
        assert there.connections == 1 and len(there.requests) == 5


async def test_a_reply_in_pieces_of_one_byte_is_the_same_reply(kind: Transport) -> None:
    whole = CHUNKED + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
    async with upstream(answering(*(bytes((each,)) for each in whole), pause_s=0.0005)) as there, client(kind) as made:
        for _ in range(2):
            assert (await ask(made, there.port))[2] == b"hello"
        assert there.connections == 1


async def test_a_trailer_is_no_header(kind: Transport) -> None:
    async with upstream(answering(CHUNKED + b"1\r\na\r\n0\r\nx-late: 1\r\n\r\n")) as there, client(kind) as made:
        _, headers, body = await ask(made, there.port)
        assert body == b"a" and b"x-late" not in headers


async def test_a_reply_without_a_length_ends_with_its_connection(kind: Transport) -> None:
    async with upstream(answering(OK + b"\r\n", b"hel", b"lo", close=True)) as there, client(kind) as made:
        assert (await ask(made, there.port))[2] == b"hello"


async def test_an_interim_answer_is_passed_over(kind: Transport) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with upstream(answering(interim + WHOLE)) as there, client(kind) as made:
        status, headers, body = await ask(made, there.port)
        assert (status, body) == (200, b"hello") and b"link" not in headers


async def test_replies_without_a_body_end_at_once(kind: Transport) -> None:
    for head in (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"):
        async with upstream(answering(head)) as there, client(kind) as made:
            assert (await ask(made, there.port, "GET", b""))[2] == b""
    async with upstream(answering(OK + b"content-length: 900\r\n\r\n")) as there, client(kind) as made:
        for _ in range(2):
            assert (await ask(made, there.port, "HEAD", b""))[::2] == (200, b"")


async def test_an_upstream_that_says_to_close_is_not_asked_again_on_that_connection(kind: Transport) -> None:
    closing = WHOLE.replace(b"content-length", b"connection: close\r\ncontent-length")
    for reply in (closing, WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")):
        async with upstream(answering(reply)) as there, client(kind) as made:
            for _ in range(2):
                assert (await ask(made, there.port))[2] == b"hello"
            assert there.connections == 2


async def test_what_follows_on_a_reply_is_never_the_answer_to_the_next_request(kind: Transport) -> None:
    planted = WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    async with upstream(answering(planted)) as there, client(kind) as made:
        for _ in range(3):
            assert (await ask(made, there.port))[2] == b"hello"
            await asyncio.sleep(0.02)


async def test_bytes_that_come_while_nothing_was_asked_end_the_connection(kind: Transport) -> None:
    if kind == "libraries":
        pytest.skip("aiohttp takes them for the answer to the next request")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        await writer.drain()
        await asyncio.sleep(0.03)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")

    async with upstream(script) as there, client(kind) as made:
        assert (await ask(made, there.port))[2] == b"hello"
        await asyncio.sleep(0.1)
        assert (await ask(made, there.port))[2] == b"hello"
        assert there.connections == 2


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((OK + b"content-length: 50\r\n\r\nhello",), id="a length that is too long"),
        pytest.param((CHUNKED + b"5\r\nhel",), id="a chunk that breaks off"),
        pytest.param((CHUNKED + b"5\r\nhello\r\n",), id="no last chunk"),
        pytest.param((CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",), id="a chunk whose size is no number"),
        pytest.param((CHUNKED + b"fffffffffffffffff\r\nhello\r\n",), id="a chunk of 68 bits"),
        pytest.param((b"HTTP/1.1 200 OK\r\nx: y",), id="half a head"),
        pytest.param((b"",), id="nothing"),
        pytest.param((b"\x16\x03\x01 garbage \x00\xff\r\n\r\n",), id="garbage"),
        pytest.param((b"SSH-2.0-OpenSSH_9.2\r\n",), id="another protocol"),
        pytest.param((b"HTTP/1.1 abc OK\r\n\r\n",), id="a status that is none"),
        pytest.param((b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",), id="101"),
        pytest.param((OK + b"content-length: -5\r\n\r\nhello",), id="a negative length"),
        pytest.param((OK + b"content-length: five\r\n\r\nhello",), id="a length in words"),
        pytest.param((OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",), id="two lengths"),
        pytest.param((b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",), id="a header without a colon"),
    ],
)
async def test_a_reply_that_is_none_is_a_failure_that_says_so(kind: Transport, pieces: tuple[bytes, ...]) -> None:
    if kind == "libraries" and b" 101 " in pieces[0]:
        pytest.skip("aiohttp gives the switch to its caller, who passes it on as a status")
    failure = await fails(kind, answering(*pieces, close=True))
    assert (failure.status, failure.code, failure.sent) == (502, "upstream_disconnected", True)


async def test_a_length_beside_chunks_is_refused(kind: Transport) -> None:
    if kind == "libraries":
        pytest.skip("aiohttp takes the chunks, as RFC 9112 allows, and closes nothing")
    both = OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert (await fails(kind, answering(both))).code == "upstream_disconnected"


@pytest.mark.parametrize(
    "flood",
    [b"x: " + b"a" * 2_000_000, b"x: y\r\n" * 300_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000],
    ids=["one header", "many headers", "many interim answers"],
)
async def test_a_head_is_bounded(kind: Transport, flood: bytes) -> None:
    if kind == "libraries" and flood.startswith(b"HTTP"):
        pytest.skip("aiohttp passes over any number of interim answers")
    head = b"" if flood.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
    assert (await fails(kind, answering(head + flood))).code == "upstream_disconnected"


async def test_trailers_and_extensions_are_bounded(kind: Transport) -> None:
    if kind == "libraries":
        pytest.skip("aiohttp bounds them by the length of a line")
    for flood in (b"1;" + b"a" * 2_000_000, b"0\r\nx: " + b"a" * 2_000_000):
        assert (await fails(kind, answering(CHUNKED + flood))).code == "upstream_disconnected"


async def test_nobody_there_is_told_from_an_upstream_that_broke_off(kind: Transport) -> None:
    async with client(kind) as made:
        with pytest.raises(UpstreamFailure) as caught:
            await ask(made, 9)
        assert (caught.value.status, caught.value.code, caught.value.sent) == (502, "upstream_unreachable", False)


async def test_an_upstream_that_is_silent_is_ended_in_time(kind: Transport) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    failure = await fails(kind, silent, timeout_s=0.2)
    assert (failure.status, failure.code, failure.sent) == (504, "upstream_timeout", True)


@pytest.mark.parametrize("begin", [CHUNKED + b"5\r\nhello\r\n", OK + b"content-length: 50\r\n\r\nhel"])
async def test_a_reply_that_stalls_is_ended_in_time(kind: Transport, begin: bytes) -> None:
    async def stalling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await writer.drain()
        await asyncio.sleep(5)

    assert (await fails(kind, stalling, timeout_s=0.3)).code == "upstream_timeout"


async def test_a_kept_connection_that_was_closed_is_not_used(kind: Transport) -> None:
    closing = False

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        await writer.drain()
        if closing:
            await asyncio.sleep(0.02)
            writer.close()

    async with upstream(script) as there, client(kind) as made:
        await ask(made, there.port)
        closing = True
        await ask(made, there.port)
        await asyncio.sleep(0.1)
        assert (await ask(made, there.port))[2] == b"hello"
        assert there.connections == 2


async def test_a_post_is_not_sent_twice_and_a_get_may_be(kind: Transport) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(there.requests) == 2:
            writer.transport.abort()
            return
        writer.write(WHOLE)

    for method, heard in (("POST", 2), ("GET", 3)):
        async with upstream(once) as there, client(kind) as made:
            await ask(made, there.port, method, b"")
            if method == "POST":
                with pytest.raises(UpstreamFailure):
                    await ask(made, there.port, method, b"")
            else:
                assert (await ask(made, there.port, method, b""))[2] == b"hello"
            assert len(there.requests) == heard


async def test_a_reply_that_nobody_reads_stops_its_upstream(kind: Transport) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(2000):
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()
            sent += 65_536
        writer.write(b"0\r\n\r\n")

    async with upstream(flood) as there, client(kind) as made:
        where = UpstreamSpec(name="main", base_url=f"http://127.0.0.1:{there.port}", credential="none", timeout_s=20)
        reply = await made.ask(where, "POST", "/chat", CIMultiDict(), b"{}")
        await asyncio.sleep(0.3)
        before = sent
        await asyncio.sleep(0.2)
        assert sent == before < 32 << 20
        assert len(await _read(reply)) == 2000 * 65_536


async def test_a_reply_that_is_given_up_closes_its_connection(kind: Transport) -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        await reader.read()
        gone.set()
        writer.close()

    async with upstream(endless) as there, client(kind) as made:
        where = UpstreamSpec(name="main", base_url=f"http://127.0.0.1:{there.port}", credential="none")
        reply = await made.ask(where, "POST", "/chat", CIMultiDict(), b"{}")
        assert await reply.next() == b"hello"
        reply.close()
        await asyncio.wait_for(gone.wait(), 3)


async def test_a_call_that_is_cancelled_closes_its_connection(kind: Transport) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    async with upstream(silent) as there, client(kind) as made:
        calling = asyncio.create_task(ask(made, there.port))
        while not there.requests:
            await asyncio.sleep(0.01)
        calling.cancel()
        await asyncio.wait_for(gone.wait(), 3)
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_large_bodies_go_both_ways(kind: Transport) -> None:
    body = random.Random(3).randbytes(20 << 20)
    reply = OK + b"content-length: %d\r\n\r\n" % len(body) + body
    async with upstream(answering(reply)) as there, client(kind) as made:
        assert (await ask(made, there.port, body=body, timeout_s=30))[2] == body
        assert there.requests[0].endswith(body[-1000:]) and len(there.requests[0]) > len(body)


async def test_an_answer_before_the_request_was_read_is_taken(kind: Transport) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    async with client(kind) as made:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(made, port, body=bytes(30 << 20)))[::2] == (413, b"no")
    server.close()


async def test_a_header_cannot_break_out_of_its_line(kind: Transport) -> None:
    async with upstream(answering(WHOLE)) as there, client(kind) as made:
        where = UpstreamSpec(name="main", base_url=f"http://127.0.0.1:{there.port}", credential="none")
        with pytest.raises(ValueError):
            await made.ask(where, "POST", "/chat", CIMultiDict({"x": "a\r\ny: b"}), b"{}")
        assert not there.requests


async def test_many_calls_at_once_do_not_mix(kind: Transport) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = there.requests[-1].rpartition(b"\r\n\r\n")[2]
        await asyncio.sleep(random.random() * 0.01)
        writer.write(OK + b"content-length: %d\r\n\r\n" % len(said) + said)

    async with upstream(echo) as there, client(kind) as made:
        asked = [str(each).encode() * 3 for each in range(80)]
        replies = await asyncio.gather(*(ask(made, there.port, body=each) for each in asked))
        assert [body for _, _, body in replies] == asked


async def test_a_reply_that_unpacks_to_very_much_comes_in_small_pieces(kind: Transport) -> None:
    packed = gzip.compress(bytes(64 << 20))
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with upstream(answering(head + packed)) as there, client(kind) as made:
        where = UpstreamSpec(name="main", base_url=f"http://127.0.0.1:{there.port}", credential="none", timeout_s=20)
        reply = await made.ask(where, "POST", "/chat", CIMultiDict(), b"{}")
        sizes = []
        while data := await reply.next():
            sizes.append(len(data))
        assert sum(sizes) == 64 << 20 and max(sizes) <= 1 << 20


# --- TLS ------------------------------------------------------------------------------------------------------------


def _certificate(
    folder: Path, name: str, days: int, issuer: tuple[Any, Any] | None, sign: bool = False
) -> tuple[Any, Any]:
    """A certificate for a host name, signed by an issuer or by itself; written to `folder` with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=sign, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made, key


def _serving(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem")
    return context


async def test_only_a_certificate_of_a_known_authority_for_the_right_name_and_day_is_taken(
    kind: Transport, tmp_path: Path
) -> None:
    authority = _certificate(tmp_path, "authority", 30, None, sign=True)
    _certificate(tmp_path, "localhost", 30, authority)
    _certificate(tmp_path, "elsewhere.test", 30, authority)
    trusted = ssl.create_default_context(cadata=authority[0].public_bytes(serialization.Encoding.PEM).decode())
    old, unknown = tmp_path / "old", tmp_path / "unknown"
    for folder, days, issuer in ((old, -1, authority), (unknown, 30, None)):
        folder.mkdir()
        _certificate(folder, "localhost", days, issuer)
    async with client(kind, trusted) as made:
        async with upstream(answering(WHOLE), _serving(tmp_path, "localhost")) as there:
            for _ in range(2):
                assert (await ask(made, there.port, base="https://localhost"))[2] == b"hello"
            assert there.connections == 1
        for folder, name in ((tmp_path, "elsewhere.test"), (old, "localhost"), (unknown, "localhost")):
            async with upstream(answering(WHOLE), _serving(folder, name)) as there:
                with pytest.raises(UpstreamFailure, match="certificate") as caught:
                    await ask(made, there.port, base="https://localhost")
                assert caught.value.code == "upstream_unreachable" and not caught.value.sent and not there.requests
    async with upstream(answering(WHOLE), _serving(tmp_path, "localhost")) as there, client(kind) as made:
        with pytest.raises(UpstreamFailure, match="certificate"):
            await ask(made, there.port, base="https://localhost")


async def test_mutilated_replies_never_break_the_client(kind: Transport, caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(SEED)
    whole = [WHOLE, CHUNKED + b"3;x\r\nhel\r\n2\r\nlo\r\n0\r\nt: u\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE]
    sent = b""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        writer.close()

    async with upstream(script) as there, client(kind) as made:
        for _ in range(TRIES):
            spoiled = bytearray(dice.choice(whole))
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(spoiled))
                spoiled[at : at + dice.randint(0, 3)] = dice.choice([b"", b"\x00", b"\r\n", b":", b"f", b"\xff", b"9"])
                spoiled = spoiled or bytearray(b"H")
            sent = bytes(spoiled)
            try:
                await ask(made, there.port, timeout_s=1.0)
            except UpstreamFailure as failure:
                assert failure.sent or failure.code == "upstream_unreachable"
        sent = WHOLE
        assert (await ask(made, there.port))[2] == b"hello"
    if kind == "native":
        assert not [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
