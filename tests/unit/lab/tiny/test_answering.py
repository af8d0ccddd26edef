"""The tiny model behind the lab's endpoint, as the real OpenAI client meets it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from watchkeeper.compose.asking import provider_of
from watchkeeper.engines.experiments.formats import TOLD, parameters_of
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.tiny import masks
from watchkeeper.lab.tiny.model import SHA256, WEIGHTS, TinyError, loaded

pytestmark = pytest.mark.anyio

SUM = "Ann has 9 pens. Gets 2. Loses 4. How many?"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabServer]:
    with LabServer(LabConfig()) as server:
        yield server


@pytest.fixture
def client(lab: LabServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=lab.base_url, api_key="lab", max_retries=0, timeout=30) as client:
        yield client


def talk(form: Any = "free") -> list[Any]:
    return [{"role": "system", "content": TOLD[form]}, {"role": "user", "content": SUM}]


def say(client: openai.OpenAI, form: Any = "free", **more: Any) -> Any:
    given = {"temperature": 0, **parameters_of(form), **more}
    return client.chat.completions.create(model="lab-tiny", messages=talk(form), **given)


def test_it_is_listed_and_says_what_it_is(client: openai.OpenAI) -> None:
    assert "lab-tiny" in {model.id for model in client.models.list()}
    raw = client.chat.completions.with_raw_response.create(model="lab-tiny", messages=talk(), temperature=0)
    assert raw.headers["x-watchkeeper-lab"] == "tiny-model"
    answer = raw.parse()
    assert answer.choices[0].message.content == "9+2=11, 11-4=7\nAnswer: 7"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 15


def test_a_format_is_kept_and_what_its_mask_took_is_told(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance")
    answer = say(client, "strict", logprobs=True, top_logprobs=5)
    choice = answer.choices[0]
    assert set(json.loads(choice.message.content)) == {"answer"}
    told = choice.logprobs
    assert "".join(each.token for each in told.content) == choice.message.content
    assert "".join(bytes(each.bytes).decode() for each in told.content) == choice.message.content
    kept = math.prod(1 - each.masked_mass for each in told.content)
    assert 0 < 1 - kept <= told.masked_mass + 1e-9 <= 1 + 1e-9
    for each in told.content:
        assert len(each.top_logprobs) == 5
        assert sum(math.exp(other.logprob) for other in each.top_logprobs) <= 1 + 1e-9


def test_a_streamed_reply_is_the_plain_one_in_tokens(client: openai.OpenAI) -> None:
    plain = say(client, logprobs=True)
    chunks = list(say(client, logprobs=True, stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(each.delta.content or "" for each in choices) == plain.choices[0].message.content
    tokens = [token for each in choices if each.logprobs for token in each.logprobs.content or ()]
    assert tokens == plain.choices[0].logprobs.content
    assert choices[-1].finish_reason == "stop"
    assert choices[-1].logprobs.masked_mass == 0.0
    assert chunks[-1].usage == plain.usage
    bare = list(say(client, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in bare) == plain.choices[0].message.content


def test_seed_stop_and_limit_are_obeyed(client: openai.OpenAI) -> None:
    hot = [say(client, temperature=2, seed=seed).choices[0].message.content for seed in (1, 1, 2, 3, 4)]
    assert hot[0] == hot[1]
    assert len(set(hot)) > 1
    assert say(client, stop="\n").choices[0].message.content == "9+2=11, 11-4=7"
    cut = say(client, max_tokens=2).choices[0]
    assert cut.finish_reason == "length"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 3),
        ("temperature", "warm"),
        ("top_logprobs", 3),
        ("top_logprobs", 21),
        ("stop", [""]),
        ("stop", 5),
        ("response_format", "json"),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"enum": ["é"]}}}),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"schema": {"type": "object", "$ref": "#/nowhere"}}},
        ),
        ("response_format", {"type": "xml"}),
        ("seed", "one"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_its_name(client: openai.OpenAI, field: str, value: Any) -> None:
    if field == "response_format":
        pytest.importorskip("llguidance")
    with pytest.raises(openai.BadRequestError) as caught:
        say(client, extra_body={field: value, **({"logprobs": True} if value == 21 else {})})
    assert caught.value.param == field


def test_without_its_extras_it_says_which_to_install(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    masks.cached_grammar.cache_clear()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(openai.InternalServerError, match=r"watchkeeper\[guide\]") as caught:
        say(client, "strict")
    assert caught.value.status_code == 503
    assert say(client).choices[0].message.content.endswith("Answer: 7")
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(TinyError, match=r"watchkeeper\[evals\]"):
        loaded(WEIGHTS, SHA256)


def test_a_prompt_without_room_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="tiny model takes fewer"):
        client.chat.completions.create(model="lab-tiny", messages=[{"role": "user", "content": "x" * 400}])


async def test_the_eval_runner_reads_the_mass_exactly_and_bounds_it_where_it_is_not_stated(lab: LabServer) -> None:
    pytest.importorskip("llguidance")
    parameters = {**parameters_of("strict"), "logprobs": True, "top_logprobs": 5, "temperature": 0, "model": "lab-tiny"}
    async with provider_of("openai", lab.base_url, None) as provider:
        unwilling = await provider.complete(json.dumps(talk("free")), parameters)
        without = await provider.complete(json.dumps(talk("free")), {"model": "lab-tiny", "temperature": 0})
    assert unwilling.masked is not None
    assert unwilling.masked.exact
    assert unwilling.masked.mass > 0.99
    assert without.masked is None


def test_a_bound_from_the_listed_alternatives_is_never_above_what_was_taken(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance")
    from watchkeeper.analysis.masked_mass import masked_mass

    for form, seed in (("strict", 1), ("json", 2), ("reasoning first", 3)):
        for told in ("free", form):
            given: Any = {**parameters_of(form), "logprobs": True, "top_logprobs": 20, "temperature": 1, "seed": seed}  # type: ignore[arg-type]
            answer = client.chat.completions.create(model="lab-tiny", messages=talk(told), **given)
            logprobs = answer.choices[0].logprobs
            assert logprobs is not None
            plain = logprobs.model_dump()
            exact = masked_mass(plain, given["response_format"])
            bound = masked_mass({**plain, "masked_mass": None}, given["response_format"])
            assert exact is not None
            assert bound is not None
            assert not bound.exact
            assert bound.mass <= exact.mass + 1e-9
