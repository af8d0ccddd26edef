"""The gateway with everything real behind it: openai SDK, lab provider, journal, SQLite cells, both policies."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.unit.engines.gateway.stage import serving
from watchkeeper.adapters.models.prices import PriceRow, Prices
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.decide.runs import resume_run
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.gateway.settings import Settings, UpstreamSpec
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.engines.recorder.verify import verify
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer
from watchkeeper.records.record import unpack
from watchkeeper.records.span import Span, Status

pytestmark = [pytest.mark.anyio, pytest.mark.door]

DOLLAR_A_TOKEN = PriceRow(model="*", input_usd_per_million=0.0, output_usd_per_million=1e6, source="test, simulated")


@dataclass
class House:
    """A running gateway, its client and what lies behind it."""

    client: openai.AsyncOpenAI
    gateway: Gateway
    keys: KeyRing
    cells: SQLiteCells
    journal: Path
    lab: LabServer
    url: str

    def spans(self) -> list[Span]:
        """The finished spans in the journal, oldest first."""
        frames = read_frames(self.journal / "gateway")
        spans = [unpack(Span, frame.payload) for frame in frames if frame.head.kind == FrameKind.SPAN]
        return [span for span in spans if span.revision == 1]

    def body(self, span: Span, name: str) -> bytes:
        """The recorded bytes of one of a span's payloads."""
        vault = Vault(self.journal)
        try:
            return next(vault.body(body) for body in span.bodies if body.name == name)
        finally:
            vault.close()


def _client(secret: str, url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=secret, base_url=f"{url}/v1", max_retries=0)


@asynccontextmanager
async def house(
    folder: Path, *links: Link, rules: tuple[Rule, ...] = (Rule(name="calm", answer="All is well."),)
) -> AsyncIterator[House]:
    lab = LabServer(LabConfig(rules=rules))
    with lab:
        journal = Journal(folder / "journal", "gateway", os.urandom(32))
        cells = SQLiteCells.open(folder / "cells.sqlite")
        keys = KeyRing(cells)
        chain = Chain(links, cells, journal.append, time.time_ns)
        spec = UpstreamSpec(name="lab", base_url=lab.base_url, credential="none", aliases={"fast": "lab-small"})
        settings = Settings(upstreams=(spec,), require_keys=True)
        gateway = Gateway(settings, journal, chain, keys, Prices([DOLLAR_A_TOKEN]), environment={}, cells=cells)
        made = await keys.create("test", user="ada")
        try:
            async with serving(gateway) as url, _client(made.secret, url) as client:
                yield House(client, gateway, keys, cells, folder / "journal", lab, url)
        finally:
            await chain.idle()
            await cells.close()
            journal.close()


MESSAGES = [{"role": "user", "content": "How is the ship?"}]


async def test_the_openai_sdk_talks_plain_and_streamed_and_every_byte_is_in_the_journal(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        plain = await at.client.chat.completions.create(model="fast", messages=MESSAGES, max_tokens=50)  # type: ignore[call-overload]
        said = plain.choices[0].message.content
        stream = await at.client.chat.completions.create(  # type: ignore[call-overload]
            model="fast", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == streamed == "All is well."
        first, second = at.spans()
        assert (first.status, second.status) == (Status.OK, Status.OK)
        assert (first.stream, second.stream) == (False, True)
        assert first.usage == second.usage and first.usage.output_tokens == plain.usage.completion_tokens
        assert first.identity.user == "ada" and first.request_model == "fast"
        assert at.body(first, "request").replace(b'"fast"', b'"lab-small"') == at.body(first, "sent")
        assert at.body(second, "reply").endswith(b"data: [DONE]\n\n")
        assert second.first_token_ns is not None
    assert [result.holds for result in verify(tmp_path / "journal")] == [True]


async def test_the_sdk_shows_a_denial_and_does_not_try_again(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Budget(per="key", usd=100.0), instance="cap")) as at:
        client = at.client.with_options(max_retries=3)
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await client.chat.completions.create(model="fast", messages=MESSAGES, max_tokens=101)  # type: ignore[call-overload]
        assert caught.value.code == "budget_exceeded"
        assert caught.value.response.headers["x-watchkeeper-decision"].startswith("dec_")
        assert len(at.spans()) == 1 and not at.lab.calls


async def test_a_cap_holds_when_many_calls_come_at_once_and_what_was_not_used_is_given_back(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Budget(per="key", usd=100.0), instance="cap")) as at:

        async def call() -> int:
            try:
                reply = await at.client.chat.completions.create(model="fast", messages=MESSAGES, max_tokens=30)  # type: ignore[call-overload]
            except openai.PermissionDeniedError:
                return 0
            assert reply.usage is not None
            return int(reply.usage.completion_tokens)

        used = await asyncio.gather(*(call() for _ in range(40)))
        assert sum(bool(each) for each in used) >= 3 and sum(used) <= 100
        await asyncio.sleep(0.3)
        page = await at.cells.scan("")
        meters = {key: value for key, value in page.items if key.endswith("nano_usd")}
        assert list(meters.values()) == [sum(used) * 1_000_000_000]
        assert not [key for key, _ in page.items if key.startswith("reservation/")]


