"""What tenants share at a provider: whose things are read, whose key is shown, who pays for what is fetched later."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.unit.engines.gateway.stage import PlainChain, Scene, ScriptedUpstream, stage, streamed
from watchkeeper.engines.gateway.keys import Grant
from watchkeeper.records.event import KeyLimit

pytestmark = pytest.mark.anyio
PROVIDERS = "sk-proj-Held/By+The-Owner-0123456789"
TALK: dict[str, Any] = {"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}


def _say(scripted: ScriptedUpstream, *values: Any) -> None:
    """Answer with these values in turn, the last one again and again."""
    left = list(values)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0])

    scripted.answer = answer


async def _ask(scene: Scene, secret: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    url = URL(scene.url + path, encoded=True)
    async with scene.client.request(method, url, json=body, headers={"x-watchkeeper-key": secret}) as reply:
        data = await reply.read()
        return reply.status, json.loads(data) if data[:1] == b"{" else data


async def _tenants(scene: Scene, *names: str) -> list[str]:
    return [(await scene.keys.create(name, grant=Grant(tenant=name))).secret for name in names]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses/thing_1"),
        ("PATCH", "/v1/responses/thing_1"),
        ("POST", "/v1/responses/thing_1/retry"),
        ("GET", "/v1/responses/thing_1/input_items/item_1"),
        ("GET", "/v1/Responses/thing_1"),
        ("GET", "/openai/v1/RESPONSES/thing%5F1"),
        ("GET", "/v1/files/thing_1"),
        ("GET", "/v1/files/thing_1/content"),
        ("GET", "/v1//files/./thing_1/content/"),
        ("GET", "/v1/files/thing%255F1/content"),
        ("DELETE", "/v1/files/thing_1"),
        ("GET", "/v1/batches/thing_1"),
        ("POST", "/v1/batches/thing_1/cancel"),
        ("POST", "/v1/vector_stores/thing_1/search"),
        ("GET", "/v1/fine_tuning/jobs/thing_1/events"),
    ],
)
@pytest.mark.parametrize("made_at", ["/v1/responses", "/v1/files"])
async def test_what_another_tenant_made_is_not_there_by_its_id(made_at: str, method: str, path: str) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        made = {"id": "thing_1", "object": "file", "status": "completed", "model": "m", "output": [], "usage": None}
        _say(scene.upstream, made)
        mine, theirs = await _tenants(scene, "a", "b")
        assert (await _ask(scene, mine, "POST", made_at, TALK))[0] == 200
        heard = len(scene.upstream.heard)
        body = {} if method in ("POST", "PATCH") else None
        status, said = await _ask(scene, theirs, method, path, body)
        assert status == 404 and "for this key" in said["error"]["message"]
        assert len(scene.upstream.heard) == heard
        assert (await _ask(scene, mine, method, path, body))[0] == 200


@pytest.mark.parametrize(
    "field", [{"input_file_id": "thing_1"}, {"file_ids": ["thing_1"]}, {"training_file": "thing_1"}]
)
async def test_a_body_does_not_use_the_file_of_another_tenant(field: dict[str, Any]) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _say(scene.upstream, {"id": "thing_1", "object": "file"}, {"id": "batch_1", "object": "batch"})
        mine, theirs = await _tenants(scene, "a", "b")
        await _ask(scene, mine, "POST", "/v1/files", {})
        assert (await _ask(scene, theirs, "POST", "/v1/batches", field))[0] == 404
        assert (await _ask(scene, mine, "POST", "/v1/batches", field))[0] == 200


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/Batches/", "/v1/messages/batches"])
async def test_a_batch_does_not_pass_for_the_model_that_its_body_names(path: str) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _say(scene.upstream, {"id": "batch_1", "object": "batch"})
        cheap = (await scene.keys.create("a", grant=Grant(models=("cheap",)))).secret
        status, said = await _ask(scene, cheap, "POST", path, {"model": "cheap", "input_file_id": "file_1"})
        assert (status, said["error"]["code"]) == (403, "model_not_allowed") or said["type"] == "error"
        assert scene.upstream.heard == []


async def test_a_list_shows_a_tenant_its_own_and_the_record_holds_no_more() -> None:
    files = [{"id": f"file_{name}", "object": "file"} for name in ("a", "b", "nobody")]
    listed = {"object": "list", "data": files, "first_id": "file_a", "last_id": "file_nobody", "has_more": False}
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _say(scene.upstream, files[0], files[1], listed)
        mine, theirs, plain = await _tenants(scene, "a", "b", "default")
        await _ask(scene, mine, "POST", "/v1/files", {})
        await _ask(scene, theirs, "POST", "/v1/files", {})
        for secret, seen in ((mine, ["file_a"]), (theirs, ["file_b"]), (plain, ["file_nobody"])):
            _, said = await _ask(scene, secret, "GET", "/v1/files?limit=100")
            assert [each["id"] for each in said["data"]] == seen
            assert (said["first_id"], said["last_id"]) == (seen[0], seen[-1])
            assert json.loads(scene.recorder.body(scene.recorder.finished, "reply") or b"")["data"] == said["data"]


async def test_a_response_that_another_key_retrieves_is_settled_under_the_limits_of_the_key_that_made_it() -> None:
    chain = PlainChain(active=False)
    limits = (KeyLimit(unit="tokens", amount=1000, window="total"),)
    usage = {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}
    response = {"id": "resp_1", "object": "response", "model": "m", "output": []}
    queued, done = {**response, "status": "queued", "usage": None}, {**response, "status": "completed", "usage": usage}
    async with stage(upstream={"default": True}, require_keys=True, chain=chain) as scene:
        _say(scene.upstream, queued, done)
        maker = (await scene.keys.create("maker", grant=Grant(tenant="a", limits=limits))).secret
        reader = (await scene.keys.create("reader", grant=Grant(tenant="a"))).secret
        await _ask(scene, maker, "POST", "/v1/responses", {**TALK, "background": True})
        made = scene.recorder.finished.span_id
        for secret in (reader, maker, reader):
            assert (await _ask(scene, secret, "GET", "/v1/responses/resp_1"))[0] == 200
        await asyncio.sleep(0)
        known = [(event.limits, use.output_tokens) for event, use, _ in chain.settled if event.span_id == made]
        assert known == [(limits, None), (limits, 3)]


async def test_reading_what_is_kept_counts_among_the_calls_of_a_key() -> None:
    chain = PlainChain(active=False)
    limits = (KeyLimit(unit="calls", amount=2, window="minute"),)
    async with stage(upstream={"default": True}, require_keys=True, chain=chain) as scene:
        _say(scene.upstream, {"id": "resp_1", "object": "response", "output": []})
        secret = (await scene.keys.create("a", grant=Grant(limits=limits))).secret
        for path in ("/v1/responses/resp_1", "/v1/files/file_1", "/v1/conversations/conv_1"):
            await _ask(scene, secret, "GET", path)
        assert [event.limits for event in chain.asked] == [limits] * 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/images/generations"])
async def test_an_upstream_that_repeats_the_owners_key_does_not_tell_it_to_callers(
    path: str, status: int, stream: bool
) -> None:
    async def repeat(request: web.Request) -> web.StreamResponse:
        told = request.headers["authorization"]
        said = json.dumps({"error": {"message": f"Incorrect key: {told}", "code": "invalid_api_key"}})
        if not stream:
            return web.Response(text=said, status=status, content_type="application/json", headers={"x-told": told})
        events = f"data: {said}\n\n".encode()
        pieces = [events[start : start + 7] for start in range(0, len(events), 7)]
        return await streamed(*pieces)(request)

    upstream = {"default": True, "credential": "env:HELD"}
    async with stage(upstream=upstream, environment={"HELD": PROVIDERS}) as scene:
        scene.upstream.answer = repeat
        async with scene.client.post(scene.url + path, json={**TALK, "stream": stream}) as reply:
            said = await reply.read() + str(reply.headers).encode()
        assert PROVIDERS.encode() not in said and b"[withheld]" in said
        assert PROVIDERS not in str(scene.recorder.payloads)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x-goog-api-key", "{}"),
        ("ocp-apim-subscription-key", "{}"),
        ("openai-organization", "{}"),
        ("user-agent", "curl {}"),
        ("x-custom", "Bearer {}"),
    ],
)
async def test_a_watchkeeper_key_in_any_header_or_query_stays_here(name: str, shape: str) -> None:
    async with stage(upstream={"default": True}, require_keys=True) as scene:
        _say(scene.upstream, {"object": "list", "data": []})
        secret = (await scene.keys.create("a")).secret
        headers = {"x-watchkeeper-key": secret, name: shape.format(secret)}
        target = f"{scene.url}/v1/files?limit=2&key={secret}&api%2Dkey={secret.replace('-', '%2D')}"
        async with scene.client.get(URL(target, encoded=True), headers=headers) as reply:
            assert reply.status == 200
        (heard,) = scene.upstream.heard
        assert heard.path == "/v1/files?limit=2"
        assert secret not in str(heard.headers)
