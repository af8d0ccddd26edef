"""Reads a run to compare with: a file of `eval run --out`, an Inspect log, or the record by the experiment's id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.eval_logs import is_log, side_of_log
from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.engines.experiments.compare import Side
    from watchkeeper.records.score import Score

PAGE = 10_000


def side(word: str, config: Path | None, data: str | None) -> Side:
    """One run from a file, or from the record by the experiment's id."""
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.compare import side_of_results, side_of_scores
    from watchkeeper.engines.experiments.results import read_results

    if is_log(Path(word)):
        return side_of_log(Path(word))
    if Path(word).is_file() or word.endswith(".jsonl"):
        return side_of_results(word, read_results(Path(word)))
    with open_door(config, data) as door:
        scores = scores_of(door, word)
    if not scores:
        raise Failure(
            f"there is no experiment {word!r} with scores, and no such file. List them: watchkeeper eval list"
        )
    return side_of_scores(word, scores)


def scores_of(door: Door, run: str) -> list[Score]:
    """The recorded scores of a run."""
    import msgspec

    from watchkeeper.records.score import Score

    rows: list[Any] = []
    while True:
        items = door.ask("scores", {"experiment_id": run, "limit": PAGE, "cursor": len(rows)})["items"]
        rows += items
        if len(items) < PAGE:
            break
    return [msgspec.convert({k: v for k, v in row.items() if v is not None}, Score) for row in rows]
