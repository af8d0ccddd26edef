"""What the lab reads of requests, and its invented embeddings."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from watchkeeper.lab.shapes import LabError
from watchkeeper.lab.speech import embeddings, object_of, read_request


def test_the_same_text_has_the_same_vector_of_length_one() -> None:
    one, two = (embeddings(b'{"model":"m","input":["a","b"]}')["data"][n]["embedding"] for n in (0, 1))
    assert one != two and one == embeddings(b'{"model":"m","input":"a"}')["data"][0]["embedding"]
    assert abs(sum(value * value for value in one) - 1) < 1e-9


def test_base64_is_floats_of_32_bits() -> None:
    packed = embeddings(b'{"model":"m","input":"a","encoding_format":"base64","dimensions":4}')["data"][0]["embedding"]
    assert len(struct.unpack("<4f", base64.b64decode(packed))) == 4


@pytest.mark.parametrize("given", ["7.5", '""', "[]", "{}", "null"])
def test_what_is_no_text_is_refused(given: str) -> None:
    with pytest.raises(LabError):
        embeddings(b'{"model":"m","input":' + given.encode() + b"}")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"null"])
def test_a_body_is_one_object(raw: bytes) -> None:
    with pytest.raises(LabError):
        object_of(raw)


def test_the_run_comes_from_the_header_before_the_metadata() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "metadata": {"run": "b"}}).encode()
    assert read_request(body, {"x-watchkeeper-run": "a"}).run == "a"
    assert read_request(body, {}).run == "b"
