"""Cuts a text into sentences for the languages that mark address at the end of the sentence.

A sentence ends at a full stop, a question or exclamation mark of either width, an ellipsis, a line break or a closing
bracket. What follows the last letter (laughter, hearts, waves) is not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from watchkeeper.analysis.address.words import Evidence, Side

_SENTENCE = re.compile(r"(?:[^。．.!?！？…:：\n♪☆★]|[.:](?=[^\s.:]))+")
_STOP = re.compile(r"[。．.!?！？…:：\n♪☆★]*")
_LETTERS = re.compile(r"[^\W\d_]|\d")


class Ending(NamedTuple):
    """A sentence to its last letter, where it starts, whether it asks, and whether a comma leaves it open."""

    text: str
    start: int
    question: bool
    open: bool

    def mark(self, length: int, side: Side, weight: float, rule: str) -> Evidence:
        """Evidence for the last characters of the sentence."""
        begin = max(0, len(self.text) - length)
        end = self.start + len(self.text)
        return Evidence(self.text[begin:], self.start + begin, end, side, weight, rule)

    def mark_at(self, begin: int, end: int, side: Side, weight: float, rule: str) -> Evidence:
        """Evidence for a stretch of the sentence."""
        return Evidence(self.text[begin:end], self.start + begin, self.start + end, side, weight, rule)


def endings(text: str, trailing: frozenset[str]) -> Iterator[Ending]:
    """The sentences of a text; `trailing` are letters that say nothing when they trail (laughter)."""
    at = 0
    while at < len(text):
        found = _SENTENCE.match(text, at)
        stop = _STOP.match(text, found.end() if found else at)
        assert stop is not None  # it matches the empty string
        if found:
            body = found[0]
            end = len(body)
            while end and (body[end - 1] in trailing or not _LETTERS.match(body[end - 1])):
                end -= 1
            start = 0
            while start < end and not _LETTERS.match(body[start]):
                start += 1
            if end > start:
                yield Ending(
                    body[start:end],
                    found.start() + start,
                    "?" in stop[0] or "？" in stop[0],
                    stop[0][:1] == "\n" and body[end : end + 1] in (",", "、", "，"),
                )
        at = stop.end()
