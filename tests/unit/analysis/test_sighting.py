"""A text is found in a request at its very bytes, however JSON writes it, and what is not there is not found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.sighting import MOST_FOLDED_BYTES, Page, find

TEXT = 'The fee is 12.50 €.\n\nPaid within "30 days" — see https://x.example/y 😀, and no later.'


def request(text: str, ascii_only: bool = False) -> bytes:
    messages = [{"role": "system", "content": f"Notes: {text} End."}, {"role": "user", "content": "How much?"}]
    return json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_text_is_found_at_its_bytes(ascii_only: bool) -> None:
    body = request(TEXT, ascii_only)
    found = find(TEXT, body)
    assert found is not None
    assert (found.how, found.chars) == ("exact", len(TEXT))
    assert json.loads(b'"' + body[found.start : found.end] + b'"') == TEXT


def test_escaped_slashes_are_the_same_text() -> None:
    body = request(TEXT).replace(b"/", b"\\/")
    found = find(TEXT, body)
    assert found is not None
    assert json.loads(b'"' + body[found.start : found.end] + b'"') == TEXT


@pytest.mark.parametrize("ascii_only", [True, False])
def test_white_space_that_was_folded_is_forgiven(ascii_only: bool) -> None:
    body = request(" ".join(TEXT.split()), ascii_only)
    found = find(TEXT, body)
    assert found is not None
    assert found.how == "normalised"
    assert json.loads(b'"' + body[found.start : found.end] + b'"') == " ".join(TEXT.split())


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_text_that_was_cut_is_found_as_far_as_it_goes(ascii_only: bool) -> None:
    body = request(TEXT[:70] + "¶", ascii_only)
    found = find(TEXT, body)
    assert found is not None
    assert (found.how, found.end - found.start > 0) == ("part", True)
    assert json.loads(b'"' + body[found.start : found.end] + b'"') == TEXT[:70]


def test_what_is_not_there_is_not_found() -> None:
    assert find("Nothing of this kind was ever put into that prompt, not a word.", request(TEXT)) is None


def test_a_text_too_short_to_tell_is_not_looked_for() -> None:
    assert find("12.50 €", request(TEXT)) is None


def test_a_beginning_too_short_to_tell_is_no_sighting() -> None:
    assert (
        find("The fee is 12.50 €. It is taken from the account of the person who asked, at once.", request(TEXT))
        is None
    )


def test_a_text_does_not_run_on_from_one_message_into_the_next() -> None:
    body = json.dumps({"messages": [{"content": "the first half of it"}, {"content": "and the second half"}]}).encode()
    assert find("the first half of it and the second half", body) is None


def test_one_page_serves_many_texts() -> None:
    page = Page(request(TEXT))
    assert [page.find(each) is not None for each in (TEXT, TEXT[:40], "something else altogether")] == [
        True,
        True,
        False,
    ]


def test_bytes_that_are_no_json_are_searched_all_the_same() -> None:
    assert find("a plain text prompt", b"this is a plain text prompt, cut \xff off") is not None
    assert find("a plain\ntext prompt", b'{"broken": "a plain text prom') is None


def test_a_very_large_request_is_searched_for_exact_bytes_only() -> None:
    body = b'{"a": "' + b"x" * MOST_FOLDED_BYTES + b' a needle in the stack"}'
    assert find("a needle in the stack", body) is not None
    assert find("a needle  in the stack", body) is None


@given(st.text(min_size=12, max_size=80).filter(lambda text: len(text.strip()) >= 12), st.booleans())
def test_any_text_is_found_in_a_request_that_holds_it(text: str, ascii_only: bool) -> None:
    try:
        body = request(text, ascii_only)
    except UnicodeEncodeError:
        return
    found = find(text, body)
    assert found is not None
    assert found.how == "exact"
    assert json.loads(b'"' + body[found.start : found.end] + b'"') == text


@given(st.binary(max_size=200), st.text(max_size=40))
def test_whatever_the_bytes_it_never_fails(body: bytes, text: str) -> None:
    find(text, body)
