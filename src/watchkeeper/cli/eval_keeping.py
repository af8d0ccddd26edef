"""Keeps a run of `eval run` so that `eval resume` can go on with it: what was begun, and each answer as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.results import Outcome, Result
    from watchkeeper.engines.experiments.run_file import Begun, Left, RunFile
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.records.experiment import Experiment

Target = tuple[str | None, str | None]


class RunKeeper:
    """The file of a run while it goes on, where answers may be kept; where they may not it does nothing."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask
        self._file: RunFile | None = None

    def begin(
        self, loaded: Loaded, settings: Config, target: Target, chosen: dict[str, Any], experiment: Experiment
    ) -> None:
        """Make the file of a run; raises `RunFileError`. With --no-cache, or beside an encrypted record, none is."""
        from watchkeeper.compose.asking import RUNS, keeps_answers
        from watchkeeper.engines.experiments.run_file import RunFile

        if chosen["no_cache"] or not chosen.get("resumable", True) or not keeps_answers(settings):
            return
        begun = _begun(loaded, settings, target, chosen, experiment)
        self._file = RunFile.begin(settings.data / RUNS, begun, loaded.cases)

    def again(self, taken: tuple[RunFile, Left], experiment: Experiment) -> None:
        """Go on with a run: what came of it counts as asked, kept and spent."""
        self._file, left = taken
        self._file.again(experiment)
        told = self._ask.told
        told.asked += left.answered
        told.kept += left.answered
        told.spent_usd += left.spent_usd

    def __call__(self, result: Result) -> None:
        """Keep an answer with its scores."""
        if self._file is not None:
            self._file.answered(result, self._ask.told.spent_usd)

    def ended(self, outcome: Outcome) -> bool:
        """Whether the run can go on; where it cannot, nothing of it is kept here."""
        return self._file is not None and self._file.ended(outcome, self._ask.told.spent_usd)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def program_of(loaded: Loaded) -> str | None:
    """The digest of a Python suite whose own function may answer."""
    from watchkeeper.records.ids import digest

    return digest(loaded.path.read_bytes()) if loaded.answer is not None else None


def _begun(loaded: Loaded, settings: Config, target: Target, chosen: dict[str, Any], experiment: Experiment) -> Begun:
    import msgspec

    from watchkeeper.engines.experiments.run_file import Begun

    suite = msgspec.structs.replace(loaded.suite, cases=(), dataset=None, recorded=None, properties=())
    return Begun(
        experiment=experiment,
        path=str(loaded.path.absolute()),
        suite=suite,
        target=target,
        chosen={name: _plain(value) for name, value in chosen.items()},
        config=None if settings.file is None else str(Path(settings.file).absolute()),
        program=program_of(loaded),
    )


def _plain(value: Any) -> Any:
    """An option that means the same in another folder: files by their whole path."""
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_file()):
        return str(Path(value).absolute())
    return value
