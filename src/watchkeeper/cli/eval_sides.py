"""Reads a run to compare with: a file of `eval run --out`, an Inspect log, or the record by the experiment's id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.eval_logs import is_log, side_of_log
from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.compare import Side

PAGE = 10_000


def side(word: str, config: Path | None, data: str | None) -> Side:
    """One run from a file, or from the record by the experiment's id."""
    import msgspec

    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.compare import side_of_results, side_of_scores
    from watchkeeper.engines.experiments.results import read_results
    from watchkeeper.records.score import Score

    if is_log(Path(word)):
        return side_of_log(Path(word))
    if Path(word).is_file() or word.endswith(".jsonl"):
        return side_of_results(word, read_results(Path(word)))
    rows: list[Any] = []
    with open_door(config, data) as door:
        while True:
            asked = {"experiment_id": word, "limit": PAGE, "cursor": len(rows)}
            items = door.ask("scores", asked)["items"]
            rows += items
            if len(items) < PAGE:
                break
    if not rows:
        raise Failure(
            f"there is no experiment {word!r} with scores, and no such file. List them: watchkeeper eval list"
        )
    known = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return side_of_scores(word, (msgspec.convert(row, Score) for row in known))
