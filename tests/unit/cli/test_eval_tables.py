"""`eval summarize`, `eval compare` and `eval power` work on anybody's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

TABLE = "suite,task,model,ok,note\n" + "".join(
    f"s{n % 3},t{n},{model},{int(n % 10 < good)},x\n" for model, good in (("old", 5), ("new", 8)) for n in range(60)
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(TABLE)
    return path


def wk(*words: str) -> Result:
    return CliRunner().invoke(main, ["eval", *words], catch_exceptions=False)


def told(*words: str, exit_code: int = 0) -> Any:
    done = wk(*words, "--json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


def test_groups_are_summed_up(table: Path) -> None:
    new, old = told("summarize", str(table), "--item", "suite,task", "--score", "ok", "--by", "model")
    assert (new["group"], new["n"], new["mean"], old["mean"]) == ("new", 60, 0.8, 0.5)
    assert {"standard_error", "low", "high", "method"} <= new.keys()
    assert (
        "Wilson"
        in wk("summarize", str(table), "--item", "task", "--item", "suite", "--score", "ok", "--by", "model").stdout
    )


def test_two_groups_of_a_file_are_compared(table: Path) -> None:
    words = ("compare", str(table), "--item", "suite,task", "--score", "ok", "--by", "model")
    found = told(*words, "--a", "old", "--b", "new")
    assert (found["verdict"], found["n"], found["mean_a"], found["mean_b"]) == ("better", 60, 0.5, 0.8)
    assert found["difference"] == pytest.approx(0.3)
    assert told(*words, "--a", "new", "--b", "old", exit_code=1)["verdict"] == "worse"
    assert "smallest difference" in wk(*words, "--a", "old", "--b", "new").stdout


def test_two_files_are_compared_and_filtered(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"task": f"t{n}", "ok": True, "model": "old"}) + "\n" for n in range(60)))
    found = told("compare", str(table), str(other), "--item", "task", "--score", "ok", "--where", "model=old")
    assert (found["n"], found["mean_b"]) == (60, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--item", "task"), "both --item COL and --score COL"),
        (("--item", "task", "--score", "ok"), "--by COL --a NAME --b NAME"),
        (
            ("--item", "task", "--score", "ok", "--by", "model", "--a", "old", "--b", "none"),
            "nowhere 'none'; it is: new, old",
        ),
        (("--item", "none", "--score", "ok", "--by", "model", "--a", "old", "--b", "new"), "no column 'none'"),
        (("--item", "task", "--score", "ok", "--where", "model"), "write COL=VALUE"),
        ((), "name two runs"),
    ],
)
def test_what_cannot_be_compared_is_told(table: Path, words: tuple[str, ...], says: str) -> None:
    done = wk("compare", str(table), *words)
    assert done.exit_code == 2
    assert says in done.output


def test_an_eval_is_planned_both_ways_round() -> None:
    assert told("power", "--effect", "0.03", "--discordance", "0.1")["n"] == 870
    assert told("power", "--n", "870", "--discordance", "0.1")["effect"] == pytest.approx(0.03, rel=0.01)
    assert "2,402 items a side" in wk("power", "--kind", "independent", "--effect", "0.03", "--baseline", "0.82").stdout
    assert wk("power", "--effect", "0.03").exit_code == 2


def test_all_pairs_are_compared_without_names(table: Path) -> None:
    words = ("compare", str(table), "--item", "suite,task", "--score", "ok", "--by", "model")
    (found,) = told(*words, exit_code=0)
    assert (found["a"], found["b"], found["verdict"]) == ("new", "old", "worse")
    assert {
        "adjusted_p_value",
        "n",
        "difference",
        "low",
        "high",
        "p_value",
        "minimum_detectable_effect",
    } <= found.keys()
    assert "adjusted p" in wk(*words).stdout


def test_slices_are_compared_apart(table: Path) -> None:
    words = ("compare", str(table), "--item", "task", "--score", "ok", "--by", "model", "--a", "old", "--b", "new")
    found = told(*words, "--slice", "suite")
    assert [(each["slice"], each["n"]) for each in found] == [("s0", 20), ("s1", 20), ("s2", 20)]


def test_every_key_of_the_two_contracts_is_there(table: Path) -> None:
    summary = told("summarize", str(table), "--item", "task", "--score", "ok")[0]
    assert {"group", "n", "mean", "standard_error", "low", "high", "method"} <= summary.keys()
    compared = told(
        "compare", str(table), "--item", "task", "--score", "ok", "--by", "model", "--a", "old", "--b", "new"
    )
    assert compared.keys() >= {
        "n", "mean_a", "mean_b", "difference", "standard_error", "low", "high", "p_value",
        "minimum_detectable_effect", "verdict", "method",
    }  # fmt: skip


def test_reruns_get_pass_k_and_the_split_of_their_variance(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [{"task": t, "run": r, "ok": bool((t * 7 + r * 3) % 4)} for t in range(30) for r in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = told("summarize", str(path), "--item", "task", "--score", "ok", "--run", "run")
    assert sorted(found["pass_hat_k"]) == sorted(found["pass_at_k"]) == ["1", "2", "3", "4"]
    assert found["variance"]["more"] in ("items", "reruns")
    assert (
        "of the variance lies between items"
        in wk("summarize", str(path), "--item", "task", "--score", "ok", "--run", "run").stdout
    )


def test_odd_rows_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("id;run;ok\n1;1;1\n1;1;1\n2;1;\n;1;1\n3;1;0\n")
    (found,) = told("summarize", str(path), "--item", "id", "--score", "ok", "--run", "run")
    assert (found["n"], found["missing"], found["dropped"], found["duplicates"]) == (3, 1, 1, 1)
    assert len(found["notes"]) >= 3


@pytest.mark.parametrize(
    ("words", "n"),
    [
        (("--effect", "0.03", "--baseline", "0.82"), 2402),
        (("--effect", "0.03", "--discordance", "0.15"), 1306),
        (("--effect", "0.1", "--sd", "0.5"), 199),
        (("--goal", "non-inferiority", "--effect", "0.03", "--discordance", "0.1"), 717),
        (("--effect", "0.03", "--discordance", "0.1", "--cluster-size", "4", "--icc", "0.2"), 1392),
    ],
)
def test_the_kind_of_a_plan_follows_from_what_is_given(words: tuple[str, ...], n: int) -> None:
    assert told("power", *words)["n"] == pytest.approx(n, abs=1)


def both(tmp_path: Path) -> tuple[str, str]:
    """The same items under names that a float column and an integer one give, four in five better in the second."""
    a, b = tmp_path / "a.csv", tmp_path / "b.jsonl"
    a.write_text("id,v,ms\n" + "".join(f"{n}.0,1.0,{10 + n % 4}\n" for n in range(40)))
    b.write_text("".join(json.dumps({"id": n, "v": 2, "ms": 8 + n % 5}) + "\n" for n in range(40)))
    return str(a), str(b)


def test_items_of_a_float_column_are_those_of_an_integer_one(tmp_path: Path) -> None:
    assert told("compare", *both(tmp_path), "--item", "id", "--score", "ms", exit_code=1)["n"] == 40


def test_less_may_be_better(tmp_path: Path) -> None:
    words = ("compare", *both(tmp_path), "--item", "id", "--score", "ms")
    assert told(*words, exit_code=1)["verdict"] == "worse"
    found = told(*words, "--lower-is-better")
    assert (found["verdict"], found["lower_is_better"]) == ("better", True)
    assert found["high"] < 0 < found["improved"]
    assert "better (less is better)" in wk(*words, "--lower-is-better").stdout


def test_sides_with_other_items_are_two_samples(tmp_path: Path) -> None:
    path = tmp_path / "weeks.csv"
    path.write_text("id,week,ok\n" + "".join(f"{n},{n % 2},{int(n % 2 or n % 3 == 0)}\n" for n in range(200)))
    words = ("compare", str(path), "--item", "id", "--score", "ok", "--by", "week", "--a", "0", "--b", "1")
    assert "--unpaired" in wk(*words).output
    found = told(*words, "--unpaired")
    assert (found["verdict"], found["n"], found["improved"]) == ("better", 100, None)
    assert "Newcombe" in found["method"]
    assert "100 items, mean" in wk(*words, "--unpaired").stdout


def test_two_files_may_hold_a_group_each(tmp_path: Path) -> None:
    words = ("compare", *both(tmp_path), "--item", "id", "--score", "ms", "--by", "v")
    assert "--a NAME --b NAME" in wk(*words).output
    assert told(*words, "--a", "1", "--b", "2.0", exit_code=1)["n"] == 40
    assert "v is nowhere '2'" in wk(*words, "--a", "2", "--b", "2").output


def test_a_condition_that_keeps_nothing_is_told_with_what_is_there(table: Path) -> None:
    done = wk("summarize", str(table), "--item", "task", "--score", "ok", "--where", "model=older")
    assert "model is old, new" in done.output


def test_several_comparisons_are_told_once_each(table: Path) -> None:
    (found,) = told("compare", str(table), "--item", "suite,task", "--score", "ok", "--by", "model", exit_code=0)
    assert "compared" not in found
    assert found["adjusted_p_value"] == found["p_value"]


def test_the_exact_test_is_told_beside_the_plan() -> None:
    assert "exact test of `eval compare` shows it 78%" in wk("power", "--effect", "0.03", "--discordance", "0.1").stdout


def test_a_group_without_a_name_is_shown_and_no_item_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,m,ok\n1,,1\n2,a,0\n3,,1\n1,a,\N{MINUS SIGN}1\n")
    assert "(empty)\t2" in wk("summarize", str(path), "--item", "id", "--score", "ok", "--by", "m").stdout
    assert "(empty)" in wk("compare", str(path), "--item", "id", "--score", "ok", "--by", "m").stdout
    assert "names no column" in wk("summarize", str(path), "--item", "", "--score", "ok").output


def test_what_is_true_of_every_group_is_said_once(table: Path) -> None:
    said = wk("summarize", str(table), "--item", "suite", "--score", "ok", "--by", "model").stdout
    assert said.count("57 rows repeat an item") == 1
    assert "every group: 57 rows" in said
