"""Takes a prompt apart into clauses: the pieces that can be left out one by one, each with an id that stays.

A clause is an item of a list, a sentence of a paragraph, or a whole fenced block of code. Headings, tags that stand on
a line of their own and empty lines are structure: they belong to no clause and stay where they are. A clause's id is
the digest of its words (case, spacing and list marks aside), so that moving or renumbering a clause keeps its id, and
rewriting it makes another one. Equal clauses are told apart by a number.

Limits: sentences are found by their marks (. ! ? and their fullwidth forms), with a list of usual abbreviations; a
sentence that leans on the one before it ("Otherwise, ...") is a clause of its own all the same. Tokens are an estimate
(`analysis/tokens.py`) unless they were billed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from difflib import SequenceMatcher

from watchkeeper.analysis.tokens import MESSAGE, OVERHEAD, PRIOR, features_of
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record

_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\(?\d{1,3}[.)]|\(?[a-z][.)])[ \t]+(?=\S)")
_STRUCTURE = re.compile(r"[ \t]*(?:#{1,6}[ \t].*|</?[\w:-]+(?:[ \t][^<>]*)?/?>|[-*_=]{3,}|\|?[-:| ]{3,}\|?)[ \t]*$")
_FENCE = re.compile(r"[ \t]*(```+|~~~+)")
_END = re.compile(r"[.!?]+[\"'’”)\]*_`]*(?=\s+[^\sa-z])|[。！？]+[」』）]*")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|mr|mrs|ms|dr|st|z\.b|d\.h|bzw|usw)|\b(?-i:[A-Z]))\.$", re.I
)


class Clause(Record):
    """One clause: its id, its text, the characters [start, end) of the prompt that go with it, and its heading.

    `tokens` is how many tokens it is estimated to cost in each call; `position` where its middle lies in the prompt,
    from 0 (the beginning) to 1.
    """

    clause_id: str
    text: str
    start: int
    end: int
    tokens: float
    position: float
    heading: str | None = None


class Difference(Record):
    """What became of a prompt: clauses that came, that went, and the pairs of them that look like a rewording."""

    added: tuple[Clause, ...]
    removed: tuple[Clause, ...]
    reworded: tuple[tuple[str, str], ...]
    tokens_before: float
    tokens_after: float

    @property
    def growth(self) -> float:
        """Tokens that each call costs more (estimated); negative where the prompt shrank."""
        return self.tokens_after - self.tokens_before


def clauses_of(prompt: str) -> tuple[Clause, ...]:
    """The clauses of a prompt in their order; none where it holds no words."""
    found: list[Clause] = []
    seen: dict[str, int] = {}
    for start, end, heading in _pieces(prompt):
        text = prompt[start:end].strip()
        if not re.search(r"\w", text):
            continue
        words = " ".join(_ITEM.sub("", text, count=1).casefold().split()).rstrip(".!")
        name = digest(words.encode("utf-8", "replace"))[:8]
        seen[name] = seen.get(name, 0) + 1
        found.append(
            Clause(
                clause_id=f"c-{name}" + (f"-{seen[name]}" if seen[name] > 1 else ""),
                text=text,
                start=start,
                end=end,
                tokens=tokens_of(text),
                position=(start + end) / 2 / len(prompt),
                heading=heading,
            )
        )
    return tuple(found)


def tokens_of(text: str) -> float:
    """The tokens that a text is estimated to cost inside a message."""
    if not text:
        return 0.0
    features = {name: n for name, n in features_of((text,)).items() if name not in (OVERHEAD, MESSAGE)}
    return PRIOR.estimate(features)


def without(prompt: str, dropped: Collection[str]) -> str:
    """The prompt without some clauses, to the letter otherwise; a line that nothing is left of goes as a whole.

    Raises `ValueError` for an id that no clause has.
    """
    clauses = clauses_of(prompt)
    unknown = set(dropped) - {clause.clause_id for clause in clauses}
    if unknown:
        raise ValueError(
            f"There is no clause {sorted(unknown)[0]!r} in this prompt. See its ids with: watchkeeper eval prompt lint."
        )
    kept, at = "", 0
    for clause in clauses:
        if clause.clause_id not in dropped:
            continue
        kept += prompt[at : clause.start]
        at = clause.end
        line = kept[kept.rfind("\n") + 1 :]
        rest = re.match(r"[ \t]*(\n|\Z)", prompt[at:])
        if rest and not line.strip():
            kept, at = kept[: len(kept) - len(line)], at + rest.end()
        elif rest:
            kept = kept.rstrip(" \t")
        else:
            at += len(prompt[at:]) - len(prompt[at:].lstrip(" \t")) if line == "" or line[-1:].isspace() else 0
    return kept + prompt[at:]


def difference(old: str, new: str) -> Difference:
    """The clauses that a new version of a prompt has and has not; order alone is no difference."""
    before, after = clauses_of(old), clauses_of(new)
    ids_before, ids_after = {c.clause_id for c in before}, {c.clause_id for c in after}
    added = tuple(c for c in after if c.clause_id not in ids_before)
    removed = tuple(c for c in before if c.clause_id not in ids_after)
    pairs, taken = [], set()
    for gone in removed:
        near = [(SequenceMatcher(None, gone.text, c.text).ratio(), c.clause_id) for c in added]
        best = max((pair for pair in near if pair[1] not in taken), default=(0.0, ""))
        if best[0] >= 0.6:
            taken.add(best[1])
            pairs.append((gone.clause_id, best[1]))
    return Difference(
        added=added,
        removed=removed,
        reworded=tuple(pairs),
        tokens_before=tokens_of(old),
        tokens_after=tokens_of(new),
    )


def _pieces(prompt: str) -> Iterator[tuple[int, int, str | None]]:
    """Where each clause stands, with the heading above it."""
    heading: str | None = None
    run: list[tuple[int, int]] = []
    fenced: tuple[int, str] | None = None
    at = 0
    for line in prompt.splitlines(keepends=True):
        start, at = at, at + len(line)
        end = start + len(line.rstrip("\r\n"))
        fence = _FENCE.match(line)
        if fenced is not None:
            if fence and fence[1].startswith(fenced[1]):
                yield fenced[0], end, heading
                fenced = None
            continue
        structure = _STRUCTURE.match(line)
        if fence or structure or not line.strip() or _ITEM.match(line):
            yield from _sentences(prompt, run, heading)
            run = []
        if fence:
            fenced = start, fence[1]
        elif structure:
            named = line.strip().strip("#<>=*- ")
            heading = None if named.startswith("/") else named or heading
        elif line.strip():
            run.append((start, end))
    if fenced is not None:
        yield fenced[0], len(prompt), heading
    yield from _sentences(prompt, run, heading)


def _sentences(prompt: str, run: list[tuple[int, int]], heading: str | None) -> Iterator[tuple[int, int, str | None]]:
    """The sentences of some lines on end; an item of a list is one clause, however many sentences it has."""
    if not run:
        return
    first, last = run[0][0], run[-1][1]
    if _ITEM.match(prompt[first : run[0][1]]):
        yield first, last, heading
        return
    start = first
    for mark in _END.finditer(prompt, first, last):
        if _ABBREVIATED.search(prompt[start : mark.end()]):
            continue
        yield start, mark.end(), heading
        start = mark.end() + len(prompt[mark.end() : last]) - len(prompt[mark.end() : last].lstrip())
    if prompt[start:last].strip():
        yield start, last, heading
