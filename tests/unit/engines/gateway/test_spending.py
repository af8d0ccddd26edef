"""Money and limits through the gateway, with the real chain: what users of other gateways found broken holds here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.engines.gateway.stage import Scene, chat, chunk, plain_reply, stage, streamed
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.run_contract import RunContract
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.decide.reservations import reservations
from watchkeeper.engines.gateway.spending import counted, surely
from watchkeeper.kinds.policy import Policy
from watchkeeper.records.decision import Decision

pytestmark = pytest.mark.anyio

NANO = 1_000_000_000


@asynccontextmanager
async def limited(*budgets: Policy, **upstream: Any) -> AsyncIterator[tuple[Scene, MemoryCells]]:
    """A gateway whose calls are under budgets; a token costs a microdollar, models named free-... have no price."""
    cells, record = MemoryCells(), list[Decision]()
    links = [Link(policy=each, instance=f"b{place}") for place, each in enumerate(budgets)]
    chain = Chain(links, cells, record.append, time.time_ns)
    async with stage(chain=chain, upstream={"max_output_tokens": 1000, **upstream}) as scene:
        yield scene, cells


async def held(cells: MemoryCells, meter: str) -> int:
    found = await cells.get(meter)
    return found if isinstance(found, int) else 0


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


KEYLESS = "meter/scope/key/default/unattributed/total"


async def test_without_a_price_a_call_is_refused_also_when_it_streams() -> None:
    """LiteLLM #35524: no reservation when unpriced; #13264: cost absent when streaming."""
    async with limited(Budget(per="key", usd=1)) as (scene, _):
        for stream in (False, True):
            response = await scene.ask(chat(model="free-lunch", stream=stream))
            assert response.status == 403 and (await response.json())["error"]["code"] == "price_unknown"
        assert not scene.upstream.heard


async def test_an_alias_is_priced_as_the_model_that_it_stands_for() -> None:
    """LiteLLM #38656: an alias priced at nothing."""
    aliases = {"house": "alpha", "cheap": "free-lunch"}
    async with limited(Budget(per="key", usd=1), aliases=aliases) as (scene, cells):
        scene.upstream.answer = plain_reply
        assert (await scene.ask(chat(model="house"))).status == 200
        await scene.gateway.close()
        assert await held(cells, f"{KEYLESS}/nano_usd") == 15_000
    async with limited(Budget(per="key", usd=1), aliases=aliases) as (scene, _):
        response = await scene.ask(chat(model="cheap", stream=True))
        assert (await response.json())["error"]["code"] == "price_unknown"


async def test_the_first_request_of_an_unknown_user_is_limited() -> None:
    """LiteLLM #40095: a user that nobody has seen before spends without a limit once."""
    async with limited(Budget(per="user", usd=0.00001)) as (scene, _):
        response = await scene.ask(chat(), X_Watchkeeper_User="nobody-has-seen-me")
        assert (await response.json())["error"]["code"] == "budget_exceeded"
        assert not scene.upstream.heard


async def test_a_session_that_the_caller_invents_does_not_escape_the_cap_of_its_key() -> None:
    """LiteLLM #34732: the budget of a session is passed by; here each call comes with a new one."""
    budgets = Budget(per="session", calls=1), Budget(per="key", calls=3)
    async with limited(*budgets) as (scene, _):
        answers = [(await scene.ask(chat(), X_Watchkeeper_Session=f"s{n}")).status for n in range(6)]
    assert answers == [200] * 3 + [403] * 3


async def test_many_calls_at_once_do_not_pass_a_cap_that_one_of_them_fills() -> None:
    """LiteLLM #26672 and #11083: each call reads the same free budget."""
    async with limited(Budget(per="key", calls=5)) as (scene, cells):
        answers = await asyncio.gather(*(scene.ask(chat()) for _ in range(40)))
        assert sorted(each.status for each in answers) == [200] * 5 + [403] * 35
        assert await held(cells, f"{KEYLESS}/calls") == 5


