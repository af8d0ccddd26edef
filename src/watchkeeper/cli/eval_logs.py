"""Opens tables and logs of Inspect evaluations for the commands that compare and sum up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.compare import Side
    from watchkeeper.engines.experiments.tables import Columns, Scored

SUFFIXES = (".eval", ".json")


def is_log(path: Path) -> bool:
    """Whether a file is an Inspect log."""
    if path.suffix not in SUFFIXES or not path.is_file():
        return False
    from watchkeeper.adapters.formats.inspect_scores import is_inspect_log

    return is_inspect_log(path)


def scores_in(path: Path, columns: Columns) -> list[Scored]:
    """The scores of a table, or of an Inspect log, whose columns are `id`, `epoch`, `metadata.*` and its scores."""
    from watchkeeper.engines.experiments.tables import TableError, read_scores

    if path.suffix == ".parquet" and path.is_file():
        return read_scores(path, columns, _parquet(path))
    if not is_log(path):
        return read_scores(path, columns)
    from watchkeeper.adapters.formats.inspect_scores import BadLog, rows_of_log

    try:
        return read_scores(path, columns, rows_of_log(path))
    except BadLog as error:
        raise TableError(str(error)) from error


def _parquet(path: Path) -> list[dict[str, Any]]:
    from watchkeeper.adapters.store.parquet import read_parquet

    try:
        return read_parquet(path)
    except (OSError, ValueError) as error:
        raise Failure(str(error), "table") from error


def side_of_log(path: Path) -> Side:
    """An Inspect log as one side of a comparison: its scores by sample, epochs as reruns."""
    from watchkeeper.adapters.formats.inspect_scores import BadLog, rows_of_log, scores_of_log
    from watchkeeper.engines.experiments.compare import Side
    from watchkeeper.records.score import Score

    try:
        rows, names = rows_of_log(path), scores_of_log(path)
    except BadLog as error:
        raise Failure(str(error), "not_comparable") from error
    scores = tuple(
        Score(
            score_id=f"inspect:{row['id']}:{row['epoch']}:{name}",
            subject_kind="case",
            subject_id=row["id"],
            name=name,
            at_ns=0,
            event_ns=0,
            value=float(value) if isinstance(value := row.get(name), int | float) else None,
            label=value if isinstance(value, str) else None,
            explanation=row["error"],
            scorer=f"inspect:{name.partition('.')[0]}",
            source="import",
            attributes={"repeat": row["epoch"]},
        )
        for row in rows
        for name in names
    )
    return Side(name=str(path), scores=scores)
