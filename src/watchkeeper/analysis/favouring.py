"""Says what a judge favours beyond what is right: longer answers, its own kin, or one text that wins against anything.

A judge favours a side (the longer answer, the one of its own family) if it picks it more often than the gold labels do.
Per pair that is -1, 0 or 1, so the excess is a difference of two rates over the same pairs, with McNemar's exact test
and Tango's interval. Without gold labels only the share of picks is known, which may be skill.

A null model (Zheng et al., 2024, "Cheating automatic LLM benchmarks: null models achieve high win rates") gives one
constant answer to every question. No answer suits every question, so one text that wins again and again was made for
the judge, or the judge does not look. Limits: texts that differ in a word are different texts here; answers of a few
characters (yes, B) repeat by nature and are left out. Where only lengths are known, one length for nearly all answers
stands for one text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from watchkeeper.analysis.intervals import graded_rate, wilson
from watchkeeper.analysis.mcnemar import mcnemar_exact, score_interval
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

_SHORT = 20
_FEWEST = 10
_ALL_LENGTHS = 0.9
_SOME_TEXTS = 0.05
_FAMILIES = {
    "openai": ("gpt", "chatgpt", "davinci", "o1", "o3", "o4", "openai"),
    "anthropic": ("claude", "anthropic"),
    "google": ("gemini", "palm", "bard", "gemma"),
    "meta": ("llama", "vicuna", "alpaca"),
    "mistral": ("mistral", "mixtral", "ministral", "codestral"),
    "cohere": ("command", "cohere"),
    "alibaba": ("qwen", "qwq"),
    "deepseek": ("deepseek",),
    "xai": ("grok",),
    "microsoft": ("phi",),
    "zhipu": ("glm", "chatglm"),
    "01": ("yi",),
}


class Favour(Record, frozen=True, kw_only=True):
    """How much oftener than the labels a judge picks a side, over the pairs that have such a side and a verdict."""

    pairs: int
    picked: Estimate
    excess: Estimate | None = None
    p_value: float | None = None


class Repeated(Record, frozen=True, kw_only=True):
    """One text (or one length, by `by`) that `answers` of them are: its share of all, and how often it won."""

    answers: int
    share: float
    wins: Estimate
    what: str
    by: str


class Pick(NamedTuple):
    """One verdict: the winner, the better one by the labels (None: unknown), and the side in question."""

    winner: str
    label: str | None
    side: str


def favour(picks: Sequence[Pick]) -> Favour | None:
    """How far a judge favours a side; None for no picks."""
    if not picks:
        return None
    picked = wilson(sum(each.winner == each.side for each in picks), len(picks))
    if any(each.label is None for each in picks):
        return Favour(pairs=len(picks), picked=picked)
    more = sum(each.winner == each.side != each.label for each in picks)
    less = sum(each.label == each.side != each.winner for each in picks)
    return Favour(
        pairs=len(picks),
        picked=picked,
        excess=score_interval(less, more, len(picks)),
        p_value=mcnemar_exact(less, more),
    )


def repeated(answers: Sequence[tuple[str, float]], *, lengths: bool = False) -> Repeated | None:
    """The text that won most of those that repeat beyond chance, or None where none does.

    `answers` are (text, how much it won: 0 to 1). A text counts if at least ten answers, and a twentieth of all, are
    it; where the texts are `lengths`, nine in ten must be one.
    """
    if len(answers) < _FEWEST:
        return None
    counts = Counter(text for text, _ in answers)
    least = max(_FEWEST, (_ALL_LENGTHS if lengths else _SOME_TEXTS) * len(answers))
    often = [text for text, count in counts.items() if count >= least and _long_enough(text, lengths)]
    found = []
    for text in often:
        won = [win for each, win in answers if each == text]
        estimate = wilson(sum(won), len(won)) if set(won) <= {0.0, 1.0} else graded_rate(won)
        found.append(
            Repeated(
                answers=len(won),
                share=len(won) / len(answers),
                wins=estimate,
                what=text if lengths else text[:200],
                by="length" if lengths else "text",
            )
        )
    return max(found, key=lambda each: (each.wins.value * each.answers, each.what), default=None)


def _long_enough(text: str, lengths: bool) -> bool:
    if lengths:
        return text.replace(".", "", 1).isdigit() and float(text) >= _SHORT
    return len(text) >= _SHORT


def family(model: str | None) -> str | None:
    """Whose models a name is one of, by the words in it; None where that is not known.

    Limits: a list of names, so a fine-tuned model under a name of its own is unknown, which is not "another family".
    """
    words = "".join(letter if letter.isalnum() else " " for letter in (model or "").casefold()).split()
    for name, starts in _FAMILIES.items():
        if any(word.startswith(start) and (len(start) > 2 or word in starts) for word in words for start in starts):
            return name
    return None
