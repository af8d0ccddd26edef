"""Drawing replies: the same seed gives the same one, and probabilities are probabilities."""

from __future__ import annotations

import math

import pytest

from watchkeeper.engines.experiments.formats import TOLD, parameters_of
from watchkeeper.lab.tiny.masks import Mask, grammar_of
from watchkeeper.lab.tiny.model import CONTEXT, shipped
from watchkeeper.lab.tiny.writing import Wanted, Written, write

SUM = "Ann has 9 pens. Gets 2. Loses 4. How many?"


def say(wanted: Wanted, told: str = TOLD["free"], form: str = "free") -> Written:
    model = shipped()
    grammar = grammar_of(parameters_of(form).get("response_format"))  # type: ignore[arg-type]
    prompt = model.vocabulary.prompt([{"role": "system", "content": told}, {"role": "user", "content": SUM}])
    return write(model, prompt, wanted, None if grammar is None else Mask(grammar, model.vocabulary))


def test_a_sum_is_added_up_in_steps() -> None:
    assert say(Wanted(temperature=0)).text == "9+2=11, 11-4=7\nAnswer: 7"


def test_the_same_seed_gives_the_same_reply_and_others_give_others() -> None:
    hot = [say(Wanted(temperature=2.0, seed=seed)) for seed in (1, 1, *range(2, 8))]
    assert hot[0] == hot[1]
    assert len({each.text for each in hot}) > 1


def test_one_seed_draws_differently_for_different_prompts() -> None:
    """Else the answers to a suite under one seed would hang together, and its intervals would be too narrow."""
    model = shipped()
    prompts = [model.vocabulary.prompt([{"role": "user", "content": letter}]) for letter in "abcdefgh"]
    first = [write(model, prompt, Wanted(temperature=2.0, seed=3, max_tokens=1)) for prompt in prompts]
    drawn = {(each.text, round(each.tokens[0].logprob, 3)) for each in first if each.tokens}
    assert len(drawn) > 4


def test_probabilities_sum_to_at_most_one_and_the_likeliest_come_first() -> None:
    written = say(Wanted(temperature=1.5, seed=4, top=20))
    assert written.tokens
    for token in written.tokens:
        found = [logprob for _, logprob in token.top]
        assert found == sorted(found, reverse=True)
        assert sum(math.exp(each) for each in found) <= 1 + 1e-9
        assert token.logprob <= 0
        assert token.masked_mass == 0.0
    assert written.masked_mass == 0.0


def test_the_mask_takes_what_the_model_would_rather_have_said() -> None:
    pytest.importorskip("llguidance")
    willing = say(Wanted(temperature=0, top=5), TOLD["strict"], "strict")
    unwilling = say(Wanted(temperature=0, top=5), TOLD["free"], "strict")
    assert willing.masked_mass < 0.6 < 0.99 < unwilling.masked_mass <= 1.0
    first = unwilling.tokens[0]
    assert first.masked_mass >= math.exp(first.top[0][1]) > 0.5 > math.exp(first.logprob)


def test_a_limit_and_a_stop_end_a_reply() -> None:
    short = say(Wanted(temperature=0, max_tokens=3))
    assert (short.finish, short.count, len(short.tokens)) == ("length", 3, 3)
    stopped = say(Wanted(temperature=0, stop=("\nAns", "7")))
    assert (stopped.text, stopped.finish) == ("9+2=11, 11-4=", "stop")
    assert "".join(each.text for each in stopped.tokens) == stopped.text


def test_a_full_context_ends_a_reply() -> None:
    model = shipped()
    written = write(model, [5] * (CONTEXT - 2), Wanted(temperature=0))
    assert written.count <= 2
