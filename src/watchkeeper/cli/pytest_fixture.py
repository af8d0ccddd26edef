"""What the pytest fixture `watchkeeper_eval` gives a test: a run of a suite, its means with intervals, verdicts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.compare import Side
    from watchkeeper.engines.experiments.gates import Gate, Ruled
    from watchkeeper.engines.experiments.results import Outcome
    from watchkeeper.engines.experiments.suite import Loaded, Suite
    from watchkeeper.records.estimate import Estimate
    from watchkeeper.records.sheet import Line, Sheet

CHOSEN: dict[str, Any] = {
    "concurrency": 8, "requests_per_minute": None, "tokens_per_minute": None, "retries": 2, "no_cache": False,
    "cap_usd": None, "stop_early": None, "span": (0.0, 1.0), "resumable": False,
}  # fmt: skip
"""How a suite is asked in a test. Its runs are not taken up by id: the test is run again, and answers are kept."""


class Verdict:
    """What a gate made of a run: true where it passed, false where it failed or the evidence does not say.

    `passed` tells these two apart (None: not resolved), and `sentence` has the numbers, which pytest shows.
    """

    def __init__(self, ruled: Ruled) -> None:
        self.gate, self.passed, self.sentence = ruled.gate, ruled.passed, ruled.sentence

    def __bool__(self) -> bool:
        return self.passed is True

    def __repr__(self) -> str:
        state = {True: "passed", False: "failed", None: "not resolved"}[self.passed]
        return f"<{self.gate}: {state}. {self.sentence}>"


class EvalRun:
    """A run of a suite. `run["exact"]` is a score's mean with its interval: value, low, high, n, method."""

    def __init__(self, outcome: Outcome, sheet: Sheet, side_of: Callable[[str], Side]) -> None:
        self.outcome, self.sheet, self._side_of = outcome, sheet, side_of

    def __getitem__(self, score: str) -> Estimate:
        """The mean of a score; raises `KeyError` naming those there are."""
        means = self.outcome.experiment.summary
        if score not in means:
            failed = next((line.problem for line in self.sheet.lines if line.problem), None)
            why = f" The first failure: {failed}" if failed and not means else ""
            raise KeyError(f"No answer has a score {score!r}; there are: {', '.join(means) or 'none'}.{why}")
        return means[score]

    @property
    def cases(self) -> tuple[Line, ...]:
        """Every answer: case_id, passed, scores, said, expected, problem."""
        return self.sheet.lines

    def case(self, name: str) -> Line:
        """The first answer to a case, by its id with the suite's name before it or without."""
        known = {line.case_id: line for line in self.sheet.lines}
        found = known.get(name) or known.get(f"{self.sheet.suite}/{name}")
        if found is None:
            raise KeyError(f"There is no case {name!r}.{_near(name, list(known))}")
        return found

    def at_least(self, score: str, value: float) -> Verdict:
        """Whether the whole interval of a score's mean is at or above a value."""
        from watchkeeper.engines.experiments.gates import Floor

        return self._ruled(Floor(score, value))

    def against(
        self,
        baseline: EvalRun | str | Path,
        require: Literal["not-worse", "non-inferior", "equivalent", "better"] = "not-worse",
        margin: float | None = None,
    ) -> Verdict:
        """The verdict, case by case, against another run, an experiment's id or a file of `eval run --out`."""
        from watchkeeper.engines.experiments.compare import side_of_results
        from watchkeeper.engines.experiments.gates import AgainstBaseline

        if require in ("non-inferior", "equivalent") and margin is None:
            raise ValueError(f"require={require!r} needs a margin, the difference that does not matter.")
        if isinstance(baseline, EvalRun):
            side = side_of_results("the other run", baseline.outcome.results)
        else:
            side = self._side_of(str(baseline))
        return self._ruled(AgainstBaseline(side, require, margin))

    def _ruled(self, gate: Gate) -> Verdict:
        return Verdict(gate(self.outcome))

    def __repr__(self) -> str:
        means = (
            f"{name} {mean.value:.3g} ({mean.low:.3g} to {mean.high:.3g}, n = {mean.n})"
            for name, mean in self.outcome.experiment.summary.items()
        )
        errors = self.outcome.experiment.errors
        return f"<{self.sheet.suite}: {', '.join(means) or 'no scores'}; {errors} calls failed>"


