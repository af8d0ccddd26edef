"""Asking: what was answered is not asked again, reruns are their own, hints are followed, and a cap is never passed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.adapters.store.sqlite_answers import SQLiteAnswers
from watchkeeper.engines.experiments.asking import Asker, CapReached, Restraint, draws
from watchkeeper.kinds.ports import Completion

pytestmark = pytest.mark.anyio
SHIP = '[{"role":"user","content":"How is the ship?"}]'


def said(text: str | None, **fields: Any) -> Completion:
    base: dict[str, Any] = {
        "output": text,
        "calls": None,
        "finish_reason": "stop",
        "model": "m",
        "input_tokens": 10,
        "output_tokens": 5,
        "duration_ns": 1,
    }
    return Completion(**base | fields)


class Scripted:
    """A provider that says what it was told to, and remembers what it was asked."""

    def __init__(self, *answers: Completion) -> None:
        self.answers, self.asked = list(answers), 0

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        self.asked += 1
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Slept:
    """A sleep that takes no time and remembers how long it was to be."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, pause: float) -> None:
        self.pauses.append(pause)
        await asyncio.sleep(0)


def busy(hint: float | None = None) -> Completion:
    return said(None, error="HTTP 429: busy", status=429, retriable=True, retry_after_s=hint)


async def test_what_was_answered_is_not_asked_again_and_a_rerun_is_never_the_same_answer(tmp_path: Path) -> None:
    provider, cache = Scripted(said("one"), said("two"), said("three")), SQLiteAnswers(tmp_path / "a.sqlite")
    ask = Asker(provider, "t", cache=cache)
    first = [(await ask(SHIP, {"model": "m"}, draw)).output for draw in "010101"]
    assert first == ["one", "two"] * 3 and provider.asked == 2
    assert (ask.told.asked, ask.told.kept, ask.told.sent) == (6, 4, 2)
    cache.close()
    again = Asker(provider, "t", cache=SQLiteAnswers(tmp_path / "a.sqlite"))
    assert (await again(SHIP, {"model": "m"}, "1")).output == "two" and provider.asked == 2


@pytest.mark.parametrize(
    "other",
    [{"target": "u"}, {"scope": "run-2"}, {"parameters": {"model": "n"}}, {"messages": SHIP.replace("ship", "sea")}],
)
async def test_a_question_that_differs_in_anything_is_another(other: dict[str, Any], tmp_path: Path) -> None:
    provider, cache = Scripted(said("one")), SQLiteAnswers(tmp_path / "a.sqlite")
    for given in ({}, other, {}, other):
        ask = Asker(provider, given.get("target", "t"), cache=cache, scope=given.get("scope", ""))
        await ask(given.get("messages", SHIP), given.get("parameters", {"model": "m"}))
    assert provider.asked == 2


async def test_the_order_of_parameters_does_not_matter(tmp_path: Path) -> None:
    provider = Scripted(said("one"))
    ask = Asker(provider, "t", cache=SQLiteAnswers(tmp_path / "a.sqlite"))
    await ask(SHIP, {"model": "m", "seed": 1})
    await ask(SHIP, {"seed": 1, "model": "m"})
    assert provider.asked == 1


async def test_equal_questions_at_once_are_one_call_and_a_failure_is_kept_for_nobody(tmp_path: Path) -> None:
    provider = Scripted(said(None, error="HTTP 400: no", status=400), said("one"))
    ask = Asker(provider, "t", cache=SQLiteAnswers(tmp_path / "a.sqlite"))
    both = await asyncio.gather(*(ask(SHIP, {}) for _ in range(5)))
    assert {each.error for each in both} == {"HTTP 400: no"} and provider.asked == 1
    assert (await ask(SHIP, {})).output == "one" and provider.asked == 2


