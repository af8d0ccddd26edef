"""Writes a reply with the tiny model: draws token after token, within a mask where there is one.

For each token its log-probability is kept as the model gave it, before the mask and at temperature 1, and the
probability that the mask took away there: the share of what the model would have written next and was not allowed to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from watchkeeper.lab.tiny.masks import Mask
from watchkeeper.lab.tiny.model import CONTEXT, Tiny
from watchkeeper.lab.tiny.vocabulary import END, MARKS

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_TOP = 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How to write. A `temperature` of 0 takes the likeliest token.

    The same `seed` and prompt give the same reply, other prompts draws of their own, so that the answers to a suite are
    independent of each other under one seed. Without a seed each reply is drawn anew.
    """

    temperature: float = 1.0
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top: int = 0


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was written: its log-probability and those of the likeliest before the mask, and what that took."""

    text: str
    logprob: float
    top: tuple[tuple[str | None, float], ...]
    masked_mass: float


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A reply. `finish` is "stop" or "length". `masked_mass` is for the whole reply, the end included.

    It is the probability that the model, left alone at temperature 1 along this reply, would have left its form.
    """

    text: str
    tokens: tuple[Token, ...]
    finish: str
    masked_mass: float
    count: int


def write(model: Tiny, prompt: Sequence[int], wanted: Wanted, mask: Mask | None = None) -> Written:
    """Write a reply to a prompt; raises `ValueError` where the prompt leaves no room."""
    import numpy as np

    rng = np.random.default_rng(None if wanted.seed is None else [wanted.seed, *prompt])
    reading = model.start()
    logits = reading.read(list(prompt))
    tokens: list[Token] = []
    text, finish, kept = "", "length", 1.0
    room = CONTEXT - len(prompt)
    for _ in range(room if wanted.max_tokens is None else min(room, wanted.max_tokens)):
        p = _probabilities(np, logits)
        allowed = np.ones(len(p), dtype=bool) if mask is None else mask.allowed()
        taken = float(min(1.0, max(0.0, p[~allowed].sum())))
        kept *= 1 - taken
        drawn = _drawn(np, p, allowed, wanted.temperature, rng)
        if drawn == END:
            finish = "stop"
            break
        tokens.append(_token(np, model, p, drawn, wanted.top, taken))
        text += tokens[-1].text
        stops = [text.index(each) for each in wanted.stop if each in text]
        if stops:
            text, finish = text[: min(stops)], "stop"
            break
        if mask is not None:
            mask.take(drawn)
        if reading.length == CONTEXT:
            break
        logits = reading.read([drawn])
    return Written(text=text, tokens=_within(tokens, len(text)), finish=finish, masked_mass=1 - kept, count=len(tokens))


def _within(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """The tokens of so many characters: a stop may have ended the text within one."""
    found, left = [], length
    for token in tokens:
        if left <= 0:
            break
        found.append(token if len(token.text) <= left else msgspec.structs.replace(token, text=token.text[:left]))
        left -= len(token.text)
    return tuple(found)


def _probabilities(np: Any, logits: Any) -> Array:
    """The next token's distribution; the marks of the roles are nobody's to write."""
    x = logits.astype(np.float64)
    x[1 : len(MARKS)] = -np.inf
    x = np.exp(x - x.max())
    p: Array = x / x.sum()
    return p


def _drawn(np: Any, p: Array, allowed: Any, temperature: float, rng: Any) -> int:
    if temperature <= 0:
        return int(np.where(allowed, p, -1.0).argmax())
    with np.errstate(divide="ignore"):
        x = np.where(allowed, np.log(p), -np.inf) / temperature
    x = np.exp(x - x.max())
    return int(rng.choice(len(p), p=x / x.sum()))


def _token(np: Any, model: Tiny, p: Array, drawn: int, top: int, taken: float) -> Token:
    best = np.argsort(-p, kind="stable")[: min(top, MOST_TOP)] if top else ()
    return Token(
        text=model.vocabulary.text(drawn),
        logprob=_log(p[drawn]),
        top=tuple((None if each == END else model.vocabulary.text(int(each)), _log(p[each])) for each in best),
        masked_mass=taken,
    )


def _log(p: float) -> float:
    return max(-9999.0, math.log(p)) if p > 0 else -9999.0
