"""Retrieved documents are read from trace exports in both dialects, the same each time."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.adapters.formats.exports import payload
from watchkeeper.adapters.formats import otlp
from watchkeeper.adapters.formats.sources import has_sources, sources_in, sources_of, text_in
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

SPAN = Span(trace_id="a" * 32, span_id="b" * 16, start_ns=10, name="search")


def read(export: bytes) -> list[Source]:
    return list(sources_in(export, otlp.decode(export).spans))


def test_the_genai_conventions_list_documents_as_json_or_values() -> None:
    documents = [{"id": "returns.md#2", "content": "within 30 days", "score": 0.9}, {"id": "other", "score": 0.1}]
    named = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "how long?"}
    for value in (documents, json.dumps(documents)):
        first, second = read(payload({"attributes": {**named, "gen_ai.retrieval.documents": value}}))
        assert (first.document, first.chars, first.score, first.rank) == ("returns.md#2", 14, 0.9, 1)
        assert (first.query, first.status, first.door) == ("how long?", "candidate", "otlp")
        assert (second.document, second.chars, second.rank) == ("other", None, 2)


def test_openinference_spreads_documents_over_attributes() -> None:
    metadata = json.dumps({"source": "returns.md", "version": "3", "start_index": 120, "index": "docs-7"})
    attributes = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "how long?",
        "retrieval.documents.0.document.id": "c1",
        "retrieval.documents.0.document.content": "within 30 days",
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.metadata": metadata,
        "retrieval.documents.1.document.content": "in the box",
    }
    first, second = read(payload({"attributes": attributes}))
    assert (first.document, first.version, first.chunk, first.document_start) == ("returns.md", "3", "c1", 120)
    assert (first.index_version, first.query) == ("docs-7", "how long?")
    assert second.document == second.digest
    assert text_in(attributes, first.source_id) == "within 30 days"


def test_what_does_not_come_out_of_a_reranker_was_dropped() -> None:
    attributes: dict[str, Any] = {"reranker.query": "q"}
    for place, name in enumerate(("a", "b", "c")):
        attributes[f"reranker.input_documents.{place}.document.id"] = name
    attributes["reranker.output_documents.0.document.id"] = "b"
    attributes["reranker.output_documents.0.document.score"] = 0.8
    found = read(payload({"attributes": attributes}))
    dropped = [each.document for each in found if each.status == "dropped"]
    assert dropped == ["a", "c"]
    assert {each.reason for each in found if each.status == "dropped"} == {"not_reranked"}
    (out,) = [each for each in found if each.reranked_rank is not None]
    assert (out.document, out.reranked_rank, out.reranked_score) == ("b", 1, 0.8)


def test_an_export_without_documents_costs_a_look_at_its_bytes() -> None:
    export = payload({"attributes": {"gen_ai.operation.name": "chat"}}, {})
    assert not has_sources(export)
    assert read(export) == []


def test_the_same_export_gives_the_same_sources() -> None:
    export = payload({}, {"attributes": {"gen_ai.retrieval.documents": '[{"id": "a", "content": "text of a"}]'}})
    assert read(export) == read(export) != []


@pytest.mark.parametrize("wrong", ["{", "[1, 2]", "[[]]", '{"a": 1}', "", '[{"content": 3, "score": "much"}]'])
def test_what_is_no_list_of_documents_does_no_harm(wrong: str) -> None:
    read(payload({"attributes": {"gen_ai.retrieval.documents": wrong}}))


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "gen_ai.retrieval.documents",
                "retrieval.documents.0.document.content",
                "retrieval.documents.9999.document.metadata",
                "reranker.input_documents.0.document.id",
                "reranker.output_documents.1.document.score",
            ]
        ),
        st.one_of(st.text(max_size=50), st.integers(), st.floats(), st.lists(st.text(max_size=5), max_size=3)),
    )
)
def test_whatever_the_attributes_it_never_fails(attributes: dict[str, Any]) -> None:
    for each in sources_of(attributes, SPAN):
        text_in(attributes, each.source_id)
