"""A pytest plugin: a suite's cases are tests, and its verdict against a baseline is one more.

A file `NAME.eval.yaml` is a suite like those of `watchkeeper eval run`. pytest collects one test for each case, which
fails where a score is below its bar, and one for each gate:

    pytest evals/ --eval-against baseline.jsonl --eval-require not-worse

The suite is run once, when the first of its tests runs; answers are kept and asked for only once, as by the command.

The fixture `watchkeeper_eval` runs a suite, or some of its cases, inside a test that asserts on its verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from watchkeeper.cli.pytest_fixture import Evals
    from watchkeeper.records.sheet import Line, Ruling, Sheet

SUFFIX = ".eval.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("watchkeeper", "evals as tests (files *.eval.yaml)")
    group.addoption("--eval-target", metavar="URL", help="ask this endpoint instead of the suites' own")
    group.addoption("--eval-model", help="ask this model instead of the suites' own")
    group.addoption("--eval-against", metavar="RUN", help="gate against a baseline: an experiment's id or a file")
    group.addoption("--eval-require", default="not-worse", help="what the verdict must be (not-worse)")
    group.addoption("--eval-at-least", action="append", default=[], metavar="SCORE=VALUE", help="gate on a mean")
    group.addoption("--eval-margin", type=float, help="the difference that does not matter")
    group.addoption("--eval-cap-usd", type=float, help="stop before more than this could be spent")
    group.addoption("--eval-data", metavar="DIR", help="the data directory (./.watchkeeper)")


@pytest.fixture
def watchkeeper_eval(request: pytest.FixtureRequest) -> Evals:
    """Run a suite, or some of its cases, and assert on its scores and verdicts.

    `run = watchkeeper_eval("desk.yaml")` gives means with intervals (`run["exact"].low`), verdicts that are true where
    they passed (`run.at_least("exact", 0.8)`, `run.against("before.jsonl")`) and single cases (`run.case("3").passed`).
    """
    from watchkeeper.cli.pytest_fixture import Evals

    names = ("target", "model", "cap_usd", "data")
    return Evals(request.path, {name: request.config.getoption(f"eval_{name}") for name in names})


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect suites."""
    return EvalFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


class NotPassed(Exception):
    """A case below its bar, or a gate that did not pass."""


class EvalFile(pytest.File):
    """One suite. Its cases are known at once, its answers when the first test runs."""

    _sheet: Sheet | None = None
    _problem: Exception | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """One test for each case and rerun, and one for each gate."""
        import click

        from watchkeeper.cli.eval_run import require_scorers
        from watchkeeper.cli.eval_sources import sources_of
        from watchkeeper.engines.experiments.dataset import SuiteError
        from watchkeeper.engines.experiments.suite import load_suite

        try:
            self._loaded = load_suite(self.path, sources_of(None, self.config.getoption("eval_data")))
            require_scorers(self._loaded)
            gates = len(self._gates())
        except (SuiteError, ValueError, click.ClickException) as error:
            raise self.CollectError(str(error)) from error
        names = [
            case.case_id if repeat == 0 else f"{case.case_id} (rerun {repeat})"
            for case in self._loaded.cases
            for repeat in range(self._loaded.suite.repeats)
        ]
        for name in names:
            yield EvalCase.from_parent(self, name=name)
        for place in range(gates):
            yield EvalGate.from_parent(self, name=f"gate {place + 1}", place=place)

    def sheet(self) -> Sheet:
        """What came of the suite, which is run the first time; raises again what it ended with."""
        if self._problem is not None:
            raise self._problem
        if self._sheet is None:
            try:
                self._sheet = self._run()
            except Exception as error:
                self._problem = error
                raise
        return self._sheet

    def _gates(self) -> list[Any]:
        from watchkeeper.cli.eval_run import Stated, gates_of

        option = self.config.getoption
        wanted = {
            "at_least": option("eval_at_least"),
            "against": option("eval_against"),
            "require": option("eval_require"),
            "margin": option("eval_margin"),
            "stop_early": None,
        }
        return gates_of(wanted, Stated.by(self._loaded), None, option("eval_data"))

    def _run(self) -> Sheet:
        from watchkeeper.cli.eval_run import run_suite
        from watchkeeper.cli.pytest_fixture import CHOSEN, sheet_of_run
        from watchkeeper.config import load

        option = self.config.getoption
        chosen = {**CHOSEN, "cap_usd": option("eval_cap_usd")}
        settings = load(None, data=option("eval_data"))
        target = option("eval_target"), option("eval_model")
        return sheet_of_run(run_suite(self._loaded, settings, self._gates(), target, chosen), self._loaded)


class EvalCase(pytest.Item):
    """One case: passes at its bar, fails below it, and is skipped where nothing judged it."""

    def runtest(self) -> None:
        """Look at the case's line."""
        assert isinstance(self.parent, EvalFile)
        sheet = self.parent.sheet()
        line = next((line for line in sheet.lines if line.case_id == self.name), None)
        if line is None:
            pytest.skip(f"not asked: {sheet.ended or 'the run ended before'}")
        if line.problem is not None:
            raise NotPassed(f"{line.case_id}: {line.problem}")
        if line.passed is None:
            pytest.skip(line.explanation or "nothing judged this case")
        if not line.passed:
            raise NotPassed(_told(line))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A case that did not pass in its own words, all else as pytest tells it."""
        if isinstance(excinfo.value, NotPassed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, 0, f"eval case {self.name}"


class EvalGate(EvalCase):
    """One gate: passes, fails, or fails because the evidence does not say."""

    def __init__(self, *, place: int, **given: Any) -> None:
        super().__init__(**given)
        self._place = place

    def runtest(self) -> None:
        """Look at the gate's ruling."""
        assert isinstance(self.parent, EvalFile)
        ruling: Ruling = self.parent.sheet().rulings[self._place]
        if not ruling.passed:
            state = "failed" if ruling.passed is False else "not resolved"
            raise NotPassed(f"{ruling.gate}: {state}. {ruling.sentence}")


def _told(line: Line) -> str:
    scores = ", ".join(f"{name} = {value:g}" for name, value in line.scores.items() if value is not None)
    return "\n".join(
        [
            f"{line.case_id}: {scores}",
            *([f"  expected: {line.expected}"] if line.expected is not None else []),
            *([f"  came:     {line.said}"] if line.said is not None else []),
            *([f"  {line.explanation}"] if line.explanation else []),
        ]
    )