class Evals:
    """Runs suites for tests: call it with a suite's file, relative to the test's, or with a suite itself."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """`path` is the test's file; `options` are the plugin's: target, model, cap_usd and data."""
        self._path, self._options = path, dict(options)

    def __call__(
        self,
        suite: str | Path | Suite | Mapping[str, Any],
        *,
        cases: Sequence[str] | None = None,
        answer: Callable[[list[Any]], Any] | None = None,
        target: str | None = None,
        model: str | None = None,
        repeats: int | None = None,
        **asking: Any,
    ) -> EvalRun:
        """Run a suite, or only some `cases` of it, and wait for its scores.

        `answer(messages) -> str`, plain or async, answers in place of an endpoint; `asking` are the words of `eval
        run` (concurrency, retries, cap_usd, requests_per_minute, tokens_per_minute, no_cache).
        """
        from watchkeeper.cli.eval_run import run_suite
        from watchkeeper.cli.eval_sides import side
        from watchkeeper.config import load

        _no_loop()
        unknown = asking.keys() - (CHOSEN.keys() - {"stop_early", "span", "resumable"})
        if unknown:
            raise TypeError(f"watchkeeper_eval knows no {', '.join(sorted(unknown))}; {_near(min(unknown), [*CHOSEN])}")
        loaded = self._only(self._loaded(suite, answer, repeats), cases)
        data = self._options["data"]
        chosen = {**CHOSEN, "cap_usd": self._options["cap_usd"], **asking}
        whom = target or (None if answer else self._options["target"]), model or self._options["model"]
        ran = run_suite(loaded, load(None, data=data), [], whom, chosen)
        return EvalRun(ran.outcome, sheet_of_run(ran, loaded), lambda word: side(self._placed(word), None, data))

    def _loaded(self, suite: Any, answer: Any, repeats: int | None) -> Loaded:
        import msgspec

        from watchkeeper.cli.eval_run import require_scorers
        from watchkeeper.cli.eval_sources import sources_of
        from watchkeeper.engines.experiments.suite import load_suite, suite_of, with_cases

        sources = sources_of(None, self._options["data"])
        if isinstance(suite, str | Path):
            loaded = load_suite(Path(self._placed(str(suite))), sources, answer)
        else:
            loaded = with_cases(suite_of(suite, self._path, answer), self._path, answer, sources)
        require_scorers(loaded)
        if repeats is None:
            return loaded
        return msgspec.structs.replace(loaded, suite=msgspec.structs.replace(loaded.suite, repeats=repeats))

    def _only(self, loaded: Loaded, wanted: Sequence[str] | None) -> Loaded:
        import msgspec

        if wanted is None:
            return loaded
        known = {case.case_id: case for case in loaded.cases}
        found = []
        for name in wanted:
            case = known.get(name) or known.get(f"{loaded.suite.name}/{name}")
            if case is None:
                raise KeyError(f"{loaded.path}: there is no case {name!r}.{_near(name, list(known))}")
            found.append(case)
        return msgspec.structs.replace(loaded, cases=tuple(found))

    def _placed(self, word: str) -> str:
        """A file beside the test where there is one, else the word as it is."""
        beside = self._path.parent / word
        return str(beside) if beside.is_file() else word


def sheet_of_run(ran: Any, loaded: Loaded) -> Sheet:
    """What came of a run, a line for each answer; raises `KeyboardInterrupt` where somebody stopped it."""
    from watchkeeper.engines.experiments.sheets import sheet_of
    from watchkeeper.records.sheet import Ruling

    if ran.outcome.ended_by == "stopped":
        raise KeyboardInterrupt
    rulings = [Ruling(gate=each.gate, passed=each.passed, sentence=each.sentence) for each in ran.ruled]
    return sheet_of(ran.outcome, str(loaded.path), loaded.cases, loaded.suite.bars, rulings)


def _no_loop() -> None:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("watchkeeper_eval runs a loop of its own: call it in a plain test, not in an async one.")


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f" Did you mean {near[0]!r}?" if near else ""
