"""Weighs the answers of probes against their own beginnings: how much says that a model answers otherwise now.

A probe's answers are scores: the answer in short (`label`), its form (attribute "form") and its length (`value`), in
rounds (attribute "round"). The bets and their validity are those of `exchangeability`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from watchkeeper.analysis.exchangeability import Bets, LabelRanks, NumberRanks, mean_of
from watchkeeper.records.score import Score

FEATURES = ("label", "form", "length")


class Evidence(NamedTuple):
    """What the stake was worth at most after any round, after each round, and what each probe and feature alone is."""

    value: float
    rounds: tuple[float, ...]
    parts: dict[tuple[str, str], float]


class _Wager:
    """The bets on one feature: over all probes together, and on each alone."""

    def __init__(self, feature: str, streams: Mapping[str, Sequence[Score]], baseline: int) -> None:
        self.feature = feature
        self.whole = Bets()
        self.alone = {name: Bets() for name in streams}
        self._ranks = {name: NumberRanks() if feature == "length" else LabelRanks() for name in streams}
        for name, scores in streams.items():
            for score in scores[:baseline]:
                self._strangeness(name, score)

    def bet(self, round_: Sequence[tuple[str, Score]]) -> float:
        """Bet on the answers of one round; what the stake is worth then."""
        self.whole.begin()
        for name in {name for name, _ in round_}:
            self.alone[name].begin()
        for name, score in round_:
            p_value = self._strangeness(name, score)
            self.whole.bet(p_value)
            self.alone[name].bet(p_value)
        return (self.whole.value + mean_of(bets.value for bets in self.alone.values())) / 2

    def _strangeness(self, name: str, score: Score) -> float:
        """The p-value of an answer; ties are broken by a draw that belongs to the score, so it is repeatable."""
        drawn = hashlib.blake2b(f"{score.score_id} {self.feature}".encode(), digest_size=8).digest()
        u = int.from_bytes(drawn) / 2**64
        ranks = self._ranks[name]
        if isinstance(ranks, NumberRanks):
            return ranks.p_value(score.value or 0.0, u)
        return ranks.p_value(told(self.feature, score), u)


def weigh(streams: Mapping[str, Sequence[Score]], baseline: int) -> Evidence:
    """Bet on every answer after each probe's first `baseline` ones, round by round."""
    wagers = [_Wager(feature, streams, baseline) for feature in FEATURES]
    later = _rounds({name: scores[baseline:] for name, scores in streams.items()})
    values = tuple(mean_of([wager.bet(round_) for wager in wagers]) for round_ in later)
    parts = {(name, wager.feature): bets.value for wager in wagers for name, bets in wager.alone.items()}
    return Evidence(max(values, default=1.0), values, parts)


def _rounds(streams: Mapping[str, Sequence[Score]]) -> list[list[tuple[str, Score]]]:
    """The answers of all probes in the order of time, parted where a round ends."""
    every = sorted(
        ((name, score) for name, scores in streams.items() for score in scores),
        key=lambda each: (each[1].event_ns, each[1].score_id),
    )
    rounds: list[list[tuple[str, Score]]] = []
    seen: dict[str, object] = {}
    for name, score in every:
        number = score.attributes.get("round")
        if not rounds or seen.get(name, number) != number:
            rounds.append([])
            seen.clear()
        seen[name] = number
        rounds[-1].append((name, score))
    return rounds


def told(feature: str, score: Score) -> str:
    """A feature of an answer that is a label."""
    return str(score.label if feature == "label" else score.attributes.get("form"))
