"""Asks a target many things: at a pace, again where that helps, from what was kept where it can, and never above a cap.

Everything that puts questions to a model (suites, the prompt profiler, the format tax, migrations, properties) asks
through one `Asker`:

    async with asker_of(...) as ask:                      # compose/asking.py builds one from settings
        answer = await ask(messages, parameters, draw="0")

`draw` names an independent draw. Two questions that are equal in target, parameters and messages get the same answer
only if their draw is equal too; reruns of a case have draws of their own, so that a rerun is never answered with an
earlier one's answer. Answers are kept as they come, so that a run that was killed is taken up where it was by asking
again: what was answered is not asked a second time. What was under way when the process died is asked again, and may
have been charged twice.

A kept answer that came through a gateway is only good while the gateway composes its answers as it did then: the first
one that is wanted is asked anew, and where another composition answers now (another route, other policies) none of that
one's answers are used. Otherwise a run would confirm what no longer serves.

Nothing is hidden: `told` counts what was asked, kept, tried again and failed, and what it cost.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from watchkeeper.engines.experiments.pacing import Pace
from watchkeeper.kinds.ports import AnswerCache, Completion, ModelProvider
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record

VERSION = "1"
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


class Restraint(Record):
    """What an asker keeps to. `cap_usd` is for all that it asks; `retries` is for each question.

    `longest_pause_s` is the longest that a provider's own hint is followed; a longer one counts as a failure.
    """

    requests_per_minute: Annotated[float, Meta(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Meta(gt=0)] | None = None
    retries: Annotated[int, Meta(ge=0, le=20)] = 2
    longest_pause_s: Annotated[float, Meta(ge=0)] = LONGEST_PAUSE_S
    cap_usd: Annotated[float, Meta(ge=0)] | None = None


class Told(msgspec.Struct):
    """What came of asking: questions `sent` (retries included), answered from what was `kept`, `retried`, `failed`.

    `spent_usd` is the known cost of what was sent; `unpriced` counts answers whose cost is not known.
    """

    asked: int = 0
    sent: int = 0
    kept: int = 0
    retried: int = 0
    failed: int = 0
    spent_usd: float = 0.0
    unpriced: int = 0


class CapReached(Exception):
    """The next question might cost more than is left under the cap, so it is not asked."""


class Asker:
    """A ModelProvider around another one, with everything that the module's words promise. Used from one event loop.

    `target` says in words whom it asks (part of what makes a question the same). `scope` keeps the answers of one run
    apart, "" shares them. `price` says what an answer cost, `most` the most that a question can cost; both in US
    dollars, None for unknown. Under a cap an unknown most stops the asking, for it could be anything.
    """

    def __init__(
        self,
        provider: ModelProvider,
        target: str,
        *,
        restraint: Restraint | None = None,
        cache: AnswerCache | None = None,
        scope: str = "",
        price: Callable[[Completion], float | None] | None = None,
        most: Callable[[str, Mapping[str, object]], float | None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.told = Told()
        self._provider, self._target, self._cache, self._scope = provider, target, cache, scope
        self._price, self._most, self._sleep = price, most, sleep
        self._restraint = wanted = restraint or Restraint()
        self._rng = rng or random.Random()
        self._requests = Pace(wanted.requests_per_minute, sleep=sleep) if wanted.requests_per_minute else None
        self._tokens = Pace(wanted.tokens_per_minute, sleep=sleep) if wanted.tokens_per_minute else None
        self._held_usd = 0.0
        self._settled = asyncio.Event()
        self._resting = 0
        self._rested = asyncio.Event()
        self._rested.set()
        self._composed: dict[str, asyncio.Task[Completion]] = {}
        self._fresh: set[str] = set()
        self._under_way: dict[str, asyncio.Future[Completion]] = {}

    @property
    def keeps(self) -> bool:
        """Whether answers are kept."""
        return self._cache is not None

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One answer, as a ModelProvider gives it: the draw is the first."""
        return await self(messages, parameters)

    async def __call__(self, messages: str, parameters: Mapping[str, object], draw: str = "0") -> Completion:
        """The answer to a JSON message list; raises `CapReached` where the cap does not allow to ask.

        A failure is a Completion with `error` set, and is never kept.
        """
        self.told.asked += 1
        if self._cache is None:
            return await self._ask(messages, parameters)
        key = self.key(messages, parameters, draw)
        kept = self._cache.get(key)
        if kept is not None:
            still = await self._still(key, kept, messages, parameters)
            if still is not None:
                return still
        under_way = self._under_way.get(key)
        if under_way is not None:
            self.told.kept += 1
            return await asyncio.shield(under_way)
        return await self._ask_once(key, messages, parameters)

    def key(self, messages: str, parameters: Mapping[str, object], draw: str) -> str:
        """The name of a question: the digest of everything that its answer depends on."""
        plain = msgspec.json.encode(parameters, order="deterministic").decode()
        return digest("\0".join((VERSION, self._scope, self._target, plain, messages, draw)).encode("utf-8", "replace"))

    async def _still(
        self, key: str, kept: Completion, messages: str, parameters: Mapping[str, object]
    ) -> Completion | None:
        """What is to be answered with a kept answer at hand: it, a new one, or None where it has to be asked for.

        One kept answer of each composition is asked for anew. Where that fails nothing is known, and the failure is
        told for that question alone.
        """
        before = kept.composition
        if before is None or key in self._fresh:
            self.told.kept += 1
            return kept
        check = self._composed.get(before)
        asks = check is None
        if check is None:
            check = self._composed[before] = asyncio.create_task(self._ask(messages, parameters))
        try:
            now = await asyncio.shield(check)
        except CapReached:
            self._composed.pop(before, None)
            raise
        if now.error is not None:
            self._composed.pop(before, None)
            return now if asks else await self._still(key, kept, messages, parameters)
        if now.composition == before:
            self.told.kept += 1
            return kept
        if not asks:
            return None
        self._keep(key, now)
        return now

    def _keep(self, key: str, answer: Completion) -> None:
        assert self._cache is not None
        self._cache.put(key, answer)
        self._fresh.add(key)

    async def _ask_once(self, key: str, messages: str, parameters: Mapping[str, object]) -> Completion:
        """Ask, while others who ask the same wait for this answer."""
        answered = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._ask(messages, parameters)
            if answer.error is None:
                self._keep(key, answer)
            answered.set_result(answer)
            return answer
        except BaseException as error:
            answered.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            answered.exception()  # nobody need have waited for it
            raise
        finally:
            del self._under_way[key]

    async def _ask(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        most = await self._hold(messages, parameters)
        try:
            answer = await self._persist(messages, parameters)
            self._book(answer, most)
            return answer
        finally:
            self._held_usd = max(0.0, self._held_usd - most)
            self._settled.set()

    async def _persist(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """Ask until there is an answer, or it does not help to ask again."""
        for attempt in range(self._restraint.retries + 1):
            await self._pace(messages)
            self.told.sent += 1
            answer = await self._provider.complete(messages, parameters)
            if self._tokens is not None and answer.output_tokens:
                self._tokens.correct(answer.output_tokens)
            last = attempt == self._restraint.retries
            pause = None if last or answer.error is None or not answer.retriable else self._pause(answer, attempt)
            if pause is None:
                self.told.failed += answer.error is not None
                return answer
            self.told.retried += 1
            await self._rest(pause, hinted=answer.retry_after_s is not None)
        raise AssertionError("the last attempt returns")

    async def _rest(self, pause: float, hinted: bool) -> None:
        """Wait before another try. A pause that the provider asks for holds for everything that is asked of it."""
        if not hinted:
            await self._sleep(pause)
            return
        self._resting += 1
        self._rested.clear()
        try:
            await self._sleep(pause)
        finally:
            self._resting -= 1
            if not self._resting:
                self._rested.set()

    async def _pace(self, messages: str) -> None:
        await self._rested.wait()
        if self._requests is not None:
            await self._requests.wait()
        if self._tokens is not None:
            await self._tokens.wait(max(1, len(messages) // 4))

    def _pause(self, answer: Completion, attempt: int) -> float | None:
        """Seconds until the next try: the provider's hint where it can be followed, else doubling with jitter."""
        hint = answer.retry_after_s
        if hint is not None and math.isfinite(hint) and hint >= 0:
            return hint if hint <= self._restraint.longest_pause_s else None
        longest = min(self._restraint.longest_pause_s, FIRST_PAUSE_S * 2.0**attempt)
        return longest * (0.5 + self._rng.random() / 2)

    async def _hold(self, messages: str, parameters: Mapping[str, object]) -> float:
        """Set the most that a question can cost aside; raises `CapReached`.

        Where it fits under the cap but for what is set aside for others, their answers are waited for: most cost less.
        """
        cap = self._restraint.cap_usd
        if cap is None:
            return 0.0
        most = None if self._most is None else self._most(messages, parameters)
        if most is None:
            raise CapReached(
                f"There is a cap of ${cap:g}, and what the next question may cost is unknown: its model has no price, "
                "or nothing limits its output. Give the model a [[prices]] table and set max_tokens, or drop the cap."
            )
        most *= self._restraint.retries + 1
        while self._held_usd > 0 and self.told.spent_usd + most <= cap < self.told.spent_usd + self._held_usd + most:
            self._settled.clear()
            await self._settled.wait()
        if self.told.spent_usd + self._held_usd + most > cap:
            raise CapReached(
                f"${self.told.spent_usd:.4g} of the cap of ${cap:g} are spent, and the next question may "
                f"cost up to ${most:.4g}. Raise the cap, ask for fewer tokens, or ask less."
            )
        self._held_usd += most
        return most

    def _book(self, answer: Completion, most: float) -> None:
        """Count what an answer cost; an unknown cost counts as the most under a cap."""
        cost = None if self._price is None else self._price(answer)
        if cost is not None:
            self.told.spent_usd += cost
        elif answer.error is None or answer.status is None:
            self.told.unpriced += answer.error is None
            self.told.spent_usd += most


def draws() -> Callable[[Any], str]:
    """A function that numbers equal things: each time one comes again, it gets another draw."""
    seen: dict[Any, int] = {}

    def number(what: Any) -> str:
        seen[what] = seen.get(what, -1) + 1
        return str(seen[what])

    return number
