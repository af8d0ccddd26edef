"""Says how far a text supports a sentence, and where in it: by words, word pairs, numbers and names, not by meaning.

Each sentence of an answer is laid over every stretch of one to three sentences of every chunk, and the best stretch is
its support. Three parts, each the share of the sentence that the stretch holds: words weighted by rarity (inverse
document frequency: Sparck Jones, 1972, "A statistical interpretation of term specificity"), pairs of neighbouring
words, and runs of four letters within words (containment: Broder, 1997, "On the resemblance and containment of
documents"), which forgives endings. Then a check that overlap cannot make good: a number of the sentence that the
chunk does not have, or a name that it does not have, takes its part off, as figures and names are where answers go
wrong (Nan et al., 2021, "Entity-level factual consistency of abstractive text summarization").

Limits: measured on 1,148 answers of four dialogue models that people marked as attributable to their knowledge or not
(BEGIN, Dziri et al., 2022, dev files, "generic" answers left out). The thresholds were chosen on one half (625 answers,
by knowledge text); on the other (523) the area under the ROC curve is 0.93 and the calls agree with people in 87.0%
(always saying "not supported" agrees in 69.2%). Precision and recall of "not supported" there: 0.90 and 0.86 (Wizard of
Wikipedia), 0.96 and 0.95 (CMU), 0.90 and 0.84 (Topical-Chat). Those answers mostly copy or invent; where models
paraphrase more, expect less: it sees words and no meaning, so a paraphrase in other words reads as unsupported, and a
negation or two exchanged names read as supported. A score is a hint where to look, never a verdict alone. In languages
that are written without spaces a whole clause counts as a word, and only runs of letters are compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from watchkeeper.records.record import Record

SUPPORTED_FROM = 0.68
"""A sentence with at least this score is called supported: chosen on one half of the marked answers."""

PARTLY_FROM = 0.45
"""Below this lie about one in fifty of the answers that people call attributable, and most of those they do not."""

WEIGHTS = (0.5, 0.3, 0.2)
"""Of rare words, pairs of words, and runs of letters."""

LONGEST_WINDOW = 3
MOST_SENTENCES = 400
_RUN = 4
_MISSING_NUMBER = 0.35
_MISSING_NAME = 0.15
_COMMON_WEIGHT = 0.1

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*", re.UNICODE)
_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+|\n{1,}|(?<=[。！？])")
_NUMBER = re.compile(r"\d")
_COMMON = frozenset(
    """
    a about after all also am an and any are as at be been being but by can could did do does for from had has have he
    her him his how i if in into is it its just me more most my no not of on one or our out over she so some such than
    that the their them then there these they this those to up us very was we were what when where which who why will
    with would you your yes oh well really actually think know like
    """.split()  # noqa: SIM905 - a list of words reads better as words
)


class Piece(Record):
    """A stretch of a text: [`start`, `end`) in characters."""

    start: int
    end: int
    text: str


class Support(Record):
    """What stands behind one sentence: the best stretch of the best chunk, and how much of the sentence it holds.

    `chunk` is the place of the chunk in the list, `start` and `end` characters within it; None and 0 when no chunk has
    a word of it. `missing` names the numbers and names of the sentence that the chunk does not have.
    """

    score: float
    chunk: int | None = None
    start: int = 0
    end: int = 0
    missing: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """What the score says: "supported", "partly" or "unsupported"."""
        if self.score >= SUPPORTED_FROM:
            return "supported"
        return "partly" if self.score >= PARTLY_FROM else "unsupported"


class _Grams(Record):
    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    runs: frozenset[str]


class _Chunk(Record):
    windows: tuple[tuple[Piece, _Grams], ...]
    words: frozenset[str]
    raw: frozenset[str]


class Chunks:
    """Chunks that are ready to be laid sentences over, with the rarity of words among them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._chunks = [_chunk(text) for text in texts]
        self._seen: Counter[str] = Counter(word for chunk in self._chunks for word in chunk.words)

    def support(self, sentence: str) -> Support:
        """The best support of one sentence; score 0 where there is no chunk, or no word in the sentence."""
        said = _grams(words(sentence))
        if not said.words:
            return Support(score=0.0)
        weights = {word: self._weight(word) for word in said.words}
        best = Support(score=0.0)
        for place, chunk in enumerate(self._chunks):
            if not said.runs & _runs_of(chunk) and not said.words & chunk.words:
                continue
            missing = _missing(sentence, chunk)
            penalty = sum(_MISSING_NUMBER if _NUMBER.search(each) else _MISSING_NAME for each in missing)
            for piece, grams in chunk.windows:
                score = max(0.0, _overlap(said, grams, weights) - penalty)
                if score > best.score:
                    best = Support(score=score, chunk=place, start=piece.start, end=piece.end, missing=missing)
        return best

    def _weight(self, word: str) -> float:
        if word in _COMMON:
            return _COMMON_WEIGHT
        return 1.0 + math.log((1 + len(self._chunks)) / (1 + self._seen[word])) / 4


