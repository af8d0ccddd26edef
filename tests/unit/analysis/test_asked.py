"""The text that a case asks is found, changed alone, and the new case names its parent."""

import json

import pytest

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.records.case import Case

TWO = json.dumps(
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
)


def test_the_last_user_message_is_the_question_and_changes_alone() -> None:
    assert asked_text(TWO) == "c"
    assert [each["content"] for each in json.loads(with_text(TWO, "d"))] == ["a", "b", "d"]


@pytest.mark.parametrize("messages", ["[]", "{", "{}", '[{"role": "user", "content": [{"type": "text"}]}]'])
def test_what_holds_no_plain_question_has_none_and_is_not_rewritten(messages: str) -> None:
    assert asked_text(messages) is None
    with pytest.raises(ValueError, match="no user message"):
        with_text(messages, "x")


def test_a_child_stays_in_the_cluster_of_its_parent() -> None:
    parent = Case(case_id="p", dataset="d", messages=TWO, cluster="k")
    made = child(parent, TWO, "perturb", "typos", 3)
    assert (made.case_id, made.cluster, made.origin) == ("p~perturb-3", "k", "generator:perturb/typos:p")
