"""Byte-pair tokenizers that the lab trains by itself, and a meter that bills prompts by them, with a prompt cache.

They are real tokenizers over small vocabularies and nobody's: their counts have the shape of real ones (few tokens for
what they were trained on, many for other scripts) and not their size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from watchkeeper.lab.shapes import calls_of, text_of

_WORD = re.compile(r" ?[^\W\d_]+| ?\d{1,3}| ?[^\s\w]+|_+|\s+")
_FRAME_TOKENS = 4
_START_TOKENS = 3
CACHE_BLOCK = 64
CACHE_LEAST = 128


class Tokenizer:
    """A byte-pair tokenizer: `merges` are the pairs it joins, the earliest first."""

    def __init__(self, name: str, merges: Sequence[tuple[bytes, bytes]]) -> None:
        self.name = name
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return sum(self._word(word) for word in _WORD.findall(text))

    def _word(self, word: str) -> int:
        known = self._known.get(word)
        if known is None:
            if len(self._known) > 50_000:
                self._known.clear()
            known = self._known[word] = len(self._joined(word.encode()))
        return known

    def _joined(self, data: bytes) -> list[bytes]:
        pieces = [data[at : at + 1] for at in range(len(data))]
        while len(pieces) > 1:
            ranked = [(self._rank.get(pair, 1 << 30), at) for at, pair in enumerate(pairwise(pieces))]
            rank, at = min(ranked)
            if rank == 1 << 30:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return pieces


def trained(name: str, texts: Iterable[str], merges: int) -> Tokenizer:
    """A tokenizer trained on texts: the most frequent pair is joined, so many times (Sennrich et al. 2016)."""
    words = Counter(word for text in texts for word in _WORD.findall(text))
    split = {word: [word.encode()[at : at + 1] for at in range(len(word.encode()))] for word in words}
    found: list[tuple[bytes, bytes]] = []
    for _ in range(merges):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, pieces in split.items():
            for pair in pairwise(pieces):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        for pieces in split.values():
            at = 0
            while at < len(pieces) - 1:
                if (pieces[at], pieces[at + 1]) == best:
                    pieces[at : at + 2] = [best[0] + best[1]]
                at += 1
    return Tokenizer(name, found)


class Metered(NamedTuple):
    """What a prompt is billed as: all of its tokens, and those that were read from the cache."""

    prompt_tokens: int
    cached_tokens: int


class Meter:
    """Bills prompts by a tokenizer, which `swap` changes while the lab runs, and remembers their prefixes.

    The cache holds whole blocks of tokens of the last `remembered` prompts, as providers do.
    """

    def __init__(self, tokenizer: Tokenizer, remembered: int = 200) -> None:
        self._tokenizer = tokenizer
        self._prompts: list[str] = []
        self._remembered = remembered

    def swap(self, tokenizer: Tokenizer) -> None:
        """Bill by another tokenizer from now on; the cache of the old one is lost."""
        self._tokenizer = tokenizer
        self._prompts.clear()

    def bill(self, messages: Sequence[Any], tools: Sequence[Any]) -> Metered:
        """The tokens of a prompt, and of them those in the longest prefix that an earlier one has."""
        texts = [msgspec.json.encode(tool).decode() for tool in tools]
        for message in messages:
            if isinstance(message, dict):
                texts.append(text_of(message.get("content")))
                texts += [call.name + call.arguments for call in calls_of(message)]
        whole = "\x1e".join(texts)
        total = _START_TOKENS + sum(_FRAME_TOKENS + self._tokenizer.count(text) for text in texts)
        shared = max((_common(whole, earlier) for earlier in self._prompts), default=0)
        cached = self._tokenizer.count(whole[:shared]) // CACHE_BLOCK * CACHE_BLOCK
        self._prompts = [whole, *self._prompts[: self._remembered - 1]]
        return Metered(total, min(total, cached) if cached >= CACHE_LEAST else 0)


def _common(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low
