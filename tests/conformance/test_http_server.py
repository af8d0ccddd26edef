"""What every HTTP layer towards clients must do with clients that are odd, broken, slow or hostile."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import resource
from contextlib import AsyncExitStack

import pytest

from tests.conformance.wire import QUICK, SERVERS, Probe, line, serving, until
from watchkeeper.server.transport.connection import Limits

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", SERVERS)]

GET = b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n"
SEED, TRIES = int(os.environ.get("WATCHKEEPER_FUZZ_SEED", "20")), int(os.environ.get("WATCHKEEPER_FUZZ_TRIES", "250"))
POST = b"POST /echo HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that servers run on."""
    return "asyncio", {"use_uvloop": True}


def own_only(kind: str, why: str) -> None:
    """Skip what the libraries do not do."""
    if kind == "libraries":
        pytest.skip(f"uvicorn: {why}")


async def test_a_request_in_pieces_of_one_byte_is_the_same_request(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(*(bytes((each,)) for each in POST + b"content-length: 5\r\nx: \t y \r\n\r\nhello"))
        status, _, body = await client.reply()
        said = json.loads(body)
        assert status == 200 and said["bytes"] == 5
        assert ["x", "y"] in [[name, value.strip()] for name, value in said["headers"]]


async def test_pipelined_requests_are_answered_in_their_order(kind: str) -> None:
    probe = Probe()
    async with serving(kind, probe) as port, line(port) as client:
        await client.say(b"".join(b"GET /echo/%d HTTP/1.1\r\nhost: a\r\n\r\n" % each for each in range(50)))
        paths = [json.loads((await client.reply())[2])["path"] for _ in range(50)]
        assert paths == [f"/echo/{each}" for each in range(50)]


async def test_pipelined_bodies_are_told_apart(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        one = POST + b"content-length: 300000\r\n\r\n" + b"a" * 300_000
        two = POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        await client.say(one + two + GET)
        assert [json.loads((await client.reply())[2])["bytes"] for _ in range(3)] == [300_000, 5, 0]


async def test_chunks_come_in_and_go_out(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(
            POST.replace(b"/echo", b"/pieces")
            + b"transfer-encoding: chunked\r\n\r\n3;name=value\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"
        )
        status, headers, body = await client.reply()
        assert (status, body) == (200, b"one two three") and headers["transfer-encoding"] == "chunked"
        await client.say(GET)
        assert (await client.reply())[0] == 200, "the connection goes on behind chunks and trailers"


async def test_a_trailer_never_becomes_a_header(kind: str) -> None:
    own_only(kind, "adds trailers to the headers of the request that is being answered")
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nauthorization: Bearer b\r\n\r\n")
        _, _, body = await client.reply()
        assert "authorization" not in {name for name, _ in json.loads(body)["headers"]}


async def test_a_client_that_waits_to_be_told_is_told_to_go_on(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(POST + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert (await client.reply())[0] == 100
        await client.say(b"hello")
        status, _, body = await client.reply()
        assert status == 200 and json.loads(body)["bytes"] == 5


async def test_a_refusal_does_not_ask_for_the_body(kind: str) -> None:
    async with serving(kind, Probe(), QUICK) as port, line(port) as client:
        await client.say(POST.replace(b"/echo", b"/refuse") + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
        status, _, _ = await client.reply()
        assert status == 413
        if (
            kind == "native"
        ):  # nobody can know whether the body still comes, so what follows must not be read as a request
            assert await client.rest() == b""


async def test_an_answer_before_the_end_of_a_body_reaches_the_client(kind: str) -> None:
    probe = Probe()
    async with serving(kind, probe) as port, line(port) as client:
        body = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n" * 10_000
        sending = asyncio.create_task(
            client.say(POST.replace(b"/echo", b"/refuse") + b"content-length: %d\r\n\r\n" % len(body), body)
        )
        assert (await client.reply())[0] == 413
        await sending
        assert not [each for each in probe.paths if "smuggled" in each]


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello", id="the same length twice"),
        pytest.param(POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", id="two lengths"),
        pytest.param(POST + b"content-length: 5, 5\r\n\r\nhello", id="a list of lengths"),
        pytest.param(POST + b"content-length: +5\r\n\r\nhello", id="a sign before a length"),
        pytest.param(POST + b"content-length: 0x5\r\n\r\nhello", id="a length in hex"),
        pytest.param(POST + b"content-length: 99999999999999999999\r\n\r\n", id="a length of more than 64 bits"),
        pytest.param(POST + b"content-length: -1\r\n\r\n", id="a negative length"),
        pytest.param(
            POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunks"
        ),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", id="chunks and a length"
        ),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="te twice"
        ),
        pytest.param(POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="another coding before chunks"),
        pytest.param(POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="a coding after chunks"),
        pytest.param(POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", id="a coding that is like chunked"),
        pytest.param(POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", id="a space before the colon"),
        pytest.param(POST + b"content-length\t: 5\r\n\r\nhello", id="a tab before the colon"),
        pytest.param(POST + b" content-length: 5\r\n\r\nhello", id="a space before the first name"),
        pytest.param(POST + b"x: y\r\n z\r\ncontent-length: 5\r\n\r\nhello", id="a folded line"),
        pytest.param(POST + b"x: y\n\r\n", id="a bare line feed"),
        pytest.param(b"POST /echo HTTP/1.1\nhost: a\ncontent-length: 5\n\nhello", id="bare line feeds all through"),
        pytest.param(POST + b"x: a\rb\r\n\r\n", id="a bare carriage return"),
        pytest.param(POST + b"x: a\x00b\r\n\r\n", id="a zero byte in a value"),
        pytest.param(POST + b"x\x00y: b\r\n\r\n", id="a zero byte in a name"),
        pytest.param(POST + b"x y: b\r\n\r\n", id="a space in a name"),
        pytest.param(POST + b": b\r\n\r\n", id="no name"),
        pytest.param(POST + b"no colon\r\n\r\n", id="no colon"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\na", id="a chunk of 68 bits"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n-1\r\na\r\n", id="a negative chunk"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n", id="a chunk's size with 0x"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n1 \r\na\r\n", id="a space behind a chunk's size"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n1\na\n0\n\n", id="chunks with bare line feeds"),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", id="more than the chunk's size"
        ),
        pytest.param(b"GET /echo HTTP/1.1\r\n\x00host: a\r\n\r\n", id="a zero byte before the first name"),
        pytest.param(b"GET  /echo HTTP/1.1\r\nhost: a\r\n\r\n"[:3] + b"\x00 / HTTP/1.1\r\n\r\n", id="a broken method"),
        pytest.param(b"G\xc3\x84T / HTTP/1.1\r\nhost: a\r\n\r\n", id="a method in Unicode"),
        pytest.param(b"GET /echo HTTP/3.7\r\nhost: a\r\n\r\n", id="a version that is none"),
        pytest.param(b"GET /echo\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="the preface of HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, id="TLS on a plain port"),
        pytest.param(b"\r\n" * 40_000 + b"\x00", id="blank lines and then nothing"),
    ],
)
async def test_a_request_with_two_readings_is_refused_and_nothing_behind_it_is_read(
    kind: str, request_bytes: bytes
) -> None:
    probe = Probe()
    async with serving(kind, probe) as port, line(port) as client:
        if any(each in request_bytes for each in TAKEN_BY_UVICORN):
            own_only(kind, "takes it")
        await client.say(request_bytes + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        rest = await client.rest()
        assert not [each for each in probe.paths if "smuggled" in each]
        statuses = [each[:12] for each in rest.split(b"\r\n") if each.startswith(b"HTTP/1.1 ")]
        assert all(each[9:12] in (b"400", b"431", b"501", b"505") for each in statuses) and len(statuses) <= 1
        assert statuses or not probe.paths or b"chunked" in request_bytes


TAKEN_BY_UVICORN = (b"gzip, chunked", b"GET /echo\r\n\r\n")


async def test_headers_are_bounded_in_number(kind: str) -> None:
    own_only(kind, "takes any number of headers")
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(b"GET /echo HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 500 + b"\r\n")
        assert (await client.reply())[0] == 431


@pytest.mark.parametrize(
    "part",
    [b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"a" * 200_000],
)
async def test_a_head_is_bounded_in_bytes_however_it_is_filled(kind: str, part: bytes) -> None:
    own_only(kind, "takes a head of any size")
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(part)
        assert (await client.reply())[0] in (400, 431)
        assert await client.rest() == b""


async def test_chunk_extensions_and_trailers_are_bounded(kind: str) -> None:
    own_only(kind, "takes trailers of any size")
    for flood in (b"1;" + b"a" * 200_000, b"0\r\nx: " + b"a" * 200_000, b"0\r\n" + b"x: y\r\n" * 40_000):
        async with serving(kind, Probe()) as port, line(port) as client:
            await client.say(POST + b"transfer-encoding: chunked\r\n\r\n" + flood)
            rest = await client.rest()
            assert rest == b"" or b" 200 " not in rest.split(b"\r\n")[0]


async def test_an_idle_connection_is_closed_in_time(kind: str) -> None:
    own_only(kind, "its time for that is fixed when it starts")
    async with serving(kind, Probe(), QUICK) as port, line(port) as client:
        await client.say(GET)
        assert (await client.reply())[0] == 200
        assert await client.rest() == b""


@pytest.mark.parametrize("start", [b"", b"GET /echo", b"GET /echo HTTP/1.1\r\nhost: a\r\nx: "])
async def test_a_head_that_trickles_is_ended_in_time(kind: str, start: bytes) -> None:
    own_only(kind, "waits for a head for ever")
    probe = Probe()
    async with serving(kind, probe, QUICK) as port, line(port) as client:
        await client.say(start)
        rest = asyncio.create_task(client.rest())
        for _ in range(20 if start else 0):
            await client.say(b"a", pause_s=0.05)
        ended = await rest
        assert ended == b"" or ended.startswith(b"HTTP/1.1 408")
        assert not probe.paths


async def test_a_body_that_stalls_is_ended_in_time(kind: str) -> None:
    own_only(kind, "waits for a body for ever")
    async with serving(kind, Probe(), QUICK) as port, line(port) as client:
        await client.say(POST + b"content-length: 10\r\n\r\nhal")
        assert b" 200 " not in await client.rest()


async def test_a_client_that_reads_nothing_holds_little_memory_and_is_noticed(kind: str) -> None:
    probe = Probe()
    async with serving(kind, probe, Limits()) as port, line(port) as client:
        await client.say(POST.replace(b"/echo", b"/endless") + b"content-length: 0\r\n\r\n")
        await until(lambda: probe.sent_bytes > 0)
        await asyncio.sleep(0.2)
        before = probe.sent_bytes
        await asyncio.sleep(0.2)
        assert probe.sent_bytes == before, "the app goes on although nobody reads"
        assert before < 32 << 20  # what the kernel holds of it for both sides, and a little
        client.writer.transport.abort()
        await until(lambda: probe.left == ["/endless"])


async def test_a_client_that_never_reads_is_ended_in_time(kind: str) -> None:
    own_only(kind, "waits for ever")
    probe = Probe()
    async with serving(kind, probe, QUICK) as port, line(port) as client:
        await client.say(POST.replace(b"/echo", b"/endless") + b"content-length: 0\r\n\r\n")
        await until(lambda: probe.left == ["/endless"])


@pytest.mark.parametrize("half", [True, False], ids=["half", "wholly"])
async def test_a_client_that_leaves_while_it_waits_is_noticed(kind: str, half: bool) -> None:
    probe = Probe()
    async with serving(kind, probe) as port, line(port) as client:
        await client.say(POST.replace(b"/echo", b"/wait") + b"content-length: 2\r\n\r\n{}")
        await until(lambda: bool(probe.paths))
        if half:
            client.writer.write_eof()
        else:
            client.writer.close()
        await until(lambda: probe.left == ["/wait"])
        assert await client.rest() == b""


async def test_a_client_that_leaves_within_its_body_is_noticed(kind: str) -> None:
    probe = Probe()
    async with serving(kind, probe) as port:
        async with line(port) as client:
            await client.say(POST.replace(b"/echo", b"/wait") + b"content-length: 20\r\n\r\nhalf")
            await until(lambda: bool(probe.paths))
        await until(lambda: probe.left == ["/wait"])


async def test_a_hundred_megabytes_arrive_whole_and_wait_for_nobody(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        piece = random.Random(1).randbytes(1 << 20)
        await client.say(POST + b"content-length: %d\r\n\r\n" % (100 << 20), *([piece] * 100))
        status, _, body = await client.reply(within_s=30)
        assert status == 200 and json.loads(body)["bytes"] == 100 << 20


async def test_a_body_that_nobody_reads_is_not_kept(kind: str) -> None:
    class Deaf(Probe):
        async def _deaf(self, scope: object, receive: object, send: object) -> None:
            await self.let.wait()

    probe = Deaf()
    async with serving(kind, probe) as port, line(port) as client:
        sending = asyncio.create_task(
            client.say(POST.replace(b"/echo", b"/deaf") + b"content-length: %d\r\n\r\n" % (100 << 20), bytes(100 << 20))
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(0.3)
        assert not sending.done()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
        sending.cancel()
        client.writer.transport.abort()
        probe.let.set()


async def test_old_clients_are_understood(kind: str) -> None:
    async with serving(kind, Probe()) as port:
        async with line(port) as client:
            await client.say(b"POST /pieces HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
            status, headers, body = await client.reply()
            assert (status, body) == (200, b"one two three")
            assert kind == "libraries" or "transfer-encoding" not in headers  # uvicorn sends chunks to HTTP/1.0 too
        async with line(port) as client:
            await client.say(b"GET /echo HTTP/1.0\r\n\r\n")
            status, headers, _ = await client.reply()
            assert status == 200 and headers["connection"] == "close" and await client.rest() == b""
        if kind == "native":
            async with line(port) as client:
                await client.say(b"GET /echo HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
                assert (await client.reply())[1]["connection"] == "keep-alive"
                await client.say(b"GET /echo HTTP/1.0\r\n\r\n")
                assert (await client.reply())[0] == 200


async def test_a_head_request_gets_no_body(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        for path in (b"/echo", b"/pieces", b"/empty"):
            await client.say(b"HEAD %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            assert (await client.reply(head=True))[0] in (200, 204)
        await client.say(GET)
        assert json.loads((await client.reply())[2])["method"] == "GET"


async def test_other_methods_reach_the_app(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        for method in (b"OPTIONS", b"DELETE", b"PUT", b"PATCH"):
            await client.say(b"%b /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" % method)
            assert json.loads((await client.reply())[2])["method"] == method.decode()


async def test_an_empty_answer_has_no_body_and_the_connection_goes_on(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(GET.replace(b"/echo", b"/empty") + GET)
        assert (await client.reply())[0] == 204
        assert (await client.reply())[0] == 200


async def test_a_client_that_wants_to_close_is_closed_behind_its_answer(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        await client.say(b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        status, headers, _ = await client.reply()
        assert status == 200 and headers["connection"] == "close" and await client.rest() == b""


async def test_an_answer_that_breaks_off_is_seen_to_be_broken(kind: str) -> None:
    async with serving(kind, Probe()) as port:
        async with line(port) as client:
            await client.say(GET.replace(b"/echo", b"/abandon"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.reply()
        async with line(port) as client:
            await client.say(GET.replace(b"/echo", b"/fail"))
            assert (await client.reply())[0] == 500


async def test_an_upgrade_is_not_followed_and_the_request_is_answered(kind: str) -> None:
    h2c = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    async with serving(kind, Probe()) as port:
        async with line(port) as client:
            await client.say(b"GET /echo HTTP/1.1\r\nhost: a\r\n" + h2c + b"\r\n")
            assert (await client.reply())[0] == 200
        own_only(kind, "drops the body of such a request")
        async with line(port) as client:
            await client.say(POST + h2c + b"content-length: 5\r\n\r\nhello" + GET)
            assert json.loads((await client.reply())[2])["bytes"] == 5
            assert (await client.reply())[0] == 200
        async with line(port) as client:
            await client.say(POST + h2c + b"transfer-encoding: chunked\r\n\r\n", b"5\r\nhel", b"lo\r\n0\r\n\r\n", GET)
            assert json.loads((await client.reply())[2])["bytes"] == 5
            assert (await client.reply())[0] == 200


async def test_targets_come_in_all_their_forms(kind: str) -> None:
    async with serving(kind, Probe()) as port, line(port) as client:
        for target, path, query in (
            (b"/echo?a=b&c=%20", "/echo", "a=b&c=%20"),
            (b"http://a/echo?x", "/echo", "x"),
            (b"/echo/%C3%A4%2F?", "/echo/ä/", ""),
            (b"/echo//../x", "/echo//../x", ""),
        ):
            await client.say(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)
            said = json.loads((await client.reply())[2])
            assert (said["path"], said["query"]) == (path, query)


async def test_a_server_that_ends_lets_its_last_answer_out(kind: str) -> None:
    probe = Probe()
    async with AsyncExitStack() as stack:
        async with serving(kind, probe) as port:
            client = await stack.enter_async_context(line(port))
            await client.say(POST.replace(b"/echo", b"/wait") + b"content-length: 2\r\n\r\n{}")
            await until(lambda: bool(probe.paths))
            asyncio.get_running_loop().call_later(0.2, probe.let.set)
        assert (await client.reply())[0] == 200


async def test_mutilated_requests_never_break_the_server(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(SEED)
    whole = [
        GET,
        POST + b"content-length: 5\r\n\r\nhello",
        POST + b"transfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: u\r\n\r\n",
        POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
    ]
    probe = Probe()
    async with serving(kind, probe, QUICK) as port:
        for _ in range(TRIES):
            sent = bytearray(b"".join(dice.choices(whole, k=dice.randint(1, 3))))
            for _ in range(dice.randint(0, 4)):
                at = dice.randrange(len(sent))
                how = dice.random()
                if how < 0.4:
                    sent[at] = dice.randrange(256)
                elif how < 0.7:
                    del sent[at : at + dice.randint(1, 6)]
                else:
                    sent[at:at] = dice.choice([b"\r\n", b"\x00", b":", b" ", b"\n", b"ffffffff", b"chunked", b"\xff"])
                if not sent:
                    sent += b"G"
            async with line(port) as client:
                await client.say(bytes(sent[: dice.randint(1, len(sent))] if dice.random() < 0.4 else sent))
                client.writer.write_eof()
                rest = await client.rest()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 ")
        async with line(port) as client:
            await client.say(GET)
            assert (await client.reply())[0] == 200, "the server is well"
    if kind == "native":
        assert not [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
