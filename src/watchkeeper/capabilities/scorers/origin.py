"""Sorts a wrong answer by where it went wrong: not in the corpus, not retrieved, dropped, ignored, or a wrong source.

Problem
    An answer is wrong, and five teams can have done it. Whether the right words were never written, never found, cut
    from the context, stood in it and were passed over, or whether a source said the wrong thing, takes an afternoon to
    find out, and by then the corpus has changed.

Method
    The right answer (the case's `expected`) is laid over what is on record, in this order. The answer itself holds it:
    "right". A source that entered holds it: "ignored". One that was retrieved and did not enter, or the part of one
    that was cut off, holds it: "dropped". Else, where a source that entered is about the question and holds what the
    answer says: "source_wrong". Else the corpus decides: "not_retrieved" where a document holds it, "not_in_corpus"
    where none does. To hold a text is to support each of its sentences from `holds_from` on (see `analysis.support`)
    and to share `about_from` of the question's words. `Subject.evidence` is JSON: `question`, `sources` (each with
    `document`, `entered`, `status`, `reason`, `text`, and `kept_chars` where it was cut) and `corpus` (texts, or null).

Limits
    It says "unknown" where it cannot tell: without an expected answer; without texts where one would decide; without a
    corpus, when nothing retrieved holds the answer. It compares words: an answer that is right in other words than the
    expected one is sorted as if it were wrong, so give `expected` in the words of the documents. On 150 planted faults
    of an invented corpus (see the drill `answer_origins`) it sorts nearly all as planted; in real ones, where texts are
    longer and faults come together, expect less. One fault is named, the first in the order above.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from watchkeeper.analysis.support import SUPPORTED_FROM, Chunks, sentences
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

SHOWN_CHARS = 160


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """One source as the evidence tells it."""

    document: str
    entered: bool = False
    status: str = ""
    version: str | None = None
    reason: str | None = None
    text: str | None = None
    kept_chars: int | None = None


class _Evidence(msgspec.Struct, frozen=True, kw_only=True):
    question: str = ""
    sources: tuple[_Known, ...] = ()
    corpus: tuple[str, ...] | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a wrong answer went wrong; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="origin",
        version="1",
        theme="corpus",
        summary="Sorts a wrong answer into not in corpus, not retrieved, dropped, ignored or source wrong.",
    )

    holds_from: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="From this support on, a text holds a sentence.")
    ] = SUPPORTED_FROM
    about_from: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="From this share of the question's words on, a text is about it.")
    ] = 0.25

    def score(self, subject: Subject) -> Scores:
        """One mark named "origin": its label is the fault, its value 1 for a right answer, None for unknown."""
        expected = None if subject.case is None else subject.case.expected
        if not expected or not expected.strip():
            return (_unknown("there is no expected answer to look for; give the case one"),)
        if not subject.output:
            return (_unknown("there is no answer on record"),)
        if self._holds([subject.output], expected):
            return (Mark(name="origin", value=1.0, label="right", explanation="the answer holds what was expected"),)
        try:
            evidence = msgspec.json.decode(subject.evidence or "{}", type=_Evidence)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return (_unknown(f"the evidence cannot be read: {error}"),)
        return (self._sort(expected, subject.output, evidence),)

    def _sort(self, expected: str, output: str, evidence: _Evidence) -> Mark:
        about = evidence.question
        entered = [each for each in evidence.sources if each.entered]
        for each in entered:
            if self._is_about(_kept(each), about) and self._holds([_kept(each)], expected):
                return _fault("ignored", f"{_named(each)} entered the context and holds it; the answer passed it over")
        for each in evidence.sources:
            if each.text and self._is_about(each.text, about) and self._holds([each.text], expected):
                return _fault("dropped", f"{_named(each)} was retrieved and holds it, and did not enter{_why(each)}")
        textless = [each for each in evidence.sources if not each.text]
        if textless:
            return _unknown(f"{len(textless)} retrieved sources have no text on record, {_named(textless[0])} for one")
        for each in entered:
            if self._is_about(_kept(each), about) and self._said([_kept(each)], output):
                return _fault("source_wrong", f"{_named(each)} entered the context and says what the answer says")
        if evidence.corpus is None:
            return _unknown("nothing that was retrieved holds it, and no corpus was given to tell why")
        if any(self._is_about(text, about) and self._holds([text], expected) for text in evidence.corpus):
            return _fault("not_retrieved", "a document of the corpus holds it, and it was not retrieved")
        return _fault("not_in_corpus", f"none of {len(evidence.corpus):,} documents of the corpus holds it")

    def _holds(self, texts: list[str], wanted: str) -> bool:
        chunks = Chunks(texts)
        pieces = sentences(wanted)
        return bool(pieces) and all(chunks.support(piece.text).score >= self.holds_from for piece in pieces)

    def _said(self, texts: list[str], output: str) -> bool:
        """Whether any sentence of an answer stands in the texts."""
        chunks = Chunks(texts)
        return any(chunks.support(piece.text).score >= self.holds_from for piece in sentences(output))

    def _is_about(self, text: str, question: str) -> bool:
        return not question.strip() or Chunks([text]).support(question).score >= self.about_from


def _kept(known: _Known) -> str:
    text = known.text or ""
    return text if known.kept_chars is None else text[: known.kept_chars]


def _named(known: _Known) -> str:
    return known.document[:SHOWN_CHARS] + (f" {known.version}" if known.version else "")


def _why(known: _Known) -> str:
    return f" ({known.reason[:SHOWN_CHARS]})" if known.reason else ""


def _fault(label: str, why: str) -> Mark:
    return Mark(name="origin", value=0.0, label=label, explanation=why)


def _unknown(why: str) -> Mark:
    return Mark(name="origin", label="unknown", explanation=f"not judged: {why}")
