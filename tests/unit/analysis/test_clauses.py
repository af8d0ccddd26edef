"""A prompt is taken apart and put together again to the letter; ids stay while words stay."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.clauses import clauses_of, difference, tokens_of, without

PROMPT = """# Role
You are the desk, e.g. for lamps. Be kind!

1. Always greet
   the customer. By name.
2) Never lie.
<rules>
Answer in at most 50 words.
</rules>
```json
{"a": 1}

{"b": 2}
```
"""


def test_items_sentences_and_fences_are_clauses_and_headings_are_not() -> None:
    assert [clause.text for clause in clauses_of(PROMPT)] == [
        "You are the desk, e.g. for lamps.",
        "Be kind!",
        "1. Always greet\n   the customer. By name.",
        "2) Never lie.",
        "Answer in at most 50 words.",
        '```json\n{"a": 1}\n\n{"b": 2}\n```',
    ]
    assert [clause.heading for clause in clauses_of(PROMPT)] == ["Role"] * 4 + ["rules", None]


def test_ids_stay_when_clauses_move_or_are_numbered_anew() -> None:
    moved = clauses_of("- Never lie\n1. Be kind!")
    known = {clause.text: clause.clause_id for clause in clauses_of(PROMPT)}
    assert [clause.clause_id for clause in moved] == [known["2) Never lie."], known["Be kind!"]]


def test_equal_clauses_are_told_apart() -> None:
    first, second = clauses_of("- Be kind.\n- Be kind.")
    assert second.clause_id == f"{first.clause_id}-2"


def test_a_clause_is_left_out_with_its_line_and_nothing_else() -> None:
    clauses = clauses_of(PROMPT)
    assert without(PROMPT, {clauses[3].clause_id}) == PROMPT.replace("2) Never lie.\n", "")
    assert without(PROMPT, {clauses[1].clause_id}) == PROMPT.replace(" Be kind!", "")
    assert without(PROMPT, {clauses[0].clause_id}) == PROMPT.replace("You are the desk, e.g. for lamps. ", "")
    assert without(PROMPT, ()) == PROMPT


def test_leaving_every_clause_out_leaves_the_structure() -> None:
    rest = without(PROMPT, {clause.clause_id for clause in clauses_of(PROMPT)})
    assert rest == "# Role\n\n<rules>\n</rules>\n"


def test_an_unknown_clause_is_an_error() -> None:
    with pytest.raises(ValueError, match="There is no clause 'c-0'"):
        without(PROMPT, {"c-0"})


def test_a_prompt_without_words_has_no_clauses() -> None:
    assert clauses_of("") == clauses_of("\n---\n") == ()
    assert tokens_of("") == 0


def test_other_scripts_are_taken_apart_by_their_own_marks() -> None:
    assert [clause.text for clause in clauses_of("丁寧に答える。嘘をつかない。")] == [
        "丁寧に答える。",
        "嘘をつかない。",
    ]


def test_a_difference_names_what_came_went_and_was_reworded() -> None:
    change = difference(
        "- Be kind.\n- Never lie.\n- Count days.", "- Count days.\n- Never ever lie.\n- Sign with a name."
    )
    assert [clause.text for clause in change.removed] == ["- Be kind.", "- Never lie."]
    assert [clause.text for clause in change.added] == ["- Never ever lie.", "- Sign with a name."]
    assert len(change.reworded) == 1
    assert change.growth > 0
    assert difference("A b c. D e f.", "D e f. A b c.").added == ()