async def test_a_provider_s_hint_is_followed_and_every_retry_is_counted() -> None:
    slept = Slept()
    ask = Asker(Scripted(busy(3.0), busy(), said("one")), "t", sleep=slept)
    assert (await ask(SHIP, {})).output == "one"
    assert slept.pauses[0] == 3.0 and 0.5 <= slept.pauses[1] <= 1.0
    assert (ask.told.sent, ask.told.retried, ask.told.failed) == (3, 2, 0)


@pytest.mark.parametrize("hint", [1e9, 61.0])
async def test_a_hint_longer_than_anybody_waits_is_a_failure(hint: float) -> None:
    ask = Asker(Scripted(busy(hint)), "t", sleep=Slept())
    assert (await ask(SHIP, {})).error == "HTTP 429: busy"
    assert (ask.told.sent, ask.told.failed) == (1, 1)


@pytest.mark.parametrize("hint", [-1.0, float("nan"), float("inf")])
async def test_a_hint_that_means_nothing_is_passed_over(hint: float) -> None:
    slept = Slept()
    ask = Asker(Scripted(busy(hint), said("one")), "t", sleep=slept)
    assert (await ask(SHIP, {})).output == "one" and slept.pauses[0] <= 0.5


async def test_what_cannot_go_better_is_not_tried_again() -> None:
    ask = Asker(Scripted(said(None, error="HTTP 400: no", status=400)), "t", sleep=Slept())
    assert (await ask(SHIP, {})).error is not None and ask.told.sent == 1


async def test_a_cap_is_never_passed_even_by_many_questions_at_once() -> None:
    restraint = Restraint(cap_usd=1.0, retries=0)
    ask = Asker(Scripted(said("one")), "t", restraint=restraint, price=lambda _: 0.05, most=lambda m, p: 0.1)
    came = await asyncio.gather(*(ask(SHIP, {}, str(n)) for n in range(50)), return_exceptions=True)
    answered = [each for each in came if isinstance(each, Completion)]
    assert len(answered) >= 18 and all(isinstance(each, Completion | CapReached) for each in came)
    while True:
        try:
            await ask(SHIP, {})
        except CapReached as reached:
            assert "cap of $1" in str(reached)
            break
    assert 0.9 <= ask.told.spent_usd <= 1.0


async def test_what_is_set_aside_for_others_is_waited_for_not_taken_as_spent() -> None:
    restraint = Restraint(cap_usd=1.0, retries=0)
    ask = Asker(Scripted(said("one")), "t", restraint=restraint, price=lambda _: 0.001, most=lambda m, p: 0.4)
    came = await asyncio.gather(*(ask(SHIP, {}, str(n)) for n in range(100)))
    assert len(came) == 100 and ask.told.spent_usd == pytest.approx(0.1)


