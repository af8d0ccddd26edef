"""Recomputes tables that others published from their per-item data, through the code behind `eval` and `judge`.

    python -m benchmarks.published_tables --data DIR [--json]

DIR holds any of the folders `agentdojo`, `alpaca-eval-items`, `llmbar-judges`, `tau-bench-airline` and `llm-drift`;
what is not there is left out. Sources: AgentDojo (Debenedetti et al., 2024, MIT), AlpacaEval 2 (Dubois et al., 2024,
CC BY-NC 4.0), LLMBar (Zeng et al., 2024, MIT), tau-bench (Yao et al., 2024, MIT), LLMDrift (Chen, Zaharia and Zou,
2023, Apache-2.0).
Nothing is fitted: a figure agrees within its published digits or it does not. LLMDrift publishes answers and not how it
read them, so its figures depend on our reading of a free text and are held to three points. Beside the published
figures stand the paired comparisons that their authors did not print. Exit code 1 when a figure does not agree.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.engines.experiments.contrasts import Compared, compare_groups
from watchkeeper.engines.experiments.judgments import audit_judge, columns_of, read_judgments
from watchkeeper.engines.experiments.summaries import Summary, summarize
from watchkeeper.engines.experiments.tables import Columns, read_scores

TAU_BENCH = {"1": 0.420, "2": 0.273, "3": 0.220, "4": 0.200}
"""pass^k of gpt-4o on airline tasks, from the source's own table."""
DRIFT = {
    ("prime", "gpt-4"): (84.0, 51.1),
    ("prime", "gpt-3.5-turbo"): (49.6, 76.2),
    ("sensitiveq", "gpt-4"): (21.0, 5.0),
    ("sensitiveq", "gpt-3.5-turbo"): (2.0, 8.0),
    ("opinionqa", "gpt-4"): (97.6, 22.1),
}
"""March and June 2023, percent: right, answered, with an option. From the paper, which does not give its extractors."""


class Figure(NamedTuple):
    """One figure beside what was published; `published` None: the authors printed none."""

    table: str
    what: str
    ours: float
    published: float | None
    within: float

    @property
    def agrees(self) -> bool | None:
        """Whether it agrees to `within`; None where nothing was published."""
        return None if self.published is None else abs(self.ours - self.published) <= self.within


class Verdict(NamedTuple):
    """A paired comparison."""

    table: str
    what: str
    found: Compared


Told = Iterator[Figure | Verdict]


def agentdojo(folder: Path) -> Told:
    """Utility and targeted attack success, to the second decimal, and pairs against the first pipeline."""
    items = folder / "items.csv.gz"
    for row in json.loads((folder / "published_results.json").read_text()):
        where = (("pipeline", row["pipeline"]), ("is_injection_alone", "0"))
        said = f"{row['pipeline']}, {row['attack']}"
        calm = _one(items, ("suite", "user_task"), "utility", (*where, ("attack", "none")))
        yield Figure("AgentDojo utility %", said, 100 * _mean(calm), row["utility_pct"], 0.005001)
        for score, name, key in (
            ("utility", "utility under attack", "utility_under_attack_pct"),
            ("security", "targeted attack success", "targeted_asr_pct"),
        ):
            found = _one(items, ("suite", "user_task", "injection_task"), score, (*where, ("attack", row["attack"])))
            yield Figure(f"AgentDojo {name} %", said, 100 * _mean(found), row[key], 0.005001)
    reference = folder / "reference_paired_tests.json"
    for row in json.loads(reference.read_text()) if reference.exists() else ():
        attacked = row["attack"] != "none"
        columns = Columns(
            item=("suite", "user_task", *(("injection_task",) if attacked else ())),
            score=row["metric"],
            by="pipeline",
            where=(("attack", row["attack"]), ("is_injection_alone", "0")),
        )
        pair = _pair(items, columns, row["a"], row["b"])
        said = f"{row['metric']}, {row['attack']}: {row['b']} against {row['a']}"
        yield Figure("AgentDojo exact McNemar p", said, pair.p_value, row["mcnemar_exact_p"], _digits(row))
        yield Verdict("AgentDojo", said, pair)


