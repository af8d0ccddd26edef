"""What one run of a suite gave: a result per case and repeat, as records and as lines of a JSONL file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from watchkeeper.analysis.masked_mass import Masked
from watchkeeper.engines.experiments.dataset import SuiteError
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.record import Record, Scalar, as_json
from watchkeeper.records.score import Score


class Result(Record):
    """The answer to one case, once, and its scores; with `error` set there was none, and the scores have no values.

    `margin` is the difference of a score that the suite declares not to matter, `kept_as` names the kept answer:
    the key of the question, a colon, and the digest of what it says. `attributes` are the case's own. `masked` is what
    the mask of an output format took away, where log-probabilities came with the answer.
    """

    experiment_id: str
    suite: str
    case_id: str
    repeat: int = 0
    cluster: str | None = None
    margin: float | None = None
    output: str | None = None
    calls: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    duration_ns: int = 0
    error: str | None = None
    composition: str | None = None
    kept_as: str | None = None
    masked: Masked | None = None
    scores: tuple[Score, ...] = ()
    attributes: dict[str, Scalar] = {}


EndedBy = Literal["all", "stopped", "cap", "verdict", "refused"]


class Before(Record):
    """What a run has come to before it goes on: its record, and its results; calls that failed are asked again."""

    experiment: Experiment
    results: tuple[Result, ...] = ()


class Outcome(Record):
    """One run: its record, its results in the order of the cases, and whether all cases were asked.

    `ended_by` says what ended it: all cases were asked, somebody stopped it, a cap in money was reached, its verdict
    was known early, or the target refused whatever it was asked; `why` says so in a sentence, for the last three.
    """

    experiment: Experiment
    results: tuple[Result, ...]
    planned: int
    stopped: bool = False
    unscored: int = 0
    ended_by: EndedBy = "all"
    why: str | None = None


def outcome_of(experiment: Experiment, scores: Iterable[Score]) -> Outcome:
    """A run that has ended, as far as its recorded scores tell: what was said is cut, and usage is not there."""
    by: dict[tuple[str, int], list[Score]] = {}
    for score in scores:
        repeat = int(str(score.attributes.get("repeat", 0)))  # the index keeps the values of attributes as text
        by.setdefault((score.subject_id, repeat), []).append(score)
    results = tuple(_recorded(experiment, *key, each) for key, each in sorted(by.items()))
    planned = experiment.cases * (1 + max((repeat for _, repeat in by), default=0))
    return Outcome(experiment=experiment, results=results, planned=planned, stopped=len(results) < planned)


def _recorded(experiment: Experiment, case_id: str, repeat: int, scores: list[Score]) -> Result:
    noted = {name: str(value) for name, value in scores[0].attributes.items() if value is not None}
    return Result(
        experiment_id=experiment.experiment_id,
        suite=experiment.suite,
        case_id=case_id,
        repeat=repeat,
        cluster=noted.get("cluster"),
        margin=float(noted["margin"]) if "margin" in noted else None,
        output=noted.get("output"),
        model=noted.get("model"),
        error=noted.get("error"),
        scores=tuple(scores),
    )


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write one JSON line for each result, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        for result in results:
            file.write(as_json(result) + b"\n")
    draft.replace(path)


def read_results(path: Path) -> list[Result]:
    """The results in a file that `write_results` wrote; raises `SuiteError` naming the line."""
    found = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    found.append(msgspec.json.decode(line, type=Result))
                except msgspec.DecodeError as error:
                    raise SuiteError(
                        f"{path}:{number}: is no result of a run: {error}. Name a file that 'eval run --out' wrote."
                    ) from error
    except OSError as error:
        raise SuiteError(
            f"{path}: cannot be read: {error.strerror}. Name a file that 'eval run --out' wrote."
        ) from error
    if not found:
        raise SuiteError(f"{path}: holds no results. Name a file that 'eval run --out' wrote.")
    return found


def completion_of(result: Result) -> Completion:
    """What was answered, as far as its price goes."""
    return Completion(
        output=None,
        calls=None,
        finish_reason=None,
        model=result.model,
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        duration_ns=result.duration_ns,
    )
