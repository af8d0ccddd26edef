"""The redactor on anything: it never crashes, it ends, its output parses where its input did, no secret survives."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.engines.recorder.redaction import Redactor
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule

SPECS = (
    RuleSpec(detect="secret_keys"),
    RuleSpec(detect="emails", action="token"),
    RuleSpec(detect="cards", action="drop"),
    RuleSpec(detect="phones"),
    RuleSpec(detect="ibans", action="token"),
    RuleSpec(detect="ip_addresses"),
    RuleSpec(pattern=r"EMP-\d{6}", name="employee"),
    RuleSpec(fields=("password", "*.ssn"), name="named"),
)
ALL = Redactor([Rule(spec) for spec in SPECS], b"k" * 32)
SECRETS = (
    "sk-proj-Q7wErTyUiOpAs9dFgHjKl",
    "planted.person@example.org",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "EMP-123456",
)
plain_text = st.text(max_size=60)
secret = st.sampled_from(SECRETS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_text, inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=400) | plain_text.map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_any_bytes_pass_without_a_crash_and_a_second_time_without_a_change(data: bytes) -> None:
    once, _ = ALL.payload(data, "application/octet-stream")
    assert ALL.payload(once, "application/octet-stream") == (once, 0)


@given(json_values, secret, st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_what_was_json_is_json_afterwards_and_the_secret_is_gone(value: Any, planted: str, way: int) -> None:
    document = {
        "before": value,
        "text": f"so {planted}, then",
        "password": value,
        "nested": json.dumps({"in": planted}),
    }
    text = json.dumps(document, ensure_ascii=bool(way & 1), indent=1 if way & 2 else None)
    data = text.encode("utf-8", "surrogatepass")
    done, count = ALL.payload(data, "application/json")
    said = json.loads(done.decode("utf-8", "surrogatepass"))
    assert count >= 2 and list(said) == list(document)
    assert planted not in json.dumps(said, ensure_ascii=False) and planted not in json.loads(said["nested"])["in"]
    assert said["password"] in ("[named]", None, "", value)
    assert ALL.payload(done, "application/json") == (done, 0)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in text)


@given(secret, st.integers(0, 3), plain_text.map(lambda text: text.replace("\x00", "")))
@settings(max_examples=200, deadline=None)
def test_a_secret_is_gone_in_every_encoding_that_is_covered(planted: str, way: int, around: str) -> None:
    inside = json.dumps(around)[1:-1].encode("utf-8", "replace").decode()
    written = [planted, escaped(planted), quote(planted, safe=""), escaped(json.dumps({"a": planted}))][way]
    data = f'{{"a": "{inside} {written} {inside}"}}'.encode()
    done, count = ALL.payload(data, "application/json")
    assert count and written.encode() not in done and planted.encode() not in done
    json.loads(done)


@given(secret, st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 2), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_secret_cut_over_the_pieces_of_a_stream_is_gone(
    planted: str, cuts: list[int], shape: int, crlf: bool
) -> None:
    text, pieces, at = f"well, it is {planted} indeed", [], 0
    for number in range(len(text)):
        if at >= len(text):
            break
        size = cuts[number % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    data = "".join(f"data: {json.dumps(event(piece, shape))}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    done, count = ALL.payload(data.replace("\n", "\r\n" if crlf else "\n").encode(), "text/event-stream")
    events = [json.loads(line[6:]) for line in done.decode().splitlines() if line.startswith("data: {")]
    assert count == 1 and len(events) == len(pieces)
    assert planted not in "".join(spoken(each, shape) for each in events)
    assert "".join(spoken(each, shape) for each in events).startswith("well, it is ")
    assert ALL.payload(done, "text/event-stream") == (done, 0)


def event(piece: str, shape: int) -> Any:
    """A piece of a reply as chat completions, Anthropic messages and responses send it; other choices beside it."""
    if shape == 0:
        return {
            "id": "c",
            "choices": [{"index": 0, "delta": {"content": piece}}, {"index": 1, "delta": {"content": "~"}}],
        }
    if shape == 1:
        return {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": piece}}
    return {"type": "response.output_text.delta", "item_id": "i", "output_index": 1, "content_index": 0, "delta": piece}


def spoken(said: Any, shape: int) -> str:
    if shape == 0:
        return str(said["choices"][0]["delta"]["content"])
    return str(said["delta"]["text"] if shape == 1 else said["delta"])


def test_base64_is_not_covered_and_says_so() -> None:
    data = json.dumps({"a": base64.b64encode(SECRETS[0].encode()).decode()}).encode()
    assert ALL.payload(data, "application/json") == (data, 0)