async def test_a_run_that_repeats_itself_is_stopped_over_all_its_agents(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": '{"at": "harbour"}'}}
    messages: list[dict[str, object]] = [*MESSAGES]
    async with house(tmp_path, Link(policy=Loop(action="stop"), instance="loop")) as at:
        headers = {"x-watchkeeper-run": "r1", "x-watchkeeper-session": "s1"}
        stopped = None
        for turn in range(20):
            try:
                await at.client.chat.completions.create(  # type: ignore[call-overload]
                    model="fast", messages=messages, max_tokens=30, extra_headers=headers
                )
            except openai.PermissionDeniedError as error:
                stopped = (turn, error.code)
                break
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{turn}", **call}]},
                {"role": "tool", "tool_call_id": f"c{turn}", "content": "nothing"},
            ]
        assert stopped is not None and 2 <= stopped[0] <= 8
        assert at.spans()[-1].status == Status.DENIED


async def test_a_stopped_run_goes_on_once_a_person_has_let_it(tmp_path: Path) -> None:
    history: list[dict[str, object]] = [*MESSAGES]
    for turn in range(5):
        call = {"id": f"c{turn}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        history.append({"role": "assistant", "content": None, "tool_calls": [call]})
        history.append({"role": "tool", "tool_call_id": f"c{turn}", "content": "nothing"})
    async with house(tmp_path, Link(policy=Loop(action="hold"), instance="loop")) as at:

        async def ask() -> str | None:
            try:
                await at.client.chat.completions.create(  # type: ignore[call-overload]
                    model="fast", messages=history, max_tokens=30, extra_headers={"x-watchkeeper-run": "r1"}
                )
            except openai.PermissionDeniedError as error:
                return error.code
            return None

        assert [await ask(), await ask()] == ["loop_repeat", "loop_repeat"]
        assert await resume_run(at.cells, "default", "r1", 1) == 5
        assert [await ask(), await ask()] == [None, None]
        assert await resume_run(at.cells, "default", "another", 1) is None


async def test_a_path_that_cannot_be_bounded_is_refused_under_a_money_cap(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Budget(per="key", usd=100.0), instance="cap")) as at:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await at.client.images.generate(model="lab-small", prompt="a boat")
        assert caught.value.code == "cannot_be_bounded"
        assert [model.id for model in (await at.client.models.list()).data] == ["fast"]


async def test_a_model_in_a_loop_is_told_so_and_the_record_holds_both_requests(tmp_path: Path) -> None:
    arguments: list[dict[str, object]] = []
    for turn in range(5):
        call = {"id": f"c{turn}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        arguments.append({"role": "assistant", "content": None, "tool_calls": [call]})
        arguments.append({"role": "tool", "tool_call_id": f"c{turn}", "content": "nothing"})
    async with house(tmp_path, Link(policy=Loop(), instance="loop")) as at:
        answer = await at.client.chat.completions.create(  # type: ignore[call-overload]
            model="fast",
            messages=[*MESSAGES, *arguments],
            max_tokens=30,
            extra_headers={"x-watchkeeper-run": "r1"},
        )
        assert answer.choices
        span = at.spans()[-1]
        assert "watchkeeper.advised" in {event.name for event in span.events}
        asked, sent = (json.loads(at.body(span, name)) for name in ("request", "sent"))
        assert sent["messages"][:-1] == asked["messages"]
        assert "'look'" in sent["messages"][-1]["content"]
