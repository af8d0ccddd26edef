"""What is read of an embeddings request and its reply."""

from __future__ import annotations

import json

import pytest

from tests.unit.engines.gateway.stage import spec
from watchkeeper.engines.gateway.dialects.embeddings import EMBEDDINGS
from watchkeeper.engines.gateway.errors import Refusal

REPLY = b'{"object":"list","data":[{"embedding":[0.1,0.2]}],"model":"e-1","usage":{"prompt_tokens":7,"total_tokens":7}}'


@pytest.mark.parametrize("given", ["words", ["words", "more"], [1212, 318], [[1212], [318]]])
def test_the_bound_is_its_bytes_in_and_nothing_out(given: object) -> None:
    body = json.dumps({"model": "e", "input": given}).encode()
    head = EMBEDDINGS.read(body)
    assert EMBEDDINGS.input_bound(body, head) == len(body)
    assert EMBEDDINGS.output_bound(head, spec("http://x/v1", max_output_tokens=100)) == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [('"words"', "words"), ('["one","two"]', "one"), ("[1,2]", ""), ("[]", ""), ("{}", ""), ("3", "")],
)
def test_its_first_text_is_what_was_asked(given: str, text: str) -> None:
    assert EMBEDDINGS.asked_text(EMBEDDINGS.read(b'{"model":"e","input":' + given.encode() + b"}"), 300) == text


def test_its_usage_is_read_without_its_vectors_and_has_no_output() -> None:
    answer = EMBEDDINGS.answer(REPLY)
    assert (answer.model, answer.usage.input_tokens, answer.usage.output_tokens) == ("e-1", 7, 0)


@pytest.mark.parametrize(
    "reply", [b"[]", b"{", b'{"usage":"none"}', b'{"usage":[1]}', b'{"usage":{"prompt_tokens":-1}}']
)
def test_a_reply_that_says_nothing_of_use_leaves_it_unknown(reply: bytes) -> None:
    assert EMBEDDINGS.answer(reply).usage.input_tokens is None


def test_a_model_is_asked_for() -> None:
    with pytest.raises(Refusal) as caught:
        EMBEDDINGS.read(b'{"input":"x"}')
    assert caught.value.code == "model_missing"
