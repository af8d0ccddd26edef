"""The shape of a reply is measured, whatever it says."""

import pytest

from watchkeeper.analysis.shape_features import Reply, features


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('{"a": 1}', "format.json", 1),
        ('```json\n{"a": 1}\n```', "format.fences", 1),
        ("- a\n- b\n1. c", "format.list_items", 2),
        ("- a\n- b\n1. c", "format.numbered_items", 1),
        ("It may be so, perhaps.", "manner.hedges", 2),
        ("I'm sorry, I cannot do that.", "manner.refusal", 1),
        ("Sure! It is blue.", "manner.preamble", 1),
        ("Sure! It is blue.", "order.answer_first", 0),
        ("It is blue.", "order.answer_first", 1),
        ("It is blue. Let me know if you need more.", "manner.closing_offer", 1),
        ("", "length.characters", 0),
        ("It costs 5 euros", "order.first_number_at", 9 / 16),
        ("a\n```\nb\n```\n", "order.first_fence_at", 2 / 12),
    ],
)
def test_each_habit_is_seen(text: str, name: str, value: float) -> None:
    assert features(Reply(text=text))[name] == value


def test_languages_are_told_apart() -> None:
    found = features(Reply(text="Die Lampe ist nicht blau und das ist auf der Seite zu sehen."))
    assert found["language.de"] > 0.4 > found["language.en"]


def test_what_is_not_known_is_missing() -> None:
    assert not {"tools.calls", "pace.tokens_per_s"} & features(Reply(text="a")).keys()
    known = features(Reply(text="a", tools=(), output_tokens=10, duration_ns=2 * 10**9, first_token_ns=10**9))
    assert (known["tools.calls"], known["pace.tokens_per_s"], known["pace.first_token_ms"]) == (0, 10, 1000)
    assert (known["pace.first_token_share"], known["pace.characters_per_s"]) == (0.5, 1)


def test_a_reply_that_was_not_streamed_has_no_pace_of_a_stream() -> None:
    known = features(Reply(text="a", output_tokens=10, duration_ns=2 * 10**9))
    assert known["pace.tokens_per_s"] == 5
    assert not {"pace.first_token_ms", "pace.first_token_share", "pace.characters_per_s"} & known.keys()


def test_what_does_not_come_has_no_place() -> None:
    assert not {"order.first_number_at", "order.first_fence_at"} & features(Reply(text="none here")).keys()


def test_a_clock_that_ran_backwards_gives_no_pace() -> None:
    assert "pace.tokens_per_s" not in features(Reply(text="a", output_tokens=9, duration_ns=5, first_token_ns=5))
