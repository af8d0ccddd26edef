"""The file of a run: what is left of one that was killed, who may hold it, and what makes it useless."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from watchkeeper.compose.asking import RUNS, forget_answers
from watchkeeper.engines.experiments.results import Outcome, Result
from watchkeeper.engines.experiments.run_file import Begun, RunFile, RunFileError, forget_runs, runs_left
from watchkeeper.engines.experiments.suite import Suite, Use
from watchkeeper.records.case import Case
from watchkeeper.records.experiment import Experiment

RUN = "exp_01a222ba60be0000000000000000"
CASES = tuple(Case(case_id=f"s/{n}", dataset="s", messages="[]", origin="file:s.yaml", at_ns=1) for n in range(3))


def begin(folder: Path, cases: int = 3) -> RunFile:
    experiment = Experiment(experiment_id=RUN, suite="s", target="t", at_ns=1, cases=cases)
    begun = Begun(experiment=experiment, path="s.yaml", suite=Suite(name="s", scorers=(Use(use="exact"),)))
    return RunFile.begin(folder, begun, CASES)


def result(number: int, error: str | None = None) -> Result:
    return Result(experiment_id=RUN, suite="s", case_id=f"s/{number}", output="a", error=error)


def outcome(ended_by: str, errors: int = 0) -> Outcome:
    experiment = Experiment(experiment_id=RUN, suite="s", target="t", at_ns=1, end_ns=2, errors=errors, revision=1)
    return Outcome(experiment=experiment, results=(), planned=3, ended_by=ended_by)  # type: ignore[arg-type]


def test_what_was_answered_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    file = begin(tmp_path)
    file.answered(result(0), 0.5)
    file.answered(result(1, "HTTP 500"), 0.75)
    file.close()
    (left,) = runs_left(tmp_path)
    assert (left.answered, left.failed, left.planned, left.spent_usd, left.state) == (1, 1, 3, 0.75, "killed")
    assert left.cases == CASES and left.before.experiment.experiment_id == RUN


def test_a_later_answer_takes_the_place_of_a_failure(tmp_path: Path) -> None:
    file = begin(tmp_path)
    file.answered(result(1, "HTTP 500"), 0.0)
    file.answered(result(1), 0.0)
    (left,) = runs_left(tmp_path)
    assert (left.answered, left.failed) == (1, 0)
    file.close()


@pytest.mark.parametrize(
    ("ended_by", "errors", "state"),
    [
        ("all", 0, None),
        ("verdict", 2, None),
        ("all", 1, "calls failed"),
        ("stopped", 0, "stopped"),
        ("cap", 0, "at its cap"),
    ],
)
def test_only_a_run_with_something_left_to_ask_stays(
    tmp_path: Path, ended_by: str, errors: int, state: str | None
) -> None:
    file = begin(tmp_path)
    assert file.ended(outcome(ended_by, errors), 0.0) is (state is not None)
    file.close()
    assert [left.state for left in runs_left(tmp_path)] == ([] if state is None else [state])


def test_a_line_that_was_being_written_is_cut_off(tmp_path: Path) -> None:
    file = begin(tmp_path)
    file.answered(result(0), 0.0)
    file.close()
    with file.path.open("ab") as torn:
        torn.write(b'{"result":{"exper')
    again, left = RunFile.open(tmp_path, RUN)
    again.again(left.before.experiment)
    again.answered(result(1), 0.0)
    again.close()
    assert runs_left(tmp_path)[0].answered == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    file = begin(tmp_path)
    assert runs_left(tmp_path)[0].state == "running"
    with pytest.raises(RunFileError, match="goes on in another process"):
        RunFile.open(tmp_path, RUN)
    file.close()
    RunFile.open(tmp_path, RUN)[0].close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.splitlines(keepends=True)[0], "killed while it began"),
        (lambda text: text.replace('{"case"', '{"case', 1), "cannot be read"),
        (
            lambda text: text.replace('"begun":{', '"begun":{"version":9,', 1),
            "newer",
        ),
        (lambda text: "", "killed while it began"),
    ],
)
def test_a_file_that_is_no_run_is_told_and_not_listed(tmp_path: Path, spoil: object, says: str) -> None:
    file = begin(tmp_path)
    file.close()
    assert callable(spoil)
    file.path.write_text(spoil(file.path.read_text()))
    assert runs_left(tmp_path) == []
    with pytest.raises(RunFileError, match=says):
        RunFile.open(tmp_path, RUN)


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = begin(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.path.stat().st_size + 10, hard))
    try:
        with pytest.raises(RunFileError, match=f"eval resume {RUN}"):
            file.answered(result(0), 0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.close()
    again, left = RunFile.open(tmp_path, RUN)
    again.close()
    assert left.answered == 0


def test_only_its_owner_reads_it_and_erasing_takes_it_away(tmp_path: Path) -> None:
    begin(tmp_path / RUNS).close()
    (path,) = (tmp_path / RUNS).iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert forget_runs(tmp_path / RUNS, before_ns=1) == 0
    forget_answers(tmp_path)
    assert runs_left(tmp_path / RUNS) == [] and not path.exists()
