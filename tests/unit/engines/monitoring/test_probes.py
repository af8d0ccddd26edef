"""Probes: what is kept of an answer, that failures are counted, and that nobody is asked without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from watchkeeper.engines.monitoring.probes import Probe, Prober, accepted, form_of, label_of
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score

pytestmark = pytest.mark.anyio
PROBE = Probe(name="colour", model="m", messages='[{"role":"user","content":"Colour?"}]', parameters={"temperature": 0})


def completion(**fields: Any) -> Completion:
    base: dict[str, Any] = {
        "output": None, "calls": None, "finish_reason": "stop", "model": "m-1", "input_tokens": 1, "output_tokens": 1,
        "duration_ns": 1,
    }  # fmt: skip
    return Completion(**base | fields)


class Model:
    """Answers from a list, and keeps what it was asked."""

    def __init__(self, *answers: Completion) -> None:
        self.answers, self.asked = list(answers), []

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        self.asked.append((messages, dict(parameters)))
        return self.answers[(len(self.asked) - 1) % len(self.answers)]


def prober(model: Model | None, *probes: Probe) -> tuple[Prober, list[Record]]:
    kept: list[Record] = []
    return Prober(probes or (PROBE,), lambda: model, kept.append, lambda: 5), kept


async def test_a_round_asks_each_probe_and_keeps_a_score_of_each_answer() -> None:
    model = Model(completion(output="Blue."), completion(error="HTTP 500: no"))
    asked, kept = prober(model)
    (done,) = await asked.once()
    assert (done.answers, done.failures, done.error) == (2, 1, "HTTP 500: no")
    assert model.asked[0] == (PROBE.messages, {"temperature": 0, "model": "m"})
    first, failed = kept[0], kept[1]
    assert isinstance(first, Score)
    assert (first.label, first.value, first.attributes["form"], first.attributes["model"]) == (
        "blue",
        5,
        "text/stop",
        "m-1",
    )
    assert isinstance(failed, Score)
    assert (failed.label, failed.value, failed.attributes["error"]) == (None, None, "HTTP 500: no")


async def test_only_the_named_probes_are_asked_and_an_unknown_name_is_told() -> None:
    model = Model(completion(output="x"))
    asked, kept = prober(model, PROBE, Probe(name="other", model="m", messages="[]", samples=1))
    await asked.once(("other",))
    assert [score.subject_id for score in kept if isinstance(score, Score)] == ["other"]
    with pytest.raises(LookupError, match="no probe 'none'; there are: colour, other"):
        await asked.once(("none",))


async def test_without_a_gateway_nothing_is_asked() -> None:
    with pytest.raises(LookupError, match="watchkeeper serve"):
        await prober(None)[0].once()


async def test_a_schedule_asks_again_and_ends_when_told() -> None:
    model, stopping = Model(completion(output="x")), asyncio.Event()
    asked, _ = prober(model, Probe(name="p", model="m", messages="[]", samples=1, every_s=0.01))
    running = asyncio.create_task(asked.run(stopping))
    while len(model.asked) < 3:
        await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(running, 20)


def test_another_question_has_another_digest() -> None:
    assert PROBE.digest == Probe(name="x", model="m", messages=PROBE.messages, parameters={"temperature": 0}).digest
    assert PROBE.digest != Probe(name="colour", model="m", messages=PROBE.messages).digest


@pytest.mark.parametrize(
    ("said", "label", "form"),
    [
        ({"output": '  "Blue!" '}, "blue", "text/stop"),
        ({"output": "A  b\nC"}, "a b c", "text/stop"),
        ({"output": ""}, "", "empty/stop"),
        ({"output": "I cannot help with that.", "finish_reason": "stop"}, "i cannot help with that", "refusal/stop"),
        ({"output": '{"a": 1}'}, '{"a": 1}', "json/stop"),
        ({"output": '{"a": 1', "finish_reason": "length"}, '{"a": 1', "text/length"),
        ({"output": "# Head\n- a"}, "# head - a", "markdown/stop"),
        (
            {"calls": json.dumps([{"name": "f", "arguments": "{}"}])},
            'calls [{"name": "f", "arguments": "{}"}]',
            "f/stop",
        ),
        ({"output": "x" * 500, "finish_reason": None}, "x" * 80, "text/unknown"),
    ],
)
def test_an_answer_is_kept_in_short(said: dict[str, Any], label: str, form: str) -> None:
    assert (label_of(completion(**said)), form_of(completion(**said))) == (label, form)


def test_an_acceptance_is_a_score_and_an_act() -> None:
    score, act = accepted("colour", "ada", 7)
    assert (score.name, score.event_ns, act.act, act.actor) == ("probe.accepted", 7, "probe.accepted", "ada")
