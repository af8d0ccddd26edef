"""What a person types is found however a sender escaped it, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.typed import excerpt, folded_text, needle_of, plain_text


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("café", json.dumps({"a": "un Café noir"})),
        ("café", json.dumps({"a": "un CAFÉ noir"}, ensure_ascii=False)),
        ('say: "hi"', json.dumps({"a": 'Say: "hi"!'})),
        ("first line second line", json.dumps({"a": "first line\nsecond\tline"})),
        ("order 4711", json.dumps({"arguments": json.dumps({"note": "Order 4711\nurgent"})})),
        ("straße", "Die STRASSE"),
        ("strasse", json.dumps({"a": "die Straße"})),
        ("kelvin", "\u212aelvin"),
        ("日本語", json.dumps({"a": "日本語のテキスト"})),
        ("😀 ok", json.dumps({"a": "so 😀 OK"})),
        ("100%", "it is 100% sure"),
        ("a/b", '{"p": "a\\/b"}'),
    ],
)
def test_found(typed: str, recorded: str) -> None:
    found = excerpt(recorded.encode(), needle_of(typed))
    assert found is not None
    assert found[1].casefold() == needle_of(typed).text


@pytest.mark.parametrize(("typed", "recorded"), [("cafe", "café"), ("order 47", "order  4 7"), ("x" * 40, "short")])
def test_not_found(typed: str, recorded: str) -> None:
    assert excerpt(recorded.encode(), needle_of(typed)) is None


@pytest.mark.parametrize("nothing", ["", "  ", "\n\t"])
def test_nothing_to_look_for_is_said(nothing: str) -> None:
    with pytest.raises(ValueError, match="nothing to look for"):
        needle_of(nothing)


def test_an_excerpt_keeps_letter_case_and_is_short() -> None:
    before, match, after = excerpt(b"A" * 500 + b" Needle " + b"B" * 500, needle_of("needle"), around=20) or (
        "",
        "",
        "",
    )
    assert (match, len(before), len(after)) == ("Needle", 20, 20)


@given(st.text(), st.text(), st.text(min_size=1))
def test_what_is_in_a_text_is_found_in_its_json(before: str, after: str, needle: str) -> None:
    if not plain_text(needle.encode("utf-8", "replace")).strip() or "\\" in before + needle + after:
        return
    joined = f"{before} {needle} {after}"
    if joined.encode("utf-8", "replace").decode() != joined:  # a lone surrogate cannot be sent as UTF-8
        return
    for recorded in (json.dumps(joined), json.dumps(joined, ensure_ascii=False), joined):
        if needle_of(needle).text in folded_text(recorded.encode()):
            assert excerpt(recorded.encode(), needle_of(needle)) is not None
        assert excerpt(joined.encode(), needle_of(needle)) is not None


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(payload: bytes) -> None:
    assert isinstance(folded_text(payload), str)
