"""What the ledger says of itself: settled, reserved and leased add up to what a meter holds."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.unit.engines.decide_scene import SickCells, call, chain_of
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.key_limits import KeyLimits
from watchkeeper.engines.decide.books import Declared, books
from watchkeeper.engines.decide.caps import FRESH_S, Cap, Caps, set_cap
from watchkeeper.engines.decide.contracts import Contracts
from watchkeeper.kinds.facts import Contract, Reserve
from watchkeeper.kinds.ports import Page
from watchkeeper.records.event import KeyLimit
from watchkeeper.records.identity import Identity
from watchkeeper.records.meter import meter_key, read_meter, scope_of
from watchkeeper.records.span import Cost, Usage

pytestmark = pytest.mark.anyio

DAY_S = 86_400
RULES = (
    Declared("shadow", "scope", "key", "total", "nano_usd", 50, False),
    Declared("money", "scope", "key", "total", "nano_usd", 100, True),
    Declared("day", "scope", "session", "day", "tokens", 1_000, True),
)


async def test_settled_reserved_and_leased_add_up_to_what_is_held() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", usd=100 / 1e9), Budget(per="session", tokens=1_000, slice_tokens=100))
    first, second = call(), call()
    await chain.decide(first)
    await chain.decide(second)
    await chain.settle(first, Usage(input_tokens=1, output_tokens=2), Cost(usd=4 / 1e9, source="test"))
    found = {line.of.unit: line for line in (await books(cells, RULES, 1)).lines}
    money = found["nano_usd"]
    assert (money.held, money.settled, money.reserved, money.leased) == (14, 4, 10, 0)
    assert (money.cap, money.policy, money.enforced, money.share) == (100, "money", True, 0.14)


async def test_what_a_keys_own_limits_hold_is_shown_as_the_keys() -> None:
    cells, day = MemoryCells(), 5 * DAY_S * 10**9
    chain, _ = chain_of(cells, KeyLimits())
    limits = (KeyLimit(unit="tokens", amount=1_000, window="day"), KeyLimit(unit="calls", amount=9, window="total"))
    await chain.decide(msgspec.structs.replace(call(at_ns=day), limits=limits))
    found = {line.of.unit: line for line in (await books(cells, RULES, day + 7)).lines}
    tokens, calls = found["tokens"], found["calls"]
    assert (tokens.of.level, tokens.of.owner, tokens.window, tokens.current) == ("key", "k1", "day", True)
    assert (calls.window, calls.policy, calls.enforced) == ("total", "key_limits", True)
    (ended,) = (line for line in (await books(cells, RULES, 6 * DAY_S * 10**9)).lines if line.of.unit == "tokens")
    assert (ended.window, ended.current) == ("ended", False)
    assert scope_of(tokens.meter) == "meter/key_limit/k1/day/tokens"


async def test_a_slice_is_shown_as_leased() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="session", tokens=1_000, slice_tokens=100, window="day"))
    await chain.decide(call(at_ns=5 * DAY_S * 10**9))
    now = await books(cells, RULES, 5 * DAY_S * 10**9 + 7)
    (line,) = now.lines
    assert (line.held, line.settled, line.leased, line.cap, line.current) == (100, 0, 100, 1_000, True)
    (left,) = now.slices
    assert left.slice.meter == line.meter
    await chain.close()
    (line,) = (await books(cells, RULES, 5 * DAY_S * 10**9 + 7)).lines
    assert (line.held, line.reserved) == (10, 10)
    later = await books(cells, RULES, 6 * DAY_S * 10**9)
    assert not later.lines[0].current


async def test_a_cap_that_was_set_counts_instead_within_a_second_and_in_the_next_window() -> None:
    cells = MemoryCells()
    await set_cap(cells, "meter/scope/key/default/=k1/tokens", Cap(limit=15, by="local", at_ns=1))
    chain, record = chain_of(cells, Budget(per="key", tokens=1_000, window="day"))
    stops = [(await chain.decide(call(at_ns=day * DAY_S * 10**9))).stop for day in (1, 1, 2)]
    assert [stop is not None for stop in stops] == [False, True, False]
    assert "15 tokens a day" in record[1].sentence
    line = (await books(cells, RULES, 2 * DAY_S * 10**9)).lines[0]
    assert line.cap == 15 and line.set_by == "local"


async def test_caps_are_read_again_when_they_are_older_than_a_second() -> None:
    cells, now = MemoryCells(), [10.0]
    held = Caps(cells, lambda: now[0])
    request = Reserve(meter="meter/scope/key/default/=k1/total/calls", unit="calls", amount=1, limit=9)
    assert held.due and not held.known
    await held.load()
    assert held.of(request).limit == 9 and not held.due
    await set_cap(cells, "meter/scope/key/default/=k1/calls", Cap(limit=3, by="local", at_ns=1))
    now[0] += FRESH_S + 0.1
    assert held.due
    await held.load()
    assert held.of(request).limit == 3
    await set_cap(cells, "meter/scope/key/default/=k1/calls", None)
    await held.load()
    assert held.of(request).limit == 9


async def test_while_nobody_can_say_which_cap_is_in_force_a_budget_lets_nothing_pass() -> None:
    cells = SickCells(MemoryCells())
    cells.broken = True
    chain, _ = chain_of(cells, Budget(per="key", tokens=1_000))
    ruling = await chain.decide(call())
    assert ruling.stop is not None and ruling.stop.reason == "facts_unavailable"


async def test_what_a_run_declared_first_holds() -> None:
    cells = MemoryCells()
    contracts = Contracts(cells)
    asked = Contract(tenant="default", run="r1")
    assert (await contracts.of(asked, 1)).steps is None and contracts.known(asked) is None
    first = Contract(tenant="default", run="r1", done="filed", steps=5)
    assert (await contracts.of(first, 1)).steps == 5
    more = Contract(tenant="default", run="r1", done="never", steps=900)
    assert (await Contracts(cells).of(more, 2)).done == "filed"
    assert (await contracts.of(Contract(tenant="acme", run="r1"), 2)).steps is None


def test_a_meters_key_is_read_as_it_was_made() -> None:
    name = f"{meter_key('', 'session', 'a/b', 's%1/2', 'k1', 'total')}/tokens"
    meter = read_meter(name)
    assert meter is not None
    assert (meter.book, meter.level, meter.tenant, meter.owner, meter.unit) == (
        "scope",
        "session",
        "a/b",
        "s%1/2",
        "tokens",
    )
    nobody = read_meter(f"{meter_key('n', 'run', 't', None, 'k1', '60')}/calls")
    assert nobody is not None and (nobody.owner, nobody.key, nobody.start) == (None, "k1", "60")
    assert scope_of("meter/scope/key/default/=k1/60/calls") == "meter/scope/key/default/=k1/calls"
    assert scope_of("meter/tool_cap/run/abc/total") == "meter/tool_cap/run/abc"
    assert read_meter("meter/else") is None


async def test_a_team_shares_a_meter_over_its_keys() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="team", calls=2))
    stops = [
        (await chain.decide(call(identity=Identity(key=f"k{n}", team="search")))).stop is not None for n in range(3)
    ]
    assert stops == [False, False, True]


async def test_two_hundred_first_calls_read_the_caps_once() -> None:
    cells = CountingCells()
    chain, _ = chain_of(cells, Budget(per="key", tokens=100_000))
    await asyncio.gather(*(chain.decide(call()) for _ in range(200)))
    assert cells.scans == 1


class CountingCells(MemoryCells):
    """Counts scans."""

    scans = 0

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        self.scans += 1
        await asyncio.sleep(0.01)
        return await super().scan(prefix, cursor, limit)
