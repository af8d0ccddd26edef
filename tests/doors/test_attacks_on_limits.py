"""What a client with a key of its own tries in order to get round what the key may: each way must be closed."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.unit.engines.gateway.stage import ScriptedUpstream, serving_upstream, spec, stage
from watchkeeper.engines.gateway.keys import Grant

pytestmark = pytest.mark.anyio
TALK: dict[str, Any] = {"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}


def _answer(scripted: ScriptedUpstream) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [], "usage": None}
        )

    scripted.answer = answer


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/v1/chat/completions", {}),
        ("POST", "/v1//chat/./completions/", {}),
        ("POST", "/v1/chat;x=1/completions", {}),
        ("POST", "/v1/responses", {}),
        ("POST", "/v1/messages", {}),
        ("POST", "/v1/messages/count_tokens", {}),
        ("POST", "/v1/embeddings", {}),
        ("POST", "/v1/images/generations", {}),
        ("POST", "/v1/images/generations", {"x-watchkeeper-upstream": "main"}),
        ("POST", "/v1/chat/completions", {"x-watchkeeper-upstream": "main"}),
        ("POST", "/openai/deployments/dear/chat/completions", {}),
        ("POST", "/openai/v1/responses", {}),
    ],
)
async def test_a_model_that_the_key_may_not_use_is_reached_by_no_path(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _answer(scene.upstream)
        secret = (await scene.keys.create("a", grant=Grant(models=("cheap",)))).secret
        sent = {"x-watchkeeper-key": secret, **headers}
        async with scene.client.request(
            method, scene.url + path, json={**TALK, "model": "dear"}, headers=sent
        ) as reply:
            assert reply.status in (403, 404), await reply.text()
        assert scene.upstream.heard == []


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/images/generations", "/v1/files"]
)
async def test_an_upstream_that_the_key_may_not_use_is_reached_by_no_header(path: str) -> None:
    other = ScriptedUpstream()
    async with serving_upstream(other):
        more = (spec(other.url, name="other", models=("m",)),)
        async with stage(more=more, require_keys=True, upstream={"default": True}) as scene:
            _answer(other)
            secret = (await scene.keys.create("a", grant=Grant(upstreams=("main",)))).secret
            sent = {"x-watchkeeper-key": secret, "x-watchkeeper-upstream": "other"}
            async with scene.client.post(scene.url + path, json=TALK, headers=sent) as reply:
                assert reply.status in (403, 404), await reply.text()
            assert other.heard == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp%5F1"),
        ("GET", "/v1/responses/resp%255F1"),
        ("GET", "/v1//responses/./resp_1/"),
        ("GET", "/v1/responses/resp_1;a=b"),
        ("GET", "/openai/v1/responses/resp_1"),
        ("GET", "/openai/responses/resp_1/input_items"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/input_tokens"),
    ],
)
async def test_the_response_of_another_tenant_is_not_there(method: str, path: str) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _answer(scene.upstream)
        mine = (await scene.keys.create("a", grant=Grant(tenant="a"))).secret
        theirs = (await scene.keys.create("b", grant=Grant(tenant="b"))).secret
        url = scene.url + "/v1/responses"
        async with scene.client.post(url, json=TALK, headers={"x-watchkeeper-key": mine}) as reply:
            assert reply.status == 200
        heard = len(scene.upstream.heard)
        body = {**TALK, "previous_response_id": "resp_1"} if method == "POST" else None
        sent = {"x-watchkeeper-key": theirs, "x-watchkeeper-tenant": "a"}
        target = URL(scene.url + path, encoded=True)
        async with scene.client.request(method, target, json=body, headers=sent) as reply:
            assert reply.status == 404, await reply.text()
        assert len(scene.upstream.heard) == heard


@pytest.mark.parametrize("tail", ["%3Fa=b", "%23a", "%3F"])
async def test_an_escaped_end_of_the_path_does_not_make_it_the_response_of_another(tail: str) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _answer(scene.upstream)
        secret = (await scene.keys.create("b", grant=Grant(tenant="b"))).secret
        target = URL(f"{scene.url}/v1/responses/resp_1{tail}", encoded=True)
        async with scene.client.get(target, headers={"x-watchkeeper-key": secret}) as reply:
            await reply.read()
        assert [heard.path.lower() for heard in scene.upstream.heard] == [f"/v1/responses/resp_1{tail}".lower()]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/conversations/resp_1", None),
        ("GET", "/v1/conversations/resp%5F1/items", None),
        ("GET", "/openai/v1/conversations/resp_1/items/msg_1", None),
        ("POST", "/v1/conversations/resp_1/items", {"items": []}),
        ("DELETE", "/v1/conversations/resp_1", None),
        ("POST", "/v1/responses", {**TALK, "conversation": "resp_1"}),
        ("POST", "/v1/responses", {**TALK, "conversation": {"id": "resp_1"}}),
        ("POST", "/v1/responses/input_tokens", {**TALK, "conversation": "resp_1"}),
    ],
)
async def test_the_conversation_of_another_tenant_is_not_there(method: str, path: str, body: Any) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _answer(scene.upstream)
        mine = (await scene.keys.create("a", grant=Grant(tenant="a"))).secret
        theirs = (await scene.keys.create("b", grant=Grant(tenant="b"))).secret
        url = scene.url + "/v1/conversations"
        async with scene.client.post(url, json={}, headers={"x-watchkeeper-key": mine}) as reply:
            assert reply.status == 200
        heard = len(scene.upstream.heard)
        target = URL(scene.url + path, encoded=True)
        async with scene.client.request(method, target, json=body, headers={"x-watchkeeper-key": theirs}) as reply:
            assert reply.status == 404 and b"no conversation" in await reply.read()
        assert len(scene.upstream.heard) == heard
        async with scene.client.request(method, target, json=body, headers={"x-watchkeeper-key": mine}) as reply:
            assert reply.status == 200, await reply.text()
