"""What is read of a chat request."""

from __future__ import annotations

import json

from watchkeeper.engines.gateway.dialects.chat import CHAT
from watchkeeper.engines.gateway.dialects.dialect import IMAGE_TOKENS


def test_the_same_names_deeper_inside_are_no_duplicates() -> None:
    body = b'{"model":"a","messages":[{"model":"b","n":1}],"metadata":{"model":"c","n":"\\u00e9"},"n":2}'
    assert (CHAT.read(body).model, CHAT.read(body).choices) == ("a", 2)


def test_the_larger_of_two_token_limits_bounds_the_output() -> None:
    assert CHAT.read(b'{"model":"a","messages":[],"max_tokens":5,"max_completion_tokens":9}').max_output == 9
    assert CHAT.read(b'{"model":"a","messages":[],"max_tokens":5,"max_completion_tokens":null}').max_output == 5
    assert CHAT.read(b'{"model":"a","messages":[]}').max_output is None


def test_an_image_costs_its_bytes_and_more_and_a_tool_named_file_is_no_file() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": [part, part]}]}).encode()
    assert CHAT.input_bound(body, CHAT.read(body)) == len(body) + 2 * IMAGE_TOKENS
    tool = json.dumps({"model": "a", "messages": [], "tools": [{"properties": {"file": {"type": "string"}}}]}).encode()
    assert CHAT.input_bound(tool, CHAT.read(tool)) == len(tool)