async def test_usage_of_a_stream_is_charged_once_as_it_was_told() -> None:
    """LiteLLM #36168: the use of a stream is lost, or charged four times."""
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    async with limited(Budget(per="key", usd=1, tokens=10_000)) as (scene, cells):
        last = chunk(finish="stop")
        scene.upstream.answer = streamed(
            sse(chunk(delta={"content": "Hello."})), sse(last), sse({**last, "choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        )  # fmt: skip
        assert (await scene.ask(chat(stream=True))).status == 200
        await scene.gateway.close()
        assert await held(cells, f"{KEYLESS}/tokens") == 15
        assert await held(cells, f"{KEYLESS}/nano_usd") == 15_000


async def test_a_stream_that_writes_more_than_was_reserved_is_cut_and_charged_as_counted() -> None:
    """The provider ignores max_tokens and never stops."""
    piece = sse(chunk(delta={"content": "word "}))
    async with limited(Budget(per="key", usd=1, tokens=100_000)) as (scene, cells):
        scene.upstream.answer = streamed(*[piece] * 400)
        request = chat(stream=True, max_tokens=20)
        response = await scene.ask(request)
        text = (await response.read()).decode()
        events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
        assert events[-1]["error"]["code"] == "reservation_spent" and "[DONE]" not in text
        assert "20 output tokens were reserved" in events[-1]["error"]["message"]
        assert len(events) <= 22
        await scene.gateway.close()
        charged = await held(cells, f"{KEYLESS}/tokens")
        sent = len(scene.upstream.heard[0].body)
        assert sent + 20 < charged <= sent + 60
        assert [each async for each in reservations(cells)] == []
        span = scene.recorder.finished
        assert span.error_type == "reservation_spent"
        assert span.attributes["watchkeeper.charged"] == "as counted: the stream was cut"


async def test_a_smaller_reservation_for_calls_without_a_limit_lets_more_of_them_go_on_and_cuts_long_streams() -> None:
    budget = Budget(per="key", tokens=400, reserve_tokens=50)
    async with limited(budget) as (scene, _):
        scene.upstream.answer = streamed(*[sse(chunk(delta={"content": "word "}))] * 60)
        response = await scene.ask(chat(stream=True, max_tokens=None))
        assert response.status == 200 and b"reservation_spent" in await response.read()


async def test_a_stream_whose_provider_keeps_to_its_limit_is_never_cut() -> None:
    """Long words, many bytes a token, one token a chunk: exactly max_tokens of them pass."""
    last = chunk(finish="length")
    async with limited(Budget(per="key", tokens=100_000)) as (scene, _):
        for word in ("Straßenbahn", "a", "    " * 4, "字"):
            pieces = [sse(chunk(delta={"content": word}))] * 50
            scene.upstream.answer = streamed(*pieces, sse(last), b"data: [DONE]\n\n")
            response = await scene.ask(chat(stream=True, max_tokens=50))
            assert b"reservation_spent" not in await response.read()


async def test_a_provider_that_sends_letter_by_letter_is_not_taken_for_one_that_writes_too_much() -> None:
    last = chunk(finish="stop")
    async with limited(Budget(per="key", tokens=100_000)) as (scene, _):
        pieces = [sse(chunk(delta={"content": "x"}))] * 180
        scene.upstream.answer = streamed(*pieces, sse(last), b"data: [DONE]\n\n")
        response = await scene.ask(chat(stream=True, max_tokens=50))
        assert b"reservation_spent" not in await response.read()


async def test_time_is_charged_as_it_passed() -> None:
    async with limited(Budget(per="key", seconds=60), timeout_s=5.0) as (scene, cells):
        assert (await scene.ask(chat())).status == 200
        await scene.gateway.close()
        assert 0 <= await held(cells, f"{KEYLESS}/ms") < 5_000


async def test_a_call_that_may_take_longer_than_the_time_that_is_left_is_refused() -> None:
    async with limited(Budget(per="key", seconds=4), timeout_s=5.0) as (scene, _):
        response = await scene.ask(chat())
        assert (await response.json())["error"]["code"] == "budget_exceeded"


async def test_a_team_is_the_one_that_the_key_is_bound_to() -> None:
    """The field is read where the key has it; a header cannot name a team."""
    async with limited(Budget(per="team", calls=1)) as (scene, cells):
        assert (await scene.ask(chat(), X_Watchkeeper_Team="other")).status == 200
        assert await held(cells, "meter/scope/team/default/unattributed/total/calls") == 1


MESSAGES = [
    b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m", "model": "alpha", "usage": '
    b'{"input_tokens": 9, "output_tokens": 1}}}\n\n',
    *[
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": '
        b'{"type": "text_delta", "text": "word "}}\n\n'
    ]
    * 90,
]
RESPONSES = [
    b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "sequence_number": 7, "delta": '
    b'"word "}\n\n'
] * 90


@pytest.mark.parametrize(
    ("path", "limit", "pieces", "ends"),
    [
        ("messages", "max_tokens", MESSAGES, b"event: error\ndata: "),
        ("responses", "max_output_tokens", RESPONSES, b"event: error\ndata: "),
    ],
)
async def test_a_cut_stream_ends_with_an_error_event_in_its_own_dialect(
    path: str, limit: str, pieces: list[bytes], ends: bytes
) -> None:
    async with limited(Budget(per="key", tokens=100_000)) as (scene, cells):
        scene.upstream.answer = streamed(*pieces)
        body = {"model": "alpha", limit: 20, "stream": True}
        body |= {"messages": [{"role": "user", "content": "Hi."}]} if path == "messages" else {"input": "Hi."}
        response = await scene.client.post(f"{scene.url}/v1/{path}", json=body)
        text = await response.read()
        last = text[text.rindex(b"event: ") :]
        assert last.startswith(ends) and b"20 output tokens were reserved" in last
        assert text.count(b"word ") <= 21
        await scene.gateway.close()
        assert 20 < await held(cells, f"{KEYLESS}/tokens") < 1_000


async def test_a_run_says_what_it_is_done_at_and_takes_no_step_more_than_it_said() -> None:
    """LiteLLM discussion #51157: a cap on one run."""
    async with limited(RunContract(most_steps=10)) as (scene, _):
        unnamed = await scene.ask(chat())
        assert unnamed.status == 403 and (await unnamed.json())["error"]["code"] == "run_unnamed"
        undeclared = await scene.ask(chat(), X_Watchkeeper_Run="r1")
        assert (await undeclared.json())["error"]["code"] == "run_undeclared"
        told = {"X_Watchkeeper_Run": "r1", "X_Watchkeeper_Run_Done": "the report is filed"}
        assert (await scene.ask(chat(), X_Watchkeeper_Run_Steps="2", **told)).status == 200
        assert (await scene.ask(chat(), X_Watchkeeper_Run="r1")).status == 200
        more = await scene.ask(chat(), X_Watchkeeper_Run_Steps="9", **told)
        assert (await more.json())["error"]["code"] == "run_steps_spent"
        high = await scene.ask(chat(), X_Watchkeeper_Run="r2", X_Watchkeeper_Run_Done="x", X_Watchkeeper_Run_Steps="11")
        assert (await high.json())["error"]["code"] == "run_ceiling_too_high"
        assert len(scene.upstream.heard) == 2


async def test_at_once_a_run_takes_exactly_the_steps_that_it_declared() -> None:
    told = {"X_Watchkeeper_Run": "r1", "X_Watchkeeper_Run_Done": "filed", "X_Watchkeeper_Run_Steps": "7"}
    async with limited(RunContract(), Budget(per="key", calls=100, slice_calls=20)) as (scene, cells):
        answers = await asyncio.gather(*(scene.ask(chat(), **told) for _ in range(30)))
        assert sorted(each.status for each in answers) == [200] * 7 + [403] * 23
        await scene.gateway.close()
        assert [each async for each in reservations(cells)] == []


class Wrote:
    def __init__(self, chunks: int, size: int) -> None:
        self.output_chunks, self.output_bytes = chunks, size


@pytest.mark.parametrize(
    ("chunks", "size", "at_least", "charged"),
    [(0, 0, 0, 0), (10, 40, 10, 10), (10, 15, 0, 10), (1, 1600, 100, 400), (3, 6, 3, 3)],
)
def test_what_is_surely_written_is_never_more_than_what_is_charged(
    chunks: int, size: int, at_least: int, charged: int
) -> None:
    written = Wrote(chunks, size)
    assert (surely(written), counted(written)) == (at_least, charged)
    assert surely(written) <= counted(written)
