"""Lays the sentences of an answer over the chunks that stood in its context: what each rests on, and how firmly."""

from __future__ import annotations

from collections.abc import Sequence

from watchkeeper.analysis.support import Chunks, sentences
from watchkeeper.records.record import Record
from watchkeeper.records.source import SIGHTED, Source

QUOTED_CHARS = 300
MOST_SENTENCES = 100


class Held(Record):
    """A source with its text, None where none was kept."""

    source: Source
    text: str | None = None


class Sentence(Record):
    """One sentence of an answer, [`start`, `end`) in it, with the chunk that holds most of it.

    `score` is 0 to 1, `verdict` "supported", "partly" or "unsupported"; `quote` is the stretch of the chunk, at
    `chunk_start` to `chunk_end`; `missing` are its numbers and names that the chunk does not have.
    """

    text: str
    start: int
    end: int
    score: float
    verdict: str
    source_id: str | None = None
    document: str | None = None
    version: str | None = None
    chunk_start: int = 0
    chunk_end: int = 0
    quote: str = ""
    missing: tuple[str, ...] = ()


class AnswerLineage(Record):
    """One answer with the sources in its context and its sentences; `left_out` counts sentences not looked at."""

    span_id: str
    text: str
    source_ids: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    supported: int = 0
    partly: int = 0
    unsupported: int = 0
    left_out: int = 0


def in_context(held: Sequence[Held], span_id: str) -> list[Held]:
    """The sources that stood in the context of a call: found in it, or said to have entered and found nowhere."""
    return [
        each for each in held if (span_id in each.source.calls if each.source.seen in SIGHTED else each.source.entered)
    ]


def lay(span_id: str, text: str, held: Sequence[Held]) -> AnswerLineage:
    """The lineage of one answer from the sources in its context. Of a part that entered, only that part counts."""
    there = in_context(held, span_id)
    known = [(each.source, kept) for each in there if (kept := _kept(each))]
    chunks = Chunks([kept for _, kept in known])
    pieces = sentences(text)
    found = []
    for piece in pieces[:MOST_SENTENCES]:
        best = chunks.support(piece.text)
        source, kept = (None, "") if best.chunk is None else known[best.chunk]
        found.append(
            Sentence(
                text=piece.text,
                start=piece.start,
                end=piece.end,
                score=round(best.score, 3),
                verdict=best.verdict,
                source_id=None if source is None else source.source_id,
                document=None if source is None else source.document,
                version=None if source is None else source.version,
                chunk_start=best.start,
                chunk_end=best.end,
                quote=kept[best.start : best.end][:QUOTED_CHARS],
                missing=best.missing,
            )
        )
    verdicts = [each.verdict for each in found]
    return AnswerLineage(
        span_id=span_id,
        text=text,
        source_ids=tuple(each.source.source_id for each in there),
        sentences=tuple(found),
        supported=verdicts.count("supported"),
        partly=verdicts.count("partly"),
        unsupported=verdicts.count("unsupported"),
        left_out=max(0, len(pieces) - MOST_SENTENCES),
    )


def _kept(held: Held) -> str:
    """The part of a chunk that was in the context."""
    text, source = held.text or "", held.source
    cut = source.seen == "part" or source.status == "truncated"
    return text[: source.kept_chars] if cut and source.kept_chars is not None else text
