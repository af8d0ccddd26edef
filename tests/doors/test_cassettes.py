"""Recorded exchanges with real providers pass through the gateway byte for byte, and their usage is read.

A few lie beside the tests. A whole set is replayed where the variable `WATCHKEEPER_CASSETTES` names its
file (`cassettes.jsonl.gz`).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from tests.cassettes import Recorded, cut, used, whole
from tests.unit.engines.gateway.stage import Answer, Scene, stage
from watchkeeper.records.span import Span

pytestmark = [pytest.mark.anyio, pytest.mark.door]
_WHOLE = os.environ.get("WATCHKEEPER_CASSETTES")


async def replay(scene: Scene, exchanges: Iterable[Recorded]) -> tuple[Counter[str], list[str]]:
    """Ask for each exchange through the gateway; fails on the first that comes back otherwise than it was.

    Returns counts, and where the usage that was read is not what the reply states.
    """
    counts: Counter[str] = Counter()
    differing: list[str] = []
    for each in exchanges:
        scene.upstream.answer = serving(each)
        scene.upstream.heard.clear()
        url = URL(f"{scene.url}/v1{each.suffix}{each.query}", encoded=True)
        given = {"content-type": each.asked_as, "x-watchkeeper-upstream": "main"}
        async with scene.client.request(each.method, url, data=each.request or None, headers=given) as response:
            reply = await response.read()
        assert scene.upstream.heard, (each.name, each.suffix, reply[:300])
        heard = scene.upstream.heard[0]
        assert (response.status, reply) == (each.status, each.reply), each.name
        assert (heard.body, heard.path) == (each.request, f"/v1{each.suffix}{each.query}"), each.name
        span = scene.recorder.finished
        assert (scene.recorder.body(span, "request") or b"") == each.request, each.name
        assert (scene.recorder.body(span, "reply") or b"") == each.reply, each.name
        stated = used(each)
        read = (span.usage.input_tokens, span.usage.output_tokens)
        if stated != (None, None):
            counts["usage"] += 1
            if read != stated:
                differing.append(f"{each.name}: read {read}, stated {stated}")
        counts["exchanges"] += 1
        counts[f"streamed {'text/event-stream' in each.media}"] += 1
        counts[dialect(each, span)] += 1
        scene.recorder.records.clear()
        scene.recorder.payloads.clear()
    return counts, differing


def dialect(each: Recorded, span: Span) -> str:
    """In which dialect a call was read."""
    plain = "chat" if each.suffix == "/chat/completions" else "passed through"
    return str(span.attributes.get("watchkeeper.dialect", plain))


def serving(each: Recorded) -> Answer:
    """An upstream's answer: the recorded reply, a stream in pieces that do not end where its events do."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "text/event-stream" not in each.media:
            return web.Response(status=each.status, body=each.reply, headers={"content-type": each.media})
        response = web.StreamResponse(status=each.status, headers={"content-type": each.media})
        await response.prepare(request)
        for start in range(0, len(each.reply), 1000):
            await response.write(each.reply[start : start + 1000])
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    return answer


async def test_each_kind_of_exchange_passes_unchanged_and_its_usage_is_read() -> None:
    async with stage() as scene:
        counts, differing = await replay(scene, cut())
        assert not differing
        assert counts["exchanges"] == 18 and counts["usage"] >= 10
        assert {"chat", "responses", "messages"} <= set(counts)


@pytest.mark.skipif(not _WHOLE, reason="WATCHKEEPER_CASSETTES names no set of cassettes")
async def test_a_whole_set_passes_unchanged_and_its_usage_is_read() -> None:
    async with stage() as scene:
        counts, differing = await replay(scene, whole(Path(_WHOLE or "")))
        print(dict(counts), *differing, sep="\n")
        assert counts["exchanges"] > 0 and not differing
