"""How far `analysis.support` agrees with people: a threshold chosen on one half of marked answers, told on the other.

    python benchmarks/support_agreement.py dev.jsonl.gz

The file is JSON lines with `knowledge`, `response`, `begin_label` and `data_source`, as the dev files of BEGIN
(google/BEGIN-dataset, CC BY 4.0 and CDLA-Sharing-1.0) joined. Answers that people called generic are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple

from watchkeeper.analysis.support import PARTLY_FROM, SUPPORTED_FROM, support


class Marked(NamedTuple):
    """One answer: its score, whether people called it attributable, which half it is in, and where it comes from."""

    score: float
    attributable: bool
    chosen_on: bool
    source: str


def read(path: Path) -> list[Marked]:
    """Score every answer of a file; the half goes by the knowledge text, so that no text is in both."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    return [
        Marked(
            support(row["response"], [row["knowledge"]]).score,
            row["begin_label"].startswith("Fully"),
            int(hashlib.sha256(row["knowledge"].encode()).hexdigest(), 16) % 2 == 0,
            row["data_source"],
        )
        for row in rows
        if row["begin_label"] != "Generic"
    ]


def area(marked: list[Marked]) -> float:
    """The area under the ROC curve: how often an attributable answer scores above another one, ties as halves."""
    low = sorted(each.score for each in marked if not each.attributable)
    high = [each.score for each in marked if each.attributable]
    wins = sum(bisect_left(low, x) + (bisect_right(low, x) - bisect_left(low, x)) / 2 for x in high)
    return wins / (len(low) * len(high))


def best(marked: list[Marked]) -> float:
    """The threshold with the largest difference of the two rates (Youden, 1950)."""

    def gain(threshold: float) -> float:
        hits = [each.score >= threshold for each in marked if each.attributable]
        alarms = [each.score >= threshold for each in marked if not each.attributable]
        return sum(hits) / len(hits) - sum(alarms) / len(alarms)

    return max((step / 100 for step in range(20, 100)), key=gain)


def main(path: Path) -> None:
    """Print what was chosen and what came of it."""
    marked = read(path)
    chosen, held = [m for m in marked if m.chosen_on], [m for m in marked if not m.chosen_on]
    say = sys.stdout.write
    say(f"threshold chosen on {len(chosen)} answers: {best(chosen):.2f} (in use: {SUPPORTED_FROM})\n")
    agree = sum((m.score >= SUPPORTED_FROM) == m.attributable for m in held) / len(held)
    always = sum(not m.attributable for m in held) / len(held)
    say(f"on the other {len(held)}: area {area(held):.3f}, agreement {agree:.3f}, always 'not' {always:.3f}\n")
    below = [sum(m.score < PARTLY_FROM for m in chosen if m.attributable is kind) for kind in (True, False)]
    say(f"below {PARTLY_FROM} of the chosen half: {below[0]} attributable, {below[1]} not\n")
    for source in sorted({m.source for m in held}):
        own = [m for m in held if m.source == source]
        said = [m for m in own if m.score < SUPPORTED_FROM]
        right = sum(not m.attributable for m in said)
        precision, recall = right / len(said), right / sum(not m.attributable for m in own)
        say(f"{source}: 'not supported' precision {precision:.3f}, recall {recall:.3f} of {len(own)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
