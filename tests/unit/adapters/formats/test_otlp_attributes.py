"""Attributes read from their bytes mean what they mean when protobuf reads them, whatever form they were written in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.adapters.formats.exports import START_NS, TRACE, payload
from watchkeeper.adapters.formats import otlp_attributes
from watchkeeper.adapters.formats.otlp import MalformedExport, _decoded, decode, span_of
from watchkeeper.adapters.formats.otlp_attributes import read_attributes, read_messages
from watchkeeper.adapters.formats.otlp_wire import Stamp, parse, parse_coarsely
from watchkeeper.records.span import NOWHERE

KEYS = (
    "gen_ai.operation.name", "gen_ai.usage.input_tokens", "gen_ai.input.messages", "gen_ai.response.finish_reasons",
    "gen_ai.response.model", "gen_ai.request.model", "llm.request.model", "session.id", "customer.tier", "n", "", "ä",
    "k" * 127, "k" * 128, "k" * 300, "watchkeeper.preview", "error.type", "tool.name",
)  # fmt: skip
TEXTS = ("", "chat", "gold", "ä" * 70, "x" * 125, "x" * 128, "x" * 256, "x" * 257, "y" * 20_000, '[{"role":"user"}]')
NUMBERS = (0, 1, 127, 128, 16_384, 2**31, 2**53, 2**56, 2**62, 2**63 - 1, -1, -(2**63))


def varint(number: int, longer: int = 0) -> bytes:
    """A number as a varint; `longer` adds so many needless bytes."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    for _ in range(longer):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def field(number: int, data: bytes, longer: int = 0) -> bytes:
    return varint(number << 3 | 2) + varint(len(data), longer) + data


def text_value(text: bytes, longer: int = 0) -> bytes:
    return field(1, text, longer)


def int_value(number: int, longer: int = 0) -> bytes:
    return b"\x18" + varint(number, longer)


VALUES = st.one_of(
    st.builds(text_value, st.one_of(st.sampled_from(TEXTS), st.text(max_size=40)).map(
        lambda text: text.encode("utf-8", "surrogatepass")), st.integers(0, 1)),
    st.builds(int_value, st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**63), 2**63 - 1)), st.integers(0, 1)),
    st.just(b""),
    st.just(b"\x10\x01"),  # true
    st.just(b"\x21" + bytes(8)),  # 0.0
    st.just(field(5, field(1, text_value(b"stop")))),  # a list
    st.just(field(6, field(1, field(1, b"a") + field(2, int_value(5))))),  # a mapping
    st.just(field(7, bytes(300))),  # bytes
    st.just(text_value(b"first") + int_value(2)),  # of two the last counts
    st.just(text_value(b"\xff")),  # no UTF-8
    st.just(field(99, b"unknown")),
    st.binary(max_size=6),
)  # fmt: skip


@st.composite
def attributes(draw: st.DrawFn) -> bytes:
    key = field(1, draw(st.one_of(st.sampled_from(KEYS), st.text(max_size=8))).encode("utf-8", "replace"))
    value = field(2, draw(VALUES), draw(st.integers(0, 1)))
    return draw(
        st.sampled_from((key + value, key + value, key + value, value + key, key, value, key + value + value, b""))
    )


def export(raw: list[bytes]) -> bytes:
    """An export of two spans with the same attributes, each given as the bytes of its `KeyValue`."""
    spans = b""
    for number in (1, 2):
        head = field(1, TRACE) + field(2, number.to_bytes(8, "big")) + b"\x39" + START_NS.to_bytes(8, "little")
        spans += field(2, head + b"".join(field(9, each) for each in raw))
    return field(1, field(2, spans))


def slowly(data: bytes) -> object:
    try:
        return _decoded(parse(data), Stamp(received_ns=START_NS), NOWHERE, read_messages)
    except MalformedExport:
        return "malformed"


def quickly(data: bytes) -> object:
    try:
        return decode(data, START_NS)
    except MalformedExport:
        return "malformed"


@settings(max_examples=400, deadline=None)
@given(st.lists(attributes(), max_size=12))
@example([field(1, b"n") + field(2, int_value(2**63))])
@example([field(1, b"n") + field(2, int_value(1, 1))])
@example([field(1, b"n") + field(2, text_value(b"x" * 200, 1))])
def test_the_quick_way_gives_what_protobuf_gives(raw: list[bytes]) -> None:
    data = export(raw)
    assert quickly(data) == slowly(data)
    assert quickly(data) == slowly(data), "the second time everything is remembered"


@settings(max_examples=200, deadline=None)
@given(st.lists(attributes(), max_size=12))
def test_the_index_says_what_the_page_says(raw: list[bytes]) -> None:
    data = export(raw)
    try:
        spans = decode(data).spans
    except MalformedExport:
        with pytest.raises(MalformedExport):
            span_of(data, NOWHERE)
        return
    for span in spans:
        assert msgspec.structs.replace(span_of(data, span.origin), events=()) == span


def test_what_is_remembered_stays_within_bounds() -> None:
    for number in range(otlp_attributes._MOST_REMEMBERED + 10):
        read_attributes([field(1, b"n") + field(2, text_value(f"v{number}".encode()))], {})
    assert len(otlp_attributes._known) <= otlp_attributes._MOST_REMEMBERED
    long = [field(1, b"n") + field(2, text_value(b"x" * 500))]
    read_attributes(long, {})
    assert long[0] not in otlp_attributes._known


def test_a_list_under_two_spans_is_not_shared_with_the_record() -> None:
    data = payload(*({"attributes": {"gen_ai.response.finish_reasons": ["stop", "length"]}} for _ in range(2)))
    first, second = decode(data).spans
    assert first.finish_reasons == second.finish_reasons == ("stop", "length")
    (found,) = parse_coarsely(data).resource_spans[0].scope_spans[0].spans[0].attributes
    assert isinstance(found, bytes)
