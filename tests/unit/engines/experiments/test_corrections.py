"""A table of judge's scores and some labels is corrected by group and as a difference, and lone rows are counted."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from watchkeeper.engines.experiments.corrections import correct, correct_difference
from watchkeeper.engines.experiments.tables import Columns, TableError

COLUMNS = Columns(item=("id",), score="judge", by="model")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng, lines = Random(1), ["id,model,judge,people,topic"]
    for model, rate in (("old", 0.5), ("new", 0.7)):
        for i in range(400):
            truth = rng.random() < rate
            said = truth if rng.random() < 0.85 else True
            lines.append(f"{i},{model},{int(said)},{int(truth) if i % 4 == 0 else ''},{i % 5}")
    lines += ["only,old,1,,0", "400,new,,1,0"]
    path = tmp_path / "judged.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_group_is_corrected(table: Path) -> None:
    (new, missing_new, found_new), (old, missing_old, found_old) = correct(table, COLUMNS, "people")
    assert (new, missing_new, old, missing_old) == ("new", 1, "old", 0)
    assert found_new.estimate.low < 0.7 < found_new.estimate.high
    assert found_old.estimate.low < 0.5 < found_old.estimate.high
    assert (found_old.labelled, found_old.unlabelled) == (100, 301)
    assert found_old.judge_bias.low > 0


def test_a_difference_is_over_the_items_of_both(table: Path) -> None:
    name, _, found = correct_difference(table, COLUMNS, "people", "old", "new")
    assert name == "new - old"
    assert found.estimate.low < 0.2 < found.estimate.high
    assert any("in one group only" in note for note in found.notes)
    with pytest.raises(TableError, match="nowhere 'none'"):
        correct_difference(table, COLUMNS, "people", "old", "none")


def test_clusters_and_strata_come_from_columns(table: Path) -> None:
    clustered = Columns(item=("id",), score="judge", cluster=("id",), where=(("model", "old"),))
    ((_, _, found),) = correct(table, clustered, "people")
    assert "cluster-robust" in found.estimate.method
    ((_, _, found),) = correct(
        table, Columns(item=("id",), score="judge", slice="topic", where=(("model", "old"),)), "people"
    )
    assert "stratified" in found.estimate.method


def test_without_labels_nothing_can_be_corrected(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,model,judge,people\n1,a,1,\n2,a,0,\n")
    with pytest.raises(ValueError, match="at least 3 labelled rows, and there are 0"):
        correct(path, COLUMNS, "people")
