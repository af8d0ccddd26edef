"""Reads the chunks that a trace export says were retrieved or reranked: GenAI conventions and OpenInference.

`gen_ai.retrieval.documents` is a list of objects (or its JSON text); OpenInference spreads each document over
attributes: `retrieval.documents.0.document.content` of a retriever, `reranker.input_documents.` and
`reranker.output_documents.` of a reranker. What is retrieved is a candidate: whether it entered the context is found
out by looking for its text in the calls of the trace. What goes into a reranker and does not come out was dropped.

Limits: names for a document's version, index and place differ from framework to framework; the common ones are read
from its metadata, and else they are unknown. At most 500 documents of a span are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.otlp_wire import parse
from watchkeeper.records.ids import digest
from watchkeeper.records.source import Fate, Source
from watchkeeper.records.span import Span

MOST_DOCUMENTS = 500
LONGEST_NAME = 256
LONGEST_QUERY = 10_000

_MARKS = (b"retrieval.documents", b"reranker.")
_SPREAD = re.compile(
    r"(?P<list>retrieval\.documents|reranker\.input_documents|reranker\.output_documents)\."
    r"(?P<place>\d{1,4})\.document\.(?P<field>\w+)"
)
_WHOLE = "gen_ai.retrieval.documents"
_QUERY = ("gen_ai.retrieval.query.text", "reranker.query", "input.value")
_DOCUMENT = ("document_id", "doc_id", "source", "file_name", "url", "uri", "title")
_VERSION = ("version", "document_version", "revision", "etag", "last_modified")
_CHUNK = ("chunk_id", "chunk", "node_id", "id")
_INDEX = ("index_version", "index", "collection")
_RUN = ("ingest_run", "ingestion_id", "run_id")
_START = ("start_index", "start_char_idx", "start")
_END = ("end_index", "end_char_idx", "end")
_LARGEST = 1 << 62


def has_sources(payload: bytes) -> bool:
    """Whether an export may tell of retrieved documents: a look at its bytes, so that others cost nothing."""
    return any(mark in payload for mark in _MARKS)


def sources_in(payload: bytes, spans: Iterable[Span]) -> Iterator[Source]:
    """The sources in an export; `spans` are the spans that were read from it."""
    if not has_sources(payload):
        return
    known = {span.origin.item: span for span in spans}
    item = 0
    for resource_spans in parse(payload).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for raw in scope_spans.spans:
                span = known.get(item)
                item += 1
                if span is not None and any(mark in kv.key.encode() for kv in raw.attributes for mark in _MARKS):
                    yield from sources_of({kv.key: _plain(kv.value) for kv in raw.attributes}, span)


def sources_of(attributes: Mapping[str, Any], span: Span) -> Iterator[Source]:
    """The sources that one span tells of; always the same ones for the same span."""
    query = next((str(attributes[name])[:LONGEST_QUERY] for name in _QUERY if attributes.get(name)), None)
    reranked = _texts(attributes, "reranker.output_documents")
    for kind, place, document in _documents(attributes):
        read = _read(document)
        text = read.pop("text")
        lost = kind == "in" and reranked and _same(document, text) not in reranked
        scored = "reranked_" if kind == "out" else ""
        yield Source(
            source_id=_name(span, kind, place),
            trace_id=span.trace_id,
            span_id=span.span_id,
            at_ns=span.start_ns,
            query=query,
            digest=None if text is None else digest(text.encode("utf-8", "surrogatepass")),
            chars=None if text is None else len(text),
            status=Fate.DROPPED if lost else Fate.CANDIDATE,
            reason="not_reranked" if lost else None,
            retriever=span.name[:LONGEST_NAME],
            door="otlp",
            identity=span.identity,
            **{f"{scored}rank": place + 1, f"{scored}score": read.pop("score")},
            **read,
        )


def text_in(attributes: Mapping[str, Any], source_id: str) -> str | None:
    """The text of a source from the attributes of its span."""
    wanted = source_id.rpartition(":")[2]
    for kind, place, document in _documents(attributes):
        if f"{kind}{place}" == wanted:
            text = _read(document)["text"]
            return text if isinstance(text, str) else None
    return None


def _name(span: Span, kind: str, place: int) -> str:
    return f"otlp:{span.trace_id}:{span.span_id}:{kind}{place}"


def _documents(attributes: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Each document with the list it is in ("doc", "in" or "out" of a reranker) and its place there."""
    whole = attributes.get(_WHOLE)
    if isinstance(whole, str):
        try:
            whole = msgspec.json.decode(whole)
        except (msgspec.DecodeError, RecursionError):
            whole = None
    if isinstance(whole, list):
        for place, document in enumerate(whole[:MOST_DOCUMENTS]):
            if isinstance(document, Mapping):
                yield "doc", place, document
    spread: dict[tuple[str, int], dict[str, Any]] = {}
    for key, value in attributes.items():
        match = _SPREAD.fullmatch(key)
        if match is not None and len(spread) < MOST_DOCUMENTS:
            kind = {"retrieval.documents": "doc", "reranker.input_documents": "in"}.get(match["list"], "out")
            spread.setdefault((kind, int(match["place"])), {})[match["field"]] = value
    for (kind, place), document in sorted(spread.items()):
        yield kind, place, document


def _read(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = msgspec.json.decode(metadata)
        except (msgspec.DecodeError, RecursionError):
            metadata = None
    about: dict[str, Any] = {**(metadata if isinstance(metadata, Mapping) else {}), **document}
    text = next((about[name] for name in ("content", "text", "page_content") if isinstance(about.get(name), str)), None)
    chunk = _text(about, _CHUNK)
    return {
        "text": text,
        "document": _text(about, _DOCUMENT)
        or chunk
        or (digest(text.encode("utf-8", "surrogatepass")) if text else "?"),
        "version": _text(about, _VERSION),
        "chunk": chunk,
        "index_version": _text(about, _INDEX),
        "ingest_run": _text(about, _RUN),
        "document_start": _whole(about, _START),
        "document_end": _whole(about, _END),
        "score": _number(about.get("score")),
    }


def _texts(attributes: Mapping[str, Any], which: str) -> set[str]:
    """What names the documents of one list of a reranker."""
    wanted = "out" if which.endswith("output_documents") else "in"
    return {_same(each, _read(each)["text"]) for kind, _, each in _documents(attributes) if kind == wanted}


def _same(document: Mapping[str, Any], text: str | None) -> str:
    return str(document.get("id") or text or "")


def _text(about: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = about.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
            return str(value)[:LONGEST_NAME]
    return None


def _whole(about: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = about.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
            return value
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    good = isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e300
    return float(value) if good else None


def _plain(value: Any) -> Any:
    """An AnyValue as a plain value."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if which == "kvlist_value":
        return {each.key: _plain(each.value) for each in value.kvlist_value.values}
    return None if which is None else getattr(value, which)
