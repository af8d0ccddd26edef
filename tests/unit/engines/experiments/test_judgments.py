"""Judgments are read from anybody's columns, and each bias of a judge is flagged when it is there and not when not."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from watchkeeper.engines.experiments.judgments import Judge, audit_judge, columns_of, groups_of, read_judgments
from watchkeeper.engines.experiments.tables import TableError


def audited(tmp_path: Path, text: str, **more: object) -> dict[str, Judge]:
    path = tmp_path / "judgments.csv"
    path.write_text(text)
    columns = columns_of(path, {})
    groups = read_judgments(path, columns, groups_of(path, ()), ())
    return {name: audit_judge(name, rows, both=columns["swapped"] is not None, **more) for name, rows in groups.items()}


def judged(rng: Random, n: int, first: float = 0.0, longer: float = 0.0, own: float = 0.0) -> str:
    """A judge that is right 80% of the time, unless it is pulled to what is shown first, longer or its own."""
    lines = ["judge,label,winner_noswap,winner_swap,len_1,len_2,model_1,model_2"]
    for _ in range(n):
        label, lengths = rng.choice("12"), (rng.randint(100, 900), rng.randint(100, 900))
        authors = rng.sample(["gpt-4o", "claude-3-opus"], 2)
        said = []
        for shown in "12":
            winner = label if rng.random() < 0.8 else "12".replace(label, "")
            if rng.random() < first:
                winner = shown
            if rng.random() < longer:
                winner = "1" if lengths[0] > lengths[1] else "2"
            if rng.random() < own:
                winner = str(authors.index("gpt-4o") + 1)
            said.append(winner)
        lines.append(",".join(("gpt-4o", label, *said, *map(str, lengths), *authors)))
    return "\n".join(lines) + "\n"


def test_a_fair_judge_is_quiet_at_the_stated_rate(tmp_path: Path) -> None:
    rng = Random(1)
    flagged = [bool(audited(tmp_path, judged(rng, 60), judge_model="gpt-4o")["gpt-4o"].flags) for _ in range(100)]
    # Three biases are looked for at one percent each.
    assert sum(flagged) / 100 <= 0.03 + 3 * (0.03 * 0.97 / 100) ** 0.5


@pytest.mark.parametrize(
    ("pulls", "flag"),
    [({"first": 0.4}, "order bias"), ({"longer": 0.5}, "length bias"), ({"own": 0.5}, "self-preference")],
)
def test_each_pull_is_flagged(tmp_path: Path, pulls: dict[str, float], flag: str) -> None:
    found = audited(tmp_path, judged(Random(2), 250, **pulls), judge_model="gpt-4o")["gpt-4o"]
    assert found.flags == (flag,)


def test_a_constant_answer_that_wins_is_flagged_and_nothing_else(tmp_path: Path) -> None:
    rng = Random(3)
    rows = [f"{model},{i},{1 + min(1, max(0, rng.gauss(mean, 0.3))):.4f},{length or rng.randint(200, 2000)},900"
            for model, mean, length in (("null", 0.75, 872), ("weak", 0.05, 0), ("strong", 0.7, 0))
            for i in range(100)]  # fmt: skip
    found = audited(tmp_path, "model,item,preference,len_model,len_baseline\n" + "\n".join(rows) + "\n")
    assert {name: each.flags for name, each in found.items()} == {
        "null": ("repeated text wins",),
        "weak": (),
        "strong": (),
    }
    assert found["null"].audit is None
    assert any("872" in note for note in found["null"].notes)


def test_labels_verdicts_and_blanks_are_understood(tmp_path: Path) -> None:
    text = "label,verdict\nA,a\n2.0,2\n1,tie\n,1\n2,\nB,model_b\n"
    (found,) = audited(tmp_path, text).values()
    assert found.audit is not None
    assert (found.judgments, found.unlabelled, found.unreadable) == (6, 1, 1)
    assert (found.audit.pairs, found.audit.ties, found.audit.right.value) == (5, 1, 0.6)
    assert any("no label of 1 or 2" in note for note in found.notes)


def test_a_judge_below_chance_is_flagged(tmp_path: Path) -> None:
    (found,) = audited(tmp_path, "label,verdict\n" + "1,2\n2,1\n" * 20).values()
    assert "below chance" in found.flags


def test_a_judge_that_always_says_the_same_is_flagged(tmp_path: Path) -> None:
    (found,) = audited(tmp_path, "label,verdict\n" + "1,1\n2,1\n" * 10).values()
    assert "one verdict only" in found.flags


@pytest.mark.parametrize(
    ("text", "says"),
    [("label,verdict\n1,maybe\n", "row 1: verdict is 'maybe'"), ("label,other\n1,1\n", "Name it with --verdict COL")],
)
def test_what_cannot_be_understood_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        audited(tmp_path, text)


def test_a_judge_that_was_asked_in_one_order_is_not_half_wrong(tmp_path: Path) -> None:
    rows = [f"a,{1 + i % 2},{1 + i % 2},{1 + i % 2}\nb,{1 + i % 2},{1 + i % 2}," for i in range(20)]
    found = audited(tmp_path, "judge,label,verdict,verdict_swapped\n" + "\n".join(rows) + "\n")
    once = found["b"]
    assert once.audit is not None
    assert (once.audit.right.value, once.unreadable, once.audit.consistent) == (1, 0, None)
    assert any("one order alone" in note for note in once.notes)
    assert found["a"].notes == ()


def test_orders_are_told_without_labels(tmp_path: Path) -> None:
    rows = [f"{'A' if i % 5 else 'B'},B" for i in range(60)]
    (found,) = audited(tmp_path, "verdict,verdict_swapped\n" + "\n".join(rows) + "\n").values()
    assert found.audit is None
    assert found.orders is not None
    assert found.orders.consistent.value == pytest.approx(0.2)
    assert found.flags == ("order bias",)


def test_single_answers_pass_or_fail(tmp_path: Path) -> None:
    text = "label,verdict\n" + "1,pass\n" * 30 + "0,fail\n" * 10 + "false,True\n" * 10
    (found,) = audited(tmp_path, text).values()
    assert found.audit is not None
    assert found.false_pass is not None
    assert found.false_fail is not None
    assert (found.audit.right.value, found.false_pass.value, found.false_fail.value) == (0.8, 0.5, 0)


def test_a_verdict_may_name_the_author(tmp_path: Path) -> None:
    head = "model_a,model_b,human,winner\n"
    text = head + "gpt-4,claude,model_a,gpt-4\ngpt-4,claude,model_b,Claude\nx,y,model_a,tie (both bad)\n"
    (found,) = audited(tmp_path, text).values()
    assert found.audit is not None
    assert (found.audit.right.value, found.audit.ties) == (pytest.approx(2 / 3), 1)


def test_verdicts_that_name_a_place_are_mapped_back(tmp_path: Path) -> None:
    path = tmp_path / "judgments.csv"
    path.write_text("label,verdict,verdict_swapped\n" + "1,1,2\n2,2,1\n" * 10)
    (rows,) = read_judgments(path, columns_of(path, {}), (), (), as_shown=True).values()
    found = audit_judge("all", rows, both=True).audit
    assert found is not None
    assert found.consistent is not None
    assert (found.right.value, found.consistent.value) == (1, 1)


def test_a_judge_that_never_decides_has_no_interval_without_width(tmp_path: Path) -> None:
    (found,) = audited(tmp_path, "model,preference\n" + "x,1.5\n" * 50).values()
    assert found.win_rate is not None
    assert found.win_rate.low < 0.45 < 0.55 < found.win_rate.high
