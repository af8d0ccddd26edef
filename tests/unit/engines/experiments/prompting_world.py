"""A simulated model whose dependence on a prompt is known: what each clause does to which cases, and the noise."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

LOAD, HARM, DEAD = "load-bearing", "harmful", "dead"


def thirty_clauses() -> tuple[str, dict[str, str]]:
    """A prompt of 30 clauses, 12 dead, 2 that contradict each other, 3 load-bearing; the rest matter to few cases."""
    named: dict[str, str] = {}
    lines = ["You are the returns desk of a lamp shop."]
    named[lines[0]] = "rest"
    for n in range(12):
        line = f"- Keep the tone of season {n} in mind while thinking about shelf number {n + 40}."
        lines.append(line)
        named[line] = DEAD
    for line in (
        "- Always state the order number in the reply.",
        "- Convert every amount to euros before deciding.",
        "- Count the thirty days from the delivery date.",
    ):
        lines.insert(4 * len(lines) // 7, line)
        named[line] = LOAD
    for line in ("- Answer in at most 40 words.", "- Answer in at least 90 words."):
        lines.append(line)
        named[line] = "contradictory"
    topics = [
        "lamp",
        "bulb",
        "cable",
        "socket",
        "shade",
        "stand",
        "switch",
        "dimmer",
        "sensor",
        "timer",
        "hook",
        "rail",
    ]
    for topic in topics:
        line = f"- Questions about {topic} belong to the {topic} table of the catalogue."
        lines.insert(2 * len(lines) // 3, line)
        named[line] = "rest"
    return "\n".join(lines), named


class World:
    """Answers for `cases` cases, as an arm gives them.

    A clause that `needs` names breaks a share of the cases while it is absent, one that `harms` names while it is
    present; `noise` is how often an answer comes out the other way round for no reason.
    """

    def __init__(
        self, seed: int, cases: int, needs: Mapping[str, float], harms: Mapping[str, float], noise: float, right: float
    ) -> None:
        self.rng, self.cases, self.noise = Random(seed), cases, noise
        self.needs, self.harms = needs, harms
        self.hard = [self.rng.random() > right for _ in range(cases)]
        self.draw = {text: [self.rng.random() for _ in range(cases)] for text in (*needs, *harms)}
        self.arms = 0

    async def __call__(self, name: str, prompt: str, draw: str) -> Any:
        """What the cases score with a prompt."""
        del draw
        self.arms += 1
        broken = [text for text in self.needs if text not in prompt] + [text for text in self.harms if text in prompt]
        shares = {**self.needs, **self.harms}
        scores: dict[str, list[float]] = {}
        for case in range(self.cases):
            right = not self.hard[case] and not any(self.draw[text][case] < shares[text] for text in broken)
            scores[f"case-{case}"] = [float(right != (self.rng.random() < self.noise))]
        return Fake(name, scores)


class Fake:
    """An arm's answers that hold scores alone."""

    def __init__(self, name: str, scores: dict[str, list[float]]) -> None:
        self.name, self._scores = name, scores
        self.results: tuple[Any, ...] = ()
        self.errors, self.input_tokens = 0, None

    def values(self, score: str) -> dict[str, list[float]]:
        del score
        return self._scores

    @property
    def clusters(self) -> dict[str, str]:
        return {case: case for case in self._scores}
