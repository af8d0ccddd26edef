"""Duplicates and contradictions are found where they are, and exceptions, refinements and other topics are neither."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.analysis.clause_lint import lint
from watchkeeper.analysis.clauses import clauses_of


def kinds(prompt: str, parameters: dict[str, Any] | None = None, policies: tuple[str, ...] = ()) -> list[str]:
    return [find.kind for find in lint(clauses_of(prompt), parameters, policies)]


@pytest.mark.parametrize(
    "prompt",
    [
        "- Always mention the order number in the reply.\n- Never mention the order number in a reply.",
        "- Answer in at most 50 words.\n- Write at least 120 words.",
        "- Offer exactly 2 options.\n- Offer exactly 3 options.",
        "- Keep answers to customers brief.\n- Give customers detailed answers.",
        "- Use informal language with users.\n- Use formal language with users.",
        "- Do not offer refunds to customers.\n- Offer refunds to customers.",
    ],
)
def test_contradictions_are_found(prompt: str) -> None:
    assert kinds(prompt) == ["contradiction"]


@pytest.mark.parametrize(
    "prompt",
    [
        "- Offer refunds to customers.\n- Never offer refunds to customers unless the order is late.",
        "- Answer in at most 50 words.\n- Answer in at least 20 words.",
        "- Answer in at most 50 words.\n- Answer in at most 2 paragraphs.",
        "- Always greet the customer.\n- Never promise a delivery date.",
        "- Refunds take 5 days.\n- Exchanges take 9 days.",
        "- Keep titles brief.\n- Give detailed reasons for a refusal.",
    ],
)
def test_what_can_both_be_kept_is_no_contradiction(prompt: str) -> None:
    assert kinds(prompt) == []


def test_duplicates_are_found_and_other_numbers_are_no_duplicate() -> None:
    assert kinds("- State the order number in every reply.\n- In each reply, state the order number.") == ["duplicate"]
    assert kinds("- Wait 5 days before a refund is sent.\n- Wait 9 hours before a refund is sent.") == []


def test_what_a_schema_a_limit_or_a_policy_enforces_is_named() -> None:
    schema = {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"schema": {"properties": {"label": {"enum": ["refund", "exchange"]}}}},
        },
        "max_tokens": 200,
    }
    prompt = (
        "- Respond with valid JSON only.\n- The `label` field must be either `refund` or `exchange`.\n"
        "- Use no more than 200 tokens.\n- Never call the search tool more than 3 times.\n- Be kind."
    )
    assert kinds(prompt) == []
    assert kinds(prompt, schema, ("tool_cap",)) == ["enforced elsewhere"] * 4
    assert "`response_format`" in lint(clauses_of(prompt), schema)[0].sentence


def test_an_emphatic_clause_in_the_middle_of_a_long_prompt_is_told() -> None:
    filler = [f"- Shelf number {n} holds goods of kind {n * 7} from the {n}th delivery of a year." for n in range(90)]
    rule = "- You must never invent an order."
    middle = "\n".join([*filler[:45], rule, *filler[45:]])
    assert kinds(middle) == ["middle"]
    assert kinds("\n".join([rule, *filler])) == []
    assert kinds("\n".join([*filler[:3], rule, *filler[3:6]])) == []


def test_sixty_clauses_on_different_things_raise_no_alarm() -> None:
    verbs = ["Check", "Confirm", "Record", "Explain", "Weigh", "Compare"]
    things = ["the invoice", "a warranty", "the delivery", "an address", "the colour", "a voltage", "the code"]
    prompt = "\n".join(
        f"- {verb} {thing} for step {i}{j}." for i, verb in enumerate(verbs) for j, thing in enumerate(things)
    )
    assert [kind for kind in kinds(prompt) if kind == "contradiction"] == []