def support(sentence: str, texts: Sequence[str]) -> Support:
    """The best support of one sentence among some texts; for many sentences make `Chunks` once."""
    return Chunks(texts).support(sentence)


def sentences(text: str) -> tuple[Piece, ...]:
    """A text cut after its sentences and lines, white space left out; at most 400, the last one holds the rest."""
    pieces: list[Piece] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        part = text[start:end]
        kept = part.strip()
        if kept and len(pieces) < MOST_SENTENCES:
            at = start + part.index(kept)
            pieces.append(Piece(start=at, end=at + len(kept), text=kept))
        elif kept:
            first, end_of_kept = pieces[-1].start, start + len(part.rstrip())
            pieces[-1] = Piece(start=first, end=end_of_kept, text=text[first:end_of_kept])
        start = end
    return tuple(pieces)


def words(text: str) -> tuple[str, ...]:
    """The words and numbers of a text in small letters, endings cut."""
    return tuple(_stem(match.group().casefold()) for match in _WORD.finditer(text))


def numbers(text: str) -> frozenset[str]:
    """The numbers of a text, thousands commas taken out."""
    return frozenset(_plain_number(word) for word in _WORD.findall(text) if _NUMBER.search(word))


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    """A word without a common English ending: enough to make "counts" and "counted" one word."""
    if _NUMBER.search(word):
        return _plain_number(word)
    word = word.removesuffix("'s").removesuffix("’s")
    for ending in ("ing", "edly", "ed", "ies", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


def _plain_number(word: str) -> str:
    whole = word.rstrip(".,")
    return whole.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", whole) else whole


def _grams(said: Sequence[str]) -> _Grams:
    own = [word for word in said if word not in _COMMON]
    return _Grams(
        words=frozenset(said),
        pairs=frozenset(pairwise(said)),
        runs=frozenset(run for word in own for run in _runs(word)),
    )


@lru_cache(maxsize=20_000)
def _runs(word: str) -> tuple[str, ...]:
    return tuple(word[i : i + _RUN] for i in range(max(1, len(word) - _RUN + 1)))


def _chunk(text: str) -> _Chunk:
    pieces = sentences(text)
    said = [words(piece.text) for piece in pieces]
    windows: list[tuple[Piece, _Grams]] = []
    for first in range(len(pieces)):
        for last in range(first, min(first + LONGEST_WINDOW, len(pieces))):
            start, end = pieces[first].start, pieces[last].end
            together = [word for each in said[first : last + 1] for word in each]
            windows.append((Piece(start=start, end=end, text=""), _grams(together)))
    return _Chunk(
        windows=tuple(windows),
        words=frozenset(word for each in said for word in each),
        raw=frozenset(word.casefold() for word in _WORD.findall(text)),
    )


def _runs_of(chunk: _Chunk) -> frozenset[str]:
    return frozenset().union(*(grams.runs for _, grams in chunk.windows)) if chunk.windows else frozenset()


def _overlap(said: _Grams, there: _Grams, weights: Mapping[str, float]) -> float:
    total = sum(weights.values())
    parts = (
        sum(weight for word, weight in weights.items() if word in there.words) / total if total else 0.0,
        _share(said.pairs, there.pairs),
        _share(said.runs, there.runs),
    )
    return sum(weight * part for weight, part in zip(WEIGHTS, parts, strict=True))


def _share(wanted: Iterable[object], there: frozenset[object]) -> float:
    all_of_them = list(wanted)
    return sum(1 for each in all_of_them if each in there) / len(all_of_them) if all_of_them else 1.0


def _missing(sentence: str, chunk: _Chunk) -> tuple[str, ...]:
    """The numbers of a sentence, and its names (capital letters that do not begin it), that a chunk does not have."""
    gone: dict[str, None] = {}
    for place, match in enumerate(_WORD.finditer(sentence)):
        word = match.group()
        if _NUMBER.search(word):
            if _plain_number(word) not in chunk.words:
                gone[_plain_number(word)] = None
        elif place and word[0].isupper() and len(word) > 1 and _stem(word.casefold()) not in chunk.words:
            gone[word] = None
    return tuple(gone)
