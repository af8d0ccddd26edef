"""Measures what output formats cost the lab's tiny model, task by task: a real model, real masks, over HTTP.

    python -m benchmarks.format_tax_small_model [--each 60] [--seeds 1] [--pairs 10] [--json]

Held-out problems of two tasks (sums of one to four changes, records of two to four fields), `each` of each size, are
asked in five forms at temperature 1, with as many seeds. Told are accuracy, the effect against free text with the
interval, what the masks took and whether it goes with the loss (over all sizes, and within one), how near the bound
from listed alternatives comes, the recommendation, the same form asked twice, the capability map in free text, and sums
told in turns. The model is our own, very small, and trained on these tasks: none of this says
anything about another model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import urllib.request
from pathlib import Path
from statistics import fmean
from typing import Any

from watchkeeper.analysis.masked_mass import masked_mass
from watchkeeper.engines.experiments.formats import TOLD, parameters_of
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.suites import told
from watchkeeper.lab.tiny.model import NAME, shipped
from watchkeeper.lab.tiny.trials import answer_of, cases, missing, problems, ran, suite, thinking

SUMS, RECORDS = (1, 2, 3, 4), (2, 3, 4)
WORDS = (2, 3, 5, 6)


def formats(folder: Path, base_url: str, each: int, seed: int) -> dict[str, Any]:
    """The format tax with one seed, with what the masks took."""
    asked = problems("sums", SUMS, each, seed) + problems("records", RECORDS, each, seed)
    path = suite(folder, base_url, f"forms-{seed}", cases(asked), seed=seed)
    found: dict[str, Any] = told(
        folder, "eval", "formats", path, "--task", "task", "--masked", "--concurrency", "10", expect=(0, 3)
    )
    return found


def within(folder: Path, base_url: str, each: int) -> list[dict[str, Any]]:
    """The strict form in sums of one size, by size: whether what the mask took goes with the loss there too."""
    path = suite(folder, base_url, "within", cases(problems("sums", (2, 3), each, 99)), seed=9)
    words = ["--task", "cell", "--masked", "--concurrency", "10"]
    found = told(folder, "eval", "formats", path, *words, expect=(0, 3))
    return [row for row in found["rows"] if row["form"] == "strict"]


def bounds(base_url: str, each: int) -> dict[str, float]:
    """The mean of what masks took from sums in the strict form, as stated and as bounded by listed alternatives."""
    exact, listed = [], {count: [] for count in (1, 5, 20)}
    form = parameters_of("strict")
    asked = {"model": NAME, "temperature": 1, "seed": 1, "logprobs": True, "top_logprobs": 20, **form}
    for problem in problems("sums", SUMS, each, 77):
        said = [{"role": "system", "content": TOLD["strict"]}, {"role": "user", "content": problem.text}]
        body = json.dumps({**asked, "messages": said}).encode()
        with urllib.request.urlopen(f"{base_url}/chat/completions", body, timeout=60) as answer:
            told_ = json.load(answer)["choices"][0]["logprobs"]
        exact.append(told_.pop("masked_mass"))
        for count, masses in listed.items():
            shorter = [{**entry, "top_logprobs": entry["top_logprobs"][:count]} for entry in told_["content"]]
            found = masked_mass({"content": shorter}, form["response_format"])
            masses.append(0.0 if found is None else found.mass)
    return {"stated": fmean(exact), **{f"from {count}": fmean(masses) for count, masses in listed.items()}}


def twice(folder: Path, base_url: str, each: int, pairs: int) -> list[dict[str, Any]]:
    """A/A: the same free text asked with two seeds, so many times."""
    found = []
    for number in range(pairs):
        asked = thinking(problems("sums", SUMS, each, 100 + number) + problems("records", RECORDS, each, 100 + number))
        names = [f"twice-{number}-{side}" for side in "ab"]
        for side, name in enumerate(names):
            ran(folder, suite(folder, base_url, "twice", asked, seed=1000 * number + side), name)
        files = [str(folder / f"{name}.jsonl") for name in names]
        found.append(told(folder, "eval", "compare", *files, expect=(0, 1, 3))["scores"][0]["comparison"])
    return found


def frontier(folder: Path, base_url: str, each: int) -> dict[str, Any]:
    """The capability map in free text, by task and size; sums by one are in no training text."""
    file = folder / "cells.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for task, sizes in (("sums", SUMS), ("ones", (1, 2)), ("records", RECORDS), ("backwards", WORDS)):
            asked = problems(task, sizes, each, 25)
            rows = ran(folder, suite(folder, base_url, f"map-{task}", thinking(asked), seed=25), f"map-{task}")
            for row, problem in zip(rows, asked, strict=True):
                right = int(answer_of(row) == problem.answer)
                line = {"id": row["case_id"], "task": task, "size": str(problem.size), "right": right}
                lines.write(json.dumps(line) + "\n")
    words = ["--by", "task", "--by", "size", "--score", "right", "--item", "id"]
    order = ["--order", "task=ones,sums", "--order", "size=1,2,3,4,5,6"]
    found: dict[str, Any] = told(folder, "eval", "map", "draw", str(file), *words, *order, expect=(0, 1))
    return found


def turns(folder: Path, base_url: str, each: int) -> dict[str, Any]:
    """Sums of two and three changes, whole and in turns."""
    path = suite(folder, base_url, "turns", thinking(problems("sums", (2, 3), each, 28)))
    found: dict[str, Any] = told(folder, "eval", "stress", path, "--runs", "10", "--no-cache", expect=(0, 1))
    return found


def shown(found: dict[str, Any]) -> None:
    """Print what was found."""
    print(
        f"lab-tiny, {found['parameters']:,} weights: our own, trained on these tasks; no statement about another model"
    )
    for seed, each in enumerate(found["formats"], 1):
        print(f"\nseed {seed}")
        for row in each["rows"]:
            print("  " + _row(row))
        for advice in each["advice"]:
            print(f"  {advice['task']}: {advice['form'] or 'not resolved'}. {advice['sentence']}")
    for row in found["within"]:
        print("  within one size: " + _row(row))
    print("  masks took, mean: " + ", ".join(f"{name} {value:.4f}" for name, value in found["bounds"].items()))
    called = [one["verdict"] for one in found["twice"]]
    print(f"\nthe same form twice: {len(called)} pairs, called {', '.join(sorted(set(called)))}")
    for cell in found["map"]["cells"]:
        print(f"  {' '.join(cell['cell'])}: {_bounds(cell['rate'])}, {cell['state']}")
    for pair in found["map"]["inversions"]:
        if pair["separated"]:
            ends = f"{_bounds(pair['easy_rate'])} and {_bounds(pair['hard_rate'])}"
            print(f"  easy fails, hard passes: {' '.join(pair['easy'])} and {' '.join(pair['hard'])}: {ends}")
    whole, sharded = found["turns"]["whole"], found["turns"]["sharded"]
    for name in ("average", "aptitude", "unreliability"):
        print(f"  {name}: whole {_bounds(whole[name])}, in turns {_bounds(sharded[name])}")


def _row(row: dict[str, Any]) -> str:
    effect = "" if row["effect"] is None else f", {_bounds(row['effect'])} against free text, {row['verdict']}"
    mask = "" if row["masked"] is None else f", masked {_bounds(row['masked'])}"
    sign = "" if row["early_sign"] is None else f", where more was masked lost {_bounds(row['early_sign'])} more"
    return f"{row['task']}, {row['form']} (n = {row['n']}): {_bounds(row['accuracy'])}{effect}{mask}{sign}"


def _bounds(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def main() -> None:
    """Ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    why = missing()
    if why is not None:
        print(f"not measured: {why}")
        return
    with tempfile.TemporaryDirectory() as scratch, LabServer(LabConfig()) as lab:
        folder = Path(scratch)
        found = {
            "parameters": shipped().about["parameters"],
            "formats": [formats(folder, lab.base_url, chosen.each, seed) for seed in range(1, chosen.seeds + 1)],
            "within": within(folder, lab.base_url, 150),
            "bounds": bounds(lab.base_url, chosen.each),
            "twice": twice(folder, lab.base_url, chosen.each // 3, chosen.pairs),
            "map": frontier(folder, lab.base_url, chosen.each),
            "turns": turns(folder, lab.base_url, chosen.each // 2),
        }
    print(json.dumps(found)) if chosen.json else shown(found)


if __name__ == "__main__":
    main()
