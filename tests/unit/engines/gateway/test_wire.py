"""Reading a request's head, and changing one field of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.wire import places_of, read_fields, rewrite

LIMITING = frozenset({"model", "n", "max_tokens"})

names = st.text(st.characters(codec="utf-8", exclude_characters=["\x00"]), max_size=6) | st.sampled_from(["model", "n"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 40), 1 << 40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(names, values, max_size=6),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    st.booleans(),
)
def test_one_field_is_replaced_and_every_other_byte_is_kept(
    request: dict[str, object], separators: tuple[str, str], ascii_only: bool
) -> None:
    request["model"] = "old"
    body = json.dumps(request, separators=separators, ensure_ascii=ascii_only).encode()
    changed = rewrite(body, read_fields(body), {"model": b'"new"'})
    assert json.loads(changed) == {**request, "model": "new"}
    begin, end = places_of(body, read_fields(body))["model"]
    assert changed == body[:begin] + b'"new"' + body[end:]


def test_a_field_that_is_not_there_is_added_at_the_front() -> None:
    body = b' {"model": "a"}'
    assert rewrite(body, read_fields(body), {"x": b"1"}) == b' {"x":1,"model": "a"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","messages":[]}',
        b'{"model":"a","messages":[],"model":"a"}',
        b'{"model":"a","messages":[],"mod\\u0065l":"b"}',
        b'{"model":"a","messages":[],"n":1,"n":12}',
        b'{"model":"a","messages":[],"max_tokens":12,"max_tokens":1}',
    ],
)
def test_a_field_that_a_limit_rests_on_may_stand_only_once(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_fields(body, LIMITING)
    assert caught.value.code == "duplicate_field"


@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "maX_tokenſ", "N"])
def test_a_limiting_name_in_other_letters_is_refused(name: str) -> None:
    body = json.dumps({"model": "a", "max_tokens": 1, name: 9}, ensure_ascii=False).encode()
    with pytest.raises(Refusal) as caught:
        read_fields(body, LIMITING)
    assert caught.value.code == "invalid_field"


def test_other_names_may_have_capitals() -> None:
    assert set(read_fields(b'{"model":"a","X-Title":1,"topK":2}', LIMITING)) == {"model", "X-Title", "topK"}
