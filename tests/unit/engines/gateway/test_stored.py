"""Calls about responses that are kept, and what hostile input of each dialect meets, in its own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.unit.engines.gateway.stage import (
    PlainCells,
    PlainChain,
    Scene,
    ScriptedUpstream,
    serving_upstream,
    spec,
    stage,
    streamed,
)
from watchkeeper.records.span import Operation, Status

pytestmark = pytest.mark.anyio
USED = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}


def response(status: str = "completed", usage: Any = USED, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "m", "output": [], "usage": usage, **more}


def answering(scene: Scene, *bodies: dict[str, Any]) -> None:
    """Answer with these bodies one after the other, the last one again and again."""
    waiting = list(bodies)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    scene.upstream.answer = answer


async def ask(scene: Scene, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    data = {"data": body} if isinstance(body, bytes) else {"json": body}
    if isinstance(body, bytes):
        given.setdefault("content-type", "application/json")
    async with scene.client.request(method, scene.url + path, headers=given, **data) as reply:
        return reply.status, await reply.json(content_type=None)


async def test_reading_cancelling_and_deleting_are_bound_to_nothing_and_creating_is_not() -> None:
    chain = PlainChain()
    async with stage(chain=chain) as scene:
        answering(scene, response())
        await ask(scene, "POST", "/v1/responses", {"model": "m", "input": "x", "max_output_tokens": 9})
        for method, path in (
            ("GET", "/v1/responses/resp_1"),
            ("GET", "/v1/responses/resp_1/input_items?limit=2"),
            ("POST", "/v1/responses/resp_1/cancel"),
            ("DELETE", "/v1/responses/resp_1"),
            ("POST", "/v1/conversations"),
        ):
            await ask(scene, method, path, {} if method == "POST" else None)
        first, *others = chain.asked
        assert first.bound is not None and first.bound.output_tokens == 9
        assert all(event.bound is not None and event.bound.nano_usd == 0 for event in others)
        assert [heard.path for heard in scene.upstream.heard][2] == "/v1/responses/resp_1/input_items?limit=2"
        assert {span.operation for span in scene.recorder.spans[2:]} == {Operation.PASSTHROUGH}
        assert [usage.output_tokens for _, usage, _ in chain.settled] == [3, 0, 0, 0, 0, 0]


async def test_the_usage_of_a_response_is_counted_when_it_is_made_and_not_again_when_it_is_read() -> None:
    async with stage() as scene:
        answering(scene, response())
        await ask(scene, "POST", "/v1/responses", {"model": "m", "input": "x"})
        assert scene.recorder.finished.usage.output_tokens == 3
        await ask(scene, "GET", "/v1/responses/resp_1")
        assert scene.recorder.finished.usage.output_tokens is None
        assert scene.recorder.finished.cost is None


async def test_a_stream_whose_client_left_is_settled_by_a_later_retrieval() -> None:
    chain = PlainChain()
    created = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","output":[]}}\n\n'

    async def wait(request: web.Request) -> None:
        await asyncio.sleep(5)

    async with stage(chain=chain) as scene:
        scene.upstream.answer = streamed(created, then=wait)
        body = {"model": "m", "input": "x", "stream": True, "background": True}
        async with scene.client.post(f"{scene.url}/v1/responses", json=body) as reply:
            await reply.content.readline()
        async with asyncio.timeout(5):
            while len(scene.recorder.spans) < 2:
                await asyncio.sleep(0.01)
        left = scene.recorder.finished
        assert left.attributes["watchkeeper.charged"] == "as reserved, until the response is retrieved"
        answering(scene, response("in_progress", None), response())
        await ask(scene, "GET", "/v1/responses/resp_1")
        await ask(scene, "GET", "/v1/responses/resp_1")
        settled = [(event.span_id == left.span_id, usage.output_tokens) for event, usage, _ in chain.settled]
        assert settled == [(True, None), (False, 0), (True, 3), (False, 0)]


async def test_a_response_is_asked_for_where_it_was_made() -> None:
    other = ScriptedUpstream()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(response())

    other.answer = answer
    async with serving_upstream(other):
        more = (spec(other.url, name="other", models=("o-*",)),)
        async with stage(upstream={"models": ("m-*",), "default": True}, more=more) as scene:
            await ask(scene, "POST", "/v1/responses", {"model": "o-1", "input": "x"})
            await ask(scene, "GET", "/v1/responses/resp_1")
            assert [heard.path for heard in other.heard] == ["/v1/responses", "/v1/responses/resp_1"]
            assert not scene.upstream.heard


class DeadCells(PlainCells):
    """Cells that are out of reach for everything but keys."""

    async def get(self, key: str) -> int | bytes | None:
        raise OSError("the store is gone")


@asynccontextmanager
async def with_dead_cells(**settings: Any) -> AsyncIterator[Scene]:
    async with stage(**settings) as scene:
        parts = scene.gateway._parts
        assert parts is not None
        parts.replies._cells = DeadCells()
        answering(scene, response())
        yield scene


async def test_with_the_store_gone_reading_goes_on_unless_keys_tell_tenants_apart() -> None:
    async with with_dead_cells() as scene:
        assert (await ask(scene, "GET", "/v1/responses/resp_9"))[0] == 200
    async with with_dead_cells(require_keys=True) as scene:
        secret = (await scene.keys.create("k")).secret
        status, body = await ask(scene, "GET", "/v1/responses/resp_9", x_watchkeeper_key=secret)
        assert (status, body["error"]["code"]) == (503, "responses_unknown")


async def test_a_response_that_failed_is_an_error_with_its_reason() -> None:
    async with stage() as scene:
        answering(scene, response("failed", None, error={"code": "server_error", "message": "Broken."}))
        await ask(scene, "POST", "/v1/responses", {"model": "m", "input": "x"})
        span = scene.recorder.finished
        assert (span.status, span.error_type, span.message) == (Status.ERROR, "server_error", "Broken.")


async def test_an_error_event_without_an_error_object_is_read() -> None:
    async with stage() as scene:
        data = b'event: error\ndata: {"type":"error","code":"ERR","message":"Broken.","sequence_number":1}\n\n'
        scene.upstream.answer = streamed(data)
        body = {"model": "m", "input": "x", "stream": True}
        async with scene.client.post(f"{scene.url}/v1/responses", json=body) as reply:
            assert await reply.read() == data
        assert (scene.recorder.finished.error_type, scene.recorder.finished.message) == ("ERR", "Broken.")


HOSTILE = [
    ("/v1/messages", b'{"model":"m","messages":[', "invalid_json"),
    ("/v1/messages", b"[]", "invalid_json"),
    ("/v1/messages", b'{"model":"m","messages":7}', "invalid_value"),
    ("/v1/messages", b"\xff\xfe{}", "invalid_json"),
    ("/v1/messages/count_tokens", b'{"model":', "invalid_json"),
    ("/v1/responses", b'{"model":"m","input":{}}', "invalid_value"),
    ("/v1/responses", b'{"model":"m","input":"x","previous_response_id":7}', "invalid_value"),
    ("/v1/responses", b'{"model":"m","input":"x","store":"yes"}', "invalid_value"),
    ("/v1/responses/input_tokens", b"[1]", "invalid_json"),
    ("/v1/responses/compact", b'{"input":"x"}', "model_missing"),
    ("/v1/embeddings", b'{"model":7,"input":"x"}', "invalid_value"),
    ("/v1/embeddings", b'{"model":"m","input":"x","model":"n"}', "duplicate_field"),
]


@pytest.mark.parametrize(("path", "body", "code"), HOSTILE)
async def test_what_cannot_be_read_is_refused_in_the_clients_words(path: str, body: bytes, code: str) -> None:
    async with stage() as scene:
        status, told = await ask(scene, "POST", path, body)
        assert status == 400 and told["error"]["code"] == code
        assert (told.get("type") == "error") == path.startswith("/v1/messages")
        assert not scene.upstream.heard and scene.recorder.finished.status == Status.ERROR


async def test_a_body_over_the_limit_is_too_large_in_the_clients_words() -> None:
    async with stage(max_body_bytes=1000) as scene:
        status, told = await ask(scene, "POST", "/v1/messages", b" " * 2000)
        assert (status, told["error"]["type"]) == (413, "request_too_large")


async def test_the_versions_and_keys_of_each_kind_reach_its_upstream() -> None:
    async with stage(
        upstream={"kind": "anthropic", "credential": "env:KEY"}, environment={"KEY": "secret"}, require_keys=True
    ) as scene:
        secret = (await scene.keys.create("k")).secret
        body = {"model": "m", "max_tokens": 5, "messages": []}
        await ask(scene, "POST", "/v1/messages?beta=true", body, x_api_key=secret, anthropic_beta="b1")
        heard = scene.upstream.heard[0]
        assert heard.path == "/v1/messages?beta=true"
        assert (heard.headers["x-api-key"], heard.headers["anthropic-version"]) == ("secret", "2023-06-01")
        assert heard.headers["anthropic-beta"] == "b1" and "authorization" not in heard.headers
        await ask(scene, "POST", "/v1/messages", body, x_api_key=secret, anthropic_version="2099-01-01")
        assert scene.upstream.heard[1].headers["anthropic-version"] == "2099-01-01"


async def test_an_azure_client_before_another_upstream_leaves_its_version_behind() -> None:
    async with stage() as scene:
        body = {"model": "other", "messages": []}
        path = "/openai/deployments/alpha/chat/completions?api-version=2024-10-21&x=1"
        assert (await ask(scene, "POST", path, body))[0] == 200
        heard = scene.upstream.heard[0]
        assert heard.path == "/v1/chat/completions?x=1"
        assert (
            heard.body == b'{"model": "alpha", "messages": []}'
        )  # the deployment counts, for the client as for prices


async def test_headers_that_mean_another_request_are_not_sent_on() -> None:
    async with stage() as scene:
        scene.upstream.answer = streamed(b"{}")
        given = {"x-http-method-override": "POST", "x-original-url": "/v1/chat/completions", "x-title": "kept"}
        async with scene.client.get(f"{scene.url}/v1/files", headers=given):
            pass
        heard = scene.upstream.heard[0].headers
        assert "x-http-method-override" not in heard and "x-original-url" not in heard and heard["x-title"] == "kept"


async def test_a_client_of_anthropic_is_refused_in_its_words_wherever_it_asks() -> None:
    async with stage() as scene:
        status, told = await ask(scene, "GET", "/elsewhere", anthropic_version="2023-06-01")
        assert (status, told["error"]["type"]) == (404, "not_found_error")
        async with scene.client.get(f"{scene.url}/v1/messages") as reply:
            assert reply.status == 405 and (await reply.json())["type"] == "error"
            assert reply.headers["allow"] == "POST"


async def test_a_client_that_leaves_before_its_body_is_whole_leaves_nothing_behind() -> None:
    async with stage() as scene:
        host, port = scene.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.1)
        assert not scene.upstream.heard
        assert (await scene.ask()).status == 200


async def test_a_whole_stream_of_each_dialect_passes_as_it_came() -> None:
    async with stage() as scene:
        stream = (
            b'event: message_start\ndata: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":4,'
            b'"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":1}}}\n\n'
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},'
            b'"usage":{"output_tokens":9}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        )
        scene.upstream.answer = streamed(stream[:70], stream[70:150], stream[150:])
        body = {"model": "m", "max_tokens": 5, "messages": [], "stream": True}
        async with scene.client.post(f"{scene.url}/v1/messages", json=body) as reply:
            assert await reply.read() == stream
        span = scene.recorder.finished
        assert (span.usage.input_tokens, span.usage.cache_read_tokens, span.usage.cache_write_tokens) == (7, 2, 1)
        assert (span.usage.output_tokens, span.finish_reasons) == (9, ("max_tokens",))