async def test_a_pause_that_the_provider_asks_for_holds_for_all_questions() -> None:
    release, sent = asyncio.Event(), []

    class Busy:
        async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
            sent.append(messages)
            return busy(30.0) if len(sent) == 1 else said("one")

    async def sleep(pause: float) -> None:
        await release.wait()

    ask = Asker(Busy(), "t", sleep=sleep)
    first = asyncio.create_task(ask("first", {}))
    await asyncio.sleep(0)
    others = [asyncio.create_task(ask(f"other {n}", {})) for n in range(5)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert sent == ["first"]
    release.set()
    assert (await first).output == "one" and all([(await each).output == "one" for each in others])


async def test_answers_of_a_composition_that_no_longer_serves_are_asked_anew(tmp_path: Path) -> None:
    async def go(composition: str, count: int = 4) -> tuple[list[str | None], int, int]:
        provider, cache = Scripted(said(composition, composition=composition)), SQLiteAnswers(tmp_path / "a.sqlite")
        ask = Asker(provider, "gateway", cache=cache)
        came = await asyncio.gather(*(ask(SHIP, {"model": "m"}, str(n)) for n in range(count)))
        cache.close()
        return [each.output for each in came], provider.asked, ask.told.kept

    assert await go("one") == (["one"] * 4, 4, 0)
    assert await go("one") == (["one"] * 4, 1, 4)  # one is asked anew, to learn that nothing has changed
    assert await go("two") == (["two"] * 4, 4, 0)
    assert await go("two", 6) == (["two"] * 6, 3, 4)


async def test_a_gateway_that_does_not_answer_vouches_for_nothing_and_loses_nothing(tmp_path: Path) -> None:
    cache = SQLiteAnswers(tmp_path / "a.sqlite")
    for provider in (Scripted(said("one", composition="c")), Scripted(said(None, error="HTTP 400: no", status=400))):
        ask = Asker(provider, "gateway", cache=cache)
        last = [await ask(SHIP, {}, str(n)) for n in range(3)]
    assert [each.error for each in last] == ["HTTP 400: no"] * 3
    ask = Asker(Scripted(said("one", composition="c")), "gateway", cache=cache)
    assert [(await ask(SHIP, {}, str(n))).output for n in range(3)] == ["one"] * 3 and ask.told.kept == 3


async def test_under_a_cap_what_cannot_be_priced_is_not_asked() -> None:
    provider = Scripted(said("one"))
    ask = Asker(provider, "t", restraint=Restraint(cap_usd=1.0), most=lambda m, p: None)
    with pytest.raises(CapReached, match="unknown"):
        await ask(SHIP, {})
    assert provider.asked == 0


async def test_an_answer_whose_cost_nobody_told_counts_as_the_most_it_could_be() -> None:
    restraint = Restraint(cap_usd=1.0, retries=0)
    ask = Asker(Scripted(said("one")), "t", restraint=restraint, price=lambda _: None, most=lambda m, p: 0.3)
    await ask(SHIP, {})
    assert ask.told.spent_usd == pytest.approx(0.3) and ask.told.unpriced == 1


async def test_requests_keep_to_their_pace() -> None:
    slept = Slept()
    ask = Asker(Scripted(said("one")), "t", restraint=Restraint(requests_per_minute=60), sleep=slept)
    await asyncio.gather(*(ask(SHIP, {}, str(n)) for n in range(5)))
    assert [round(pause) for pause in slept.pauses] in ([1, 2, 3], [1, 2, 3, 4])


def test_draws_number_what_is_equal() -> None:
    number = draws()
    assert [number(each) for each in "abaab"] == ["0", "0", "1", "2", "1"]


PROGRAM = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from watchkeeper.adapters.store.sqlite_answers import SQLiteAnswers
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.kinds.ports import Completion

    class Counting:
        async def complete(self, messages, parameters):
            with open(sys.argv[2], "a") as asked:
                asked.write("x")
            return Completion(output="ok", calls=None, finish_reason=None, model=None, input_tokens=None,
                              output_tokens=None, duration_ns=0)

    async def main():
        ask = Asker(Counting(), "t", cache=SQLiteAnswers(Path(sys.argv[1])))
        for number in range(40):
            await ask("[]", {}, str(number))
            if number == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
"""


def test_after_kill_9_nothing_that_was_answered_is_asked_again(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    words = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "a.sqlite"), str(asked)]
    killed = subprocess.run([*words, "24"], env=os.environ, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL and len(asked.read_text()) == 25
    subprocess.run([*words, "-1"], env=os.environ, check=True, timeout=60)
    assert len(asked.read_text()) == 40


def test_kept_answers_are_the_owner_s_alone_and_can_be_taken_away(tmp_path: Path) -> None:
    cache = SQLiteAnswers(tmp_path / "evals" / "a.sqlite", clock_ns=iter(range(10, 99)).__next__)
    for number in range(3):
        cache.put(str(number), said(f"secret {number}"))
    assert (tmp_path / "evals" / "a.sqlite").stat().st_mode & 0o077 == 0
    assert cache.counts()[0] == 3 and cache.forget(before_ns=12) == 2 and cache.counts()[0] == 1
    assert cache.get("2") == said("secret 2") and cache.get("0") is None
    assert json.dumps(cache.forget()) == "1"
