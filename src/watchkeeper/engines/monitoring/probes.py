"""Asks fixed questions on a schedule, so that a model that changes behind its name is noticed by what it says.

Each round asks each probe several times, through the gateway, like any caller: what is asked and answered is recorded
whole. Of each answer a score is kept: the answer itself (shortened, spaces and case made alike), the form it has, how
long it is, and which model said that it answered. The `canary` monitor compares them with the first rounds.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from watchkeeper.kinds.ports import Completion, ModelProvider
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import digest, new_id
from watchkeeper.records.record import Record, Scalar
from watchkeeper.records.score import Score

SCORE = "probe"
ACCEPTED = "probe.accepted"
AGENT = "watchkeeper-probe"
LONGEST_LABEL = 80
AT_ONCE = 4
_log = logging.getLogger("watchkeeper.probes")
_REFUSAL = re.compile(
    r"\b(can't|cannot|can not|unable to|won't) (help|assist|comply|provide|do that|answer)", re.IGNORECASE
)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One fixed question: the model to ask, the messages, the request's other fields, and how often in a round.

    With `upstream` that one is asked and no other, whatever the model's route says.
    """

    name: str
    model: str
    messages: str
    parameters: dict[str, Any] = {}
    samples: int = 3
    every_s: float = 3600.0
    upstream: str | None = None

    @property
    def digest(self) -> str:
        """What identifies the question: with another one a new baseline begins."""
        asked = {"model": self.model, "messages": self.messages, "parameters": self.parameters}
        return digest(msgspec.json.encode(asked, order="sorted"))


class Round(Record):
    """What one round of one probe brought: answers, failures, and the last error."""

    probe: str
    answers: int
    failures: int
    error: str | None = None


class Prober:
    """Asks probes. `record` keeps a record; `ask` gives a provider that leads to the gateway, None while none runs.

    Where a probe is for one upstream, `ask` is given its name.
    """

    def __init__(
        self,
        probes: tuple[Probe, ...],
        ask: Callable[..., ModelProvider | None],
        record: Callable[[Record], object],
        clock_ns: Callable[[], int],
    ) -> None:
        self.probes = probes
        self.record = record
        self._ask, self._clock_ns = ask, clock_ns
        self._turn = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask each probe at its own pace until told to stop. The first round waits for the first pace to pass."""
        if self.probes:
            await asyncio.gather(*(self._follow(probe, stopping) for probe in self.probes))

    async def once(self, names: tuple[str, ...] = ()) -> list[Round]:
        """One round of all probes, or of those named; raises `LookupError` for an unknown name or without a gateway."""
        known = {probe.name: probe for probe in self.probes}
        for name in names:
            if name not in known:
                raise LookupError(f"There is no probe {name!r}; there are: {', '.join(known) or 'none'}.")
        return [await self._round(known[name]) for name in names or known]

    async def _follow(self, probe: Probe, stopping: asyncio.Event) -> None:
        while True:
            try:
                await asyncio.wait_for(stopping.wait(), probe.every_s)
                return
            except TimeoutError:
                pass
            try:
                done = await self._round(probe)
            except (LookupError, OSError) as error:
                _log.warning("probe %s was not asked: %s", probe.name, error)
                continue
            if done.failures:
                _log.warning(
                    "probe %s: %d of %d calls failed: %s", probe.name, done.failures, probe.samples, done.error
                )

    async def _round(self, probe: Probe) -> Round:
        async with self._turn:
            provider = self._ask() if probe.upstream is None else self._ask(probe.upstream)
            if provider is None:
                raise LookupError("No gateway runs here that could be asked. Start one with: watchkeeper serve")
            room = asyncio.Semaphore(AT_ONCE)
            at_ns = self._clock_ns()

            async def one() -> Completion:
                async with room:
                    return await provider.complete(probe.messages, {**probe.parameters, "model": probe.model})

            answers = await asyncio.gather(*(one() for _ in range(probe.samples)))
            for answer in answers:
                self.record(score_of(probe, answer, at_ns, self._clock_ns()))
            errors = [answer.error for answer in answers if answer.error is not None]
            return Round(
                probe=probe.name,
                answers=len(answers) - len(errors),
                failures=len(errors),
                error=errors[-1] if errors else None,
            )


def score_of(probe: Probe, answer: Completion, round_ns: int, now_ns: int) -> Score:
    """What is kept of one answer; a call that failed has neither label nor value, and its error."""
    said: dict[str, Scalar] = {"model": answer.model, "asked": probe.model, "round": round_ns, "error": answer.error}
    if answer.error is None:
        said["form"] = form_of(answer)
    return Score(
        score_id=new_id("scr", now_ns),
        subject_kind="probe",
        subject_id=probe.name,
        name=SCORE,
        at_ns=now_ns,
        event_ns=now_ns,
        value=None if answer.error is not None else float(len(answer.output or "")),
        label=None if answer.error is not None else label_of(answer),
        scorer=SCORE,
        version=probe.digest[:16],
        source="probe",
        attributes={name: value for name, value in said.items() if value is not None},
    )


def accepted(name: str, actor: str, now_ns: int) -> tuple[Score, Audit]:
    """That somebody accepts how a probe is answered: a new baseline begins after it."""
    score = Score(
        score_id=new_id("scr", now_ns),
        subject_kind="probe",
        subject_id=name,
        name=ACCEPTED,
        at_ns=now_ns,
        event_ns=now_ns,
        label=actor,
        source="probe",
    )
    act = Audit(audit_id=new_id("aud", now_ns), at_ns=now_ns, act="probe.accepted", actor=actor, subject=name)
    return score, act


def label_of(answer: Completion) -> str:
    """The answer in short, equal when it is: its tool calls, or its text without case, ends and extra spaces."""
    if answer.calls:
        return f"calls {answer.calls}"[:LONGEST_LABEL]
    words = " ".join((answer.output or "").casefold().split())
    return words.strip(" .!?\"'`*")[:LONGEST_LABEL]


def form_of(answer: Completion) -> str:
    """What an answer looks like: tools by name, refusal, empty, JSON, markdown or text; and how it ended."""
    return f"{_shape(answer)}/{answer.finish_reason or 'unknown'}"


def _shape(answer: Completion) -> str:
    if answer.calls:
        made: list[Mapping[str, Any]] = msgspec.json.decode(answer.calls)
        return "+".join(str(call.get("name")) for call in made)
    text = (answer.output or "").strip()
    if not text:
        return "empty"
    if answer.finish_reason == "refusal" or _REFUSAL.search(text[:400]):
        return "refusal"
    if text[0] in "{[":
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            return "text"
        return "json"
    return "markdown" if re.search(r"^(#{1,6} |[-*] |```)", text, re.MULTILINE) else "text"
