"""Constrained output keeps its format, whatever the model would rather say."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.analysis.json_prefix import beginning
from watchkeeper.lab.tiny.masks import Mask, grammar_of
from watchkeeper.lab.tiny.model import shipped
from watchkeeper.lab.tiny.vocabulary import END
from watchkeeper.lab.tiny.writing import Wanted, write

pytest.importorskip("llguidance")

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object"},
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "integer"}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"kind": {"enum": ["sum", "record"]}, "sure": {"type": "boolean"}},
        "required": ["kind", "sure"],
        "additionalProperties": False,
    },
]


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


@settings(max_examples=60)
@given(
    said=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    schema=st.sampled_from(SCHEMAS),
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from((0.0, 1.0, 2.0)),
)
def test_what_ends_by_itself_parses_and_keeps_its_schema(
    said: str, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    model = shipped()
    grammar = grammar_of(form(schema))
    assert grammar is not None
    wanted = Wanted(temperature=temperature, seed=seed, max_tokens=120)
    written = write(
        model, model.vocabulary.prompt([{"role": "user", "content": said}]), wanted, Mask(grammar, model.vocabulary)
    )
    assert beginning().after(written.text) is not None
    if written.finish == "stop":
        jsonschema_rs.validate(schema, json.loads(written.text))


def test_a_token_that_the_mask_allows_is_one_after_which_an_object_can_still_come() -> None:
    """So what cannot come by the rules of `json_prefix` is masked: its sums are lower bounds."""
    model = shipped()
    grammar = grammar_of({"type": "json_object"})
    assert grammar is not None
    mask, at = Mask(grammar, model.vocabulary), beginning()
    for char in '{"answer": ["4", {"a": -1.5e3, "b": null}], "c": "\\n"}':
        token = model.vocabulary.encode(char)[0]
        for number, allowed in enumerate(mask.allowed()):
            if allowed:
                assert at.complete if number == END else at.after(model.vocabulary.text(number)) is not None
        mask.take(token)
        following = at.after(char)
        assert following is not None
        at = following
    assert mask.allowed()[END]


@pytest.mark.parametrize("given_", [None, {"type": "text"}])
def test_text_needs_no_mask(given_: Any) -> None:
    assert grammar_of(given_) is None


@pytest.mark.parametrize(
    "given_",
    [
        "json",
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "what"}}},
    ],
)
def test_a_format_that_is_not_understood_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        grammar_of(given_)


def test_a_token_that_is_not_allowed_is_refused() -> None:
    model = shipped()
    grammar = grammar_of({"type": "json_object"})
    assert grammar is not None
    with pytest.raises(ValueError, match="satisfy the grammar"):
        Mask(grammar, model.vocabulary).take(model.vocabulary.encode("x")[0])
