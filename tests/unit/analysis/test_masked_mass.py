"""The probability that a format's mask took away, stated or bounded, and whether it goes together with a loss."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from watchkeeper.analysis.masked_mass import early_sign, masked_mass

JSON_MODE = {"type": "json_object"}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
STRICT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}


def entry(token: str, **others: float) -> dict[str, Any]:
    """A token that was written, with the likeliest ones and their probabilities."""
    top = [{"token": text, "logprob": math.log(p), "bytes": list(text.encode())} for text, p in others.items()]
    return {"token": token, "logprob": -1.0, "bytes": list(token.encode()), "top_logprobs": top}


def said(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"content": list(entries), "refusal": None, **more}


WHOLE = '{"answer": "4"}'


@pytest.mark.parametrize(
    ("logprobs", "form", "mass", "exact"),
    [
        (said(entry(WHOLE), masked_mass=0.25), JSON_MODE, 0.25, True),
        (said(entry("{", **{"{": 0.3, "First": 0.6}), entry("}", **{"}": 0.9})), JSON_MODE, 0.6, False),
        (said(entry("{", **{"No": 0.5, "{": 0.5}), entry("}", **{"x": 0.5, "}": 0.5})), JSON_MODE, 0.75, False),
        (said(entry('{"', **{'{"': 0.9}), entry('answer": "4"}', **{'other": ': 0.4})), STRICT, 0.4, False),
        (said(entry('{"', **{'{"': 0.9}), entry('answer": "4"}', **{'other": ': 0.4})), JSON_MODE, 0.0, False),
        (said(entry(WHOLE, **{WHOLE: 1.0}), entry(" ", Also=0.5)), JSON_MODE, 0.0, False),
    ],
    ids=[
        "stated",
        "one token",
        "two tokens",
        "a key that the schema lacks",
        "which JSON mode allows",
        "a whole object",
    ],
)
def test_the_mass_is_as_stated_or_at_least_what_is_listed(logprobs: Any, form: Any, mass: float, exact: bool) -> None:
    found = masked_mass(logprobs, form)
    assert found is not None
    assert (found.mass, found.exact) == (pytest.approx(mass), exact)


@pytest.mark.parametrize(
    ("logprobs", "form"),
    [
        (None, JSON_MODE),
        (said(entry("{}", **{"{}": 1.0})), None),
        (said(entry("{}", **{"{}": 1.0})), {"type": "text"}),
        (said(entry("{}")), JSON_MODE),
        (said(entry("Four.", **{"Four.": 1.0})), JSON_MODE),
        (said(entry("[]", **{"[]": 1.0})), {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}),
        ({"content": "?"}, JSON_MODE),
        ({"content": [{"top_logprobs": [{"logprob": "x"}]}]}, "json"),
    ],
    ids=["none given", "no format", "text", "no alternatives", "form not kept", "no object", "odd", "odd format"],
)
def test_what_nothing_says_is_not_measured(logprobs: Any, form: Any) -> None:
    assert masked_mass(logprobs, form) is None


def test_the_end_counts_while_the_object_is_open() -> None:
    end = {"token": "<end>", "logprob": math.log(0.2), "bytes": None}
    opened = {"token": "{", "logprob": -0.1, "bytes": [123], "top_logprobs": [end]}
    closed = {"token": "}", "logprob": -0.1, "bytes": [125], "top_logprobs": [{"token": "}", "logprob": -0.1}]}
    found = masked_mass(said(opened, closed), JSON_MODE)
    assert found is not None
    assert found.mass == pytest.approx(0.2)


def test_a_part_of_a_character_within_a_text_is_no_break() -> None:
    part = {"token": "\\xc3", "logprob": math.log(0.5), "bytes": [0xC3]}
    inside = {"token": "x", "logprob": -0.7, "bytes": [120], "top_logprobs": [part]}
    rest = {"token": '"}', "logprob": -0.1, "bytes": list(b'"}'), "top_logprobs": []}
    begun = {"token": '{"a": "', "logprob": -0.1, "bytes": list(b'{"a": "'), "top_logprobs": []}
    found = masked_mass(said(begun, inside, rest), JSON_MODE)
    assert found is not None
    assert found.mass == 0.0


def test_a_loss_that_goes_with_the_mass_is_a_sign_and_one_that_does_not_is_none() -> None:
    rng = Random(5)
    masses = [rng.random() for _ in range(400)]
    tied = early_sign(masses, [float(rng.random() < 0.8 * mass) for mass in masses])
    assert tied is not None
    assert tied.low > 0
    claimed = 0
    for _ in range(400):
        losses = [float(rng.random() < 0.3) for _ in masses[:100]]
        found = early_sign(masses[:100], losses)
        assert found is not None
        claimed += found.excludes(0.0)
    assert claimed <= 33  # 5% of 400, and what chance adds to it


def test_too_few_cases_or_the_same_mass_everywhere_give_no_sign() -> None:
    assert early_sign([0.1] * 40, [0.0, 1.0] * 20) is None
    assert early_sign([0.1, 0.9] * 7, [0.0, 1.0] * 7) is None
    assert early_sign([], []) is None
    assert early_sign([n / 40 for n in range(40)], [0.0] * 40) is None
