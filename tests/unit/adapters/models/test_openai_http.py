"""The provider asks real endpoints plainly, and each way they fail is a sentence and no exception."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from watchkeeper.adapters.models.openai_http import OpenAIHttp
from watchkeeper.engines.gateway.transport.client import Client
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import parse_script
from watchkeeper.lab.serving import LabServer

MESSAGES = '[{"role": "user", "content": "hello"}]'
RULES = parse_script(
    """
- {name: hello, when: {last_user: hello}, answer: Good day.}
- {name: fetch, when: {last_user: fetch}, calls: [{tool: fetch, arguments: {url: /a}}]}
""",
    "test",
)
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Callable[[Answering], Awaitable[str]]]:
    """Starts an endpoint that answers as told, and gives its base URL."""
    runners = []

    async def start(answering: Answering) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answering)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.mark.anyio
async def test_the_lab_is_asked_and_answers() -> None:
    async with LabServer(LabConfig(rules=RULES)) as lab, OpenAIHttp(Client, lab.base_url) as provider:
        answer = await provider.complete(MESSAGES, {"model": "lab-small", "temperature": 0})
        assert (answer.output, answer.finish_reason, answer.model) == ("Good day.", "stop", "lab-small")
        assert answer.error is None
        assert answer.input_tokens
        assert answer.output_tokens
        assert answer.duration_ns > 0
        called = await provider.complete('[{"role": "user", "content": "fetch"}]', {"model": "lab-small"})
        assert called.finish_reason == "tool_calls"
        ((call),) = json.loads(called.calls or "[]")
        assert (call["name"], json.loads(call["arguments"])) == ("fetch", {"url": "/a"})


@pytest.mark.anyio
async def test_a_wrong_key_is_told_in_the_endpoints_words_and_never_repeated() -> None:
    async with LabServer(LabConfig(rules=RULES, api_key="right")) as lab:
        async with OpenAIHttp(Client, lab.base_url, "wrong-secret") as provider:
            refused = await provider.complete(MESSAGES, {"model": "lab-small"})
        async with OpenAIHttp(Client, lab.base_url, "right") as provider:
            allowed = await provider.complete(MESSAGES, {"model": "lab-small"})
    assert refused.error is not None
    assert refused.error.startswith("HTTP 401: ")
    assert "wrong-secret" not in refused.error
    assert allowed.output == "Good day."


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"not json", "no chat completion: 'not json'"),
        (b"", "an empty reply"),
        (b"[]", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [{"message": {"content": "a", "tool_calls": [{"type": "function"}]}}]}', "no chat completion"),
        (b'{"error": {"message": "overloaded"}}', "overloaded"),
    ],
)
async def test_a_reply_of_another_shape_is_told(endpoint: Any, reply: bytes, said: str) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        return web.Response(body=reply, content_type="application/json")

    async with OpenAIHttp(Client, await endpoint(answering)) as provider:
        answer = await provider.complete(MESSAGES, {"model": "m"})
    assert answer.output is None
    assert said in (answer.error or "")


@pytest.mark.anyio
async def test_a_refusal_is_known_as_one(endpoint: Any) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        message = {"role": "assistant", "content": None, "refusal": "I will not."}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}]})

    async with OpenAIHttp(Client, await endpoint(answering)) as provider:
        answer = await provider.complete(MESSAGES, {"model": "m"})
    assert (answer.output, answer.finish_reason, answer.error) == ("I will not.", "refusal", None)
    assert (answer.input_tokens, answer.output_tokens, answer.model) == (None, None, None)


@pytest.mark.anyio
async def test_the_request_is_what_was_asked(endpoint: Any) -> None:
    seen: list[Any] = []

    async def answering(request: web.Request) -> web.StreamResponse:
        seen.append((await request.json(), request.headers.get("Authorization")))
        return web.json_response({"choices": [{"message": {"content": "ok"}}]})

    async with OpenAIHttp(Client, await endpoint(answering) + "/", "k") as provider:
        await provider.complete(MESSAGES, {"model": "m", "tools": [{"type": "function"}]})
    assert seen == [({"model": "m", "tools": [{"type": "function"}], "messages": json.loads(MESSAGES)}, "Bearer k")]


@pytest.mark.anyio
async def test_a_redirect_is_not_followed_with_the_key(endpoint: Any) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/elsewhere")

    async with OpenAIHttp(Client, await endpoint(answering), "k") as provider:
        answer = await provider.complete(MESSAGES, {"model": "m"})
    assert (answer.error or "").startswith("HTTP 307")


@pytest.mark.anyio
async def test_an_endpoint_that_hangs_is_given_up(endpoint: Any) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with OpenAIHttp(Client, await endpoint(answering), timeout_s=0.1) as provider:
        answer = await provider.complete(MESSAGES, {"model": "m"})
    assert answer.error == "no answer within 0.1 s"


@pytest.mark.anyio
async def test_an_endpoint_that_is_not_there_is_told() -> None:
    async with OpenAIHttp(Client, "http://127.0.0.1:9/v1") as provider:
        answer = await provider.complete(MESSAGES, {"model": "m"})
    assert "127.0.0.1:9/v1: no connection came about" in (answer.error or "")