def _digits(row: dict[str, Any]) -> float:
    """Half of the last of the four digits that a p-value was told with."""
    return float(row["mcnemar_exact_p"]) * 1e-3 + 1e-12


def alpaca_eval(folder: Path) -> Told:
    """Win rates and standard errors to 1e-9, and paired differences."""
    items = folder / "preferences.csv.gz"
    rows = read_scores(items, Columns(item=("item",), score="preference", by="model"))
    found = {each.group: each for each in summarize(rows)}
    with (folder / "published_leaderboard.csv").open() as file:
        for row in csv.DictReader(file):
            if row["model"] not in found:
                continue
            ours = found[row["model"]]
            yield Figure("AlpacaEval win rate %", row["model"], 100 * (_mean(ours) - 1), float(row["win_rate"]), 1e-9)
            error = 100 * (ours.standard_error or 0.0)
            yield Figure("AlpacaEval standard error %", row["model"], error, float(row["standard_error"]), 1e-9)
    reference = folder / "reference_paired_differences.json"
    for row in json.loads(reference.read_text()) if reference.exists() else ():
        # The reference says a - b.
        b, a = ([each for each in rows if each.group == row[side]] for side in ("a", "b"))
        pair = compare_groups(a, b)
        said = f"{row['a']} against {row['b']}"
        yield Figure("AlpacaEval paired difference", said, 100 * (pair.difference or 0), row["diff_points"], 0.000501)
        yield Figure("AlpacaEval paired error", said, 100 * (pair.standard_error or 0), row["paired_se"], 0.000501)
        yield Verdict("AlpacaEval", said, pair)


def llmbar(folder: Path) -> Told:
    """Judges against the labels of people: right, right in both orders, the same in both."""
    items = folder / "judgments.csv.gz"
    groups = read_judgments(items, columns_of(items, {}), ("subset", "evaluator", "strategy"), ())
    with (folder / "published_statistics.csv").open() as file:
        for row in csv.DictReader(file):
            said = " / ".join((row["subset"], row["evaluator"], row["strategy"]))
            if said not in groups:
                continue
            found = audit_judge(said, groups[said], both=True).audit
            assert found is not None
            assert found.right_both is not None
            for name, ours in (("correct_average", found.right), ("correct_both", found.right_both)):
                published = float(row[name].rsplit("=", 1)[-1].strip(" %"))
                yield Figure(f"LLMBar {name} %", said, 100 * ours.value, published, 1e-6)


def tau_bench(folder: Path) -> Told:
    """pass^k over tasks."""
    (found,) = summarize(
        read_scores(folder / "episodes.jsonl.gz", Columns(item=("task_id",), score="reward", run="trial"))
    )
    for k, published in TAU_BENCH.items():
        yield Figure("tau-bench pass^k", f"gpt-4o airline, k = {k}", found.pass_hat_k[k].value, published, 0.000501)


