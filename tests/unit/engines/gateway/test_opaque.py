"""Paths under /v1 that the gateway does not understand, and the list of models."""

from __future__ import annotations

import json

import aiohttp
import pytest
from aiohttp import web

from tests.unit.engines.gateway.stage import (
    PlainChain,
    ScriptedUpstream,
    cut_connection,
    serving_upstream,
    spec,
    stage,
)
from watchkeeper.records.span import Operation, Status

pytestmark = pytest.mark.anyio

EMBEDDINGS = {"object": "list", "data": [], "model": "embed-1", "usage": {"prompt_tokens": 4, "total_tokens": 4}}


async def embeddings(request: web.Request) -> web.StreamResponse:
    return web.json_response(EMBEDDINGS)


async def test_another_path_is_passed_through_and_recorded() -> None:
    async with stage() as scene:
        scene.upstream.answer = embeddings
        body = {"model": "embed-1", "input": "words"}
        async with scene.client.post(f"{scene.url}/v1/moderations?x=1", json=body) as response:
            assert await response.json() == EMBEDDINGS
        assert scene.upstream.heard[0].path == "/v1/moderations?x=1"
        span = scene.recorder.finished
        assert (span.operation, span.status, span.request_model) == (Operation.PASSTHROUGH, Status.OK, "embed-1")
        assert span.usage.input_tokens == 4
        assert json.loads(scene.recorder.body(span, "request") or b"") == body
        assert json.loads(scene.recorder.body(span, "reply") or b"") == EMBEDDINGS


async def test_its_event_has_no_bound_unless_it_only_reads() -> None:
    chain = PlainChain()
    async with stage(chain=chain) as scene:
        scene.upstream.answer = embeddings
        async with scene.client.post(f"{scene.url}/v1/moderations", json={"model": "embed-1"}):
            pass
        async with scene.client.get(f"{scene.url}/v1/files"):
            pass
        writes, reads = chain.asked
        assert writes.bound is None and writes.model == "embed-1"
        assert reads.bound is not None and reads.bound.nano_usd == 0


async def test_bytes_that_are_no_json_pass_unchanged() -> None:
    sound = bytes(range(256)) * 1000

    async def speech(request: web.Request) -> web.StreamResponse:
        return web.Response(body=sound, content_type="audio/mpeg")

    async with stage() as scene:
        scene.upstream.answer = speech
        form = aiohttp.FormData({"purpose": "x"})
        form.add_field("file", b"\x00\xff" * 100, filename="a.bin")
        async with scene.client.post(f"{scene.url}/v1/audio", data=form) as response:
            assert await response.read() == sound
            assert response.content_type == "audio/mpeg"
        span = scene.recorder.finished
        assert scene.recorder.body(span, "reply") == sound
        assert b"\x00\xff" * 100 in (scene.recorder.body(span, "request") or b"")


async def test_a_reply_over_the_limit_passes_whole_and_its_record_says_that_it_is_cut() -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 300_000, content_type="application/octet-stream")

    async with stage(max_body_bytes=100_000) as scene:
        scene.upstream.answer = large
        async with scene.client.get(f"{scene.url}/v1/files/f/content") as response:
            assert len(await response.read()) == 300_000
        assert scene.recorder.finished.attributes["watchkeeper.reply.truncated"] is True
        assert [type(record).__name__ for record in scene.recorder.records].count("Drop") == 1


async def test_a_reply_that_breaks_off_breaks_off_for_the_client_too() -> None:
    async def die(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/octet-stream"})
        await response.prepare(request)
        await response.write(b"half")
        await cut_connection(request)
        return response

    async with stage() as scene:
        scene.upstream.answer = die
        async with scene.client.get(f"{scene.url}/v1/files/f/content") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert scene.recorder.finished.error_type == "upstream_disconnected"


async def test_the_model_chooses_the_upstream_and_a_header_or_the_default_does_without_one() -> None:
    other = ScriptedUpstream()
    async with serving_upstream(other):
        more = (spec(other.url, name="other", models=("beta",), default=True),)
        async with stage(upstream={"models": ("alpha",)}, more=more) as scene:
            for upstream in (scene.upstream, other):
                upstream.answer = embeddings
            post = scene.client.post
            await post(f"{scene.url}/v1/embeddings", json={"model": "beta"})
            await post(f"{scene.url}/v1/files", data=b"x")
            await post(f"{scene.url}/v1/files", data=b"x", headers={"x-watchkeeper-upstream": "main"})
            assert (len(scene.upstream.heard), len(other.heard)) == (1, 2)
            refused = await post(f"{scene.url}/v1/files", data=b"x", headers={"x-watchkeeper-upstream": "nobody"})
            assert refused.status == 404


async def test_declared_models_are_listed_and_others_are_asked_for() -> None:
    async with stage(upstream={"models": ("alpha", "beta-*"), "aliases": {"fast": "alpha"}}) as scene:
        async with scene.client.get(f"{scene.url}/v1/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["fast", "alpha"]
        async with scene.client.get(f"{scene.url}/v1/models/fast") as response:
            assert (await response.json())["owned_by"] == "main"
        assert not scene.upstream.heard
    async with stage() as scene:
        scene.upstream.answer = embeddings
        async with scene.client.get(f"{scene.url}/v1/models") as response:
            assert await response.json() == EMBEDDINGS


async def test_a_stream_of_the_responses_interface_passes_unchanged_and_is_charged() -> None:
    counts = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    whole = {"id": "resp_1", "model": "m", "status": "completed", "output": [], "usage": counts, "service_tier": "flex"}
    sent = b"".join(
        f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
        for kind, fields in (
            ("response.output_text.delta", {"delta": "Hello"}),
            ("response.completed", {"response": whole}),
        )
    )

    async def responses(request: web.Request) -> web.StreamResponse:
        return web.Response(body=sent, content_type="text/event-stream")

    async with stage() as scene:
        scene.upstream.answer = responses
        async with scene.client.post(f"{scene.url}/v1/responses", json={"model": "m", "stream": True}) as response:
            assert await response.read() == sent
        span = scene.recorder.finished
        assert (span.operation, span.status, span.response_id) == (Operation.CHAT, Status.OK, "resp_1")
        assert (span.usage.input_tokens, span.usage.output_tokens) == (9, 5)
        assert span.cost is not None and span.first_token_ns is not None
        assert span.attributes["openai.response.service_tier"] == "flex"