def llm_drift(folder: Path) -> Told:
    """Before and after on the same questions; PRIME also apart for primes and composites."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, extract in _EXTRACTORS.items():
            path = Path(scratch) / f"{name}.jsonl"
            _scored(folder / f"{name}.jsonl.gz", path, extract)
            for (dataset, family), published in DRIFT.items():
                if dataset == name:
                    yield from _before_and_after(path, name, family, published)


def _before_and_after(path: Path, name: str, family: str, published: tuple[float, float]) -> Told:
    march, june = (_version(path, family, early) for early in (True, False))
    columns = Columns(item=("id",), score="score", by="model")
    found = _pair(path, columns, march, june)
    within = 0.0501 if name == "sensitiveq" else 3.0
    for when, version, theirs in zip(("March", "June"), (march, june), published, strict=True):
        ours = _one(path, ("id",), "score", (("model", version),))
        yield Figure(f"LLMDrift {name} %", f"{family}, {when}", 100 * _mean(ours), theirs, within)
    yield Verdict("LLMDrift", f"{name}: {june} against {march}", found)
    for answer in ("yes", "no") if name == "prime" else ():
        part = Columns(item=("id",), score="score", by="model", where=(("right_answer", answer),))
        said = f"{name}, where the right answer is {answer}: {june} against {march}"
        yield Verdict("LLMDrift", said, _pair(path, part, march, june))


def _bracketed(row: dict[str, Any]) -> bool:
    """The last yes or no in brackets, as the question asks for, or the last one at all where nothing is in brackets."""
    answer = str(row["answer"])
    found = re.findall(r"\[(yes|no)\]", answer, re.IGNORECASE) or re.findall(r"\b(yes|no)\b", answer, re.IGNORECASE)
    return bool(found) and found[-1].casefold() == row["ref_answer"].casefold()


def _option(row: dict[str, Any]) -> bool:
    return re.search(r"\([A-Z]\)", str(row["answer"])) is not None


_EXTRACTORS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "prime": _bracketed,
    "sensitiveq": lambda row: bool(row["responded"]),
    "opinionqa": _option,
}


def _scored(source: Path, path: Path, extract: Callable[[dict[str, Any]], bool]) -> None:
    with gzip.open(source, "rt", encoding="utf-8") as lines, path.open("w") as out:
        for line in lines:
            row = json.loads(line)
            kept = {"model": row["model"], "id": row["id"], "right_answer": str(row.get("ref_answer")).casefold()}
            out.write(json.dumps({**kept, "score": extract(row)}) + "\n")


def _version(path: Path, family: str, early: bool) -> str:
    rows = read_scores(path, Columns(item=("id",), score="score", by="model"))
    names = sorted({row.group for row in rows if family in row.group})
    return names[0] if early else names[-1]


def _one(path: Path, item: tuple[str, ...], score: str, where: tuple[tuple[str, str], ...]) -> Summary:
    (found,) = summarize(read_scores(path, Columns(item=item, score=score, where=where)))
    return found


def _pair(path: Path, columns: Columns, a: str, b: str) -> Compared:
    rows = read_scores(path, columns)
    return compare_groups([row for row in rows if row.group == a], [row for row in rows if row.group == b])


def _mean(found: Summary) -> float:
    return float("nan") if found.mean is None else found.mean


TABLES: dict[str, Callable[[Path], Told]] = {
    "agentdojo": agentdojo,
    "alpaca-eval-items": alpaca_eval,
    "llmbar-judges": llmbar,
    "tau-bench-airline": tau_bench,
    "llm-drift": llm_drift,
}


def main() -> int:
    """Recompute what is there; returns 1 when a figure does not agree, 2 when nothing is there."""
    parser = argparse.ArgumentParser(description="Recompute published tables from per-item data.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    told = [each for name, table in TABLES.items() if (asked.data / name).is_dir() for each in table(asked.data / name)]
    if not told:
        print(f"{asked.data} has none of {', '.join(TABLES)}", file=sys.stderr)
        return 2
    figures = [each for each in told if isinstance(each, Figure)]
    off = [each for each in figures if each.agrees is False]
    if asked.json:
        print(json.dumps([_plain(each) for each in told], indent=1))
    else:
        _print(figures, [each for each in told if isinstance(each, Verdict)], off)
    return int(bool(off))


def _plain(each: Figure | Verdict) -> dict[str, Any]:
    if isinstance(each, Figure):
        return {**each._asdict(), "agrees": each.agrees}
    found = each.found
    return {
        "table": each.table,
        "what": each.what,
        **{name: getattr(found, name) for name in ("n", "difference", "low", "high", "p_value", "verdict", "method")},
    }


def _print(figures: list[Figure], verdicts: list[Verdict], off: list[Figure]) -> None:
    for table in dict.fromkeys(each.table for each in figures):
        own = [each for each in figures if each.table == table]
        furthest = max(abs(each.ours - (each.published or 0.0)) for each in own)
        agree = sum(each.agrees is True for each in own)
        print(f"{table}: {agree} of {len(own)} figures agree (furthest apart by {furthest:.2g})")
    for each in off:
        print(f"  not: {each.table}, {each.what}: {each.ours:.4f}, published {each.published}")
    print()
    for verdict in verdicts:
        found = verdict.found
        print(
            f"{verdict.table}, {verdict.what}: {found.verdict}, {found.difference or 0:+.4f} "
            f"({found.low:+.4f} to {found.high:+.4f}), p = {found.p_value:.3g}, {found.n} items"
        )


if __name__ == "__main__":
    sys.exit(main())
