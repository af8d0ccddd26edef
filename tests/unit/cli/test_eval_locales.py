"""Each locale by itself, from any table or run: native items count, each once, and refusals on matched prompts."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer


def wk(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["eval", *words, "--data", str(folder / "data")], catch_exceptions=False)


def told(folder: Path, *words: str) -> tuple[int, dict[str, Any], list[Any]]:
    done = wk(folder, "locales", *words, "--json")
    found = json.loads(done.stdout)
    return done.exit_code, {row["locale"]: row for row in found["locales"]}, found["refusal_parity"]


def rows(french: float = 0.9, repeats: int = 1, seed: int = 4) -> list[dict[str, Any]]:
    rng, made = Random(seed), []
    for n in range(400):
        locale = "fr" if n % 4 == 0 else "en"
        for repeat in range(repeats):
            score = int(rng.random() < (french if locale == "fr" else 0.9))
            made.append({"item": str(n), "locale": locale, "score": score, "provenance": "native", "repeat": repeat})
    made += [
        {"item": f"j{n}", "locale": "ja", "score": 1, "provenance": f"translated-from:{n}", "repeat": 0}
        for n in range(50)
    ]
    return made


def jsonl(path: Path, lines: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_jsonl_csv_gzip_and_parquet_say_the_same(tmp_path: Path) -> None:
    lines = rows()
    plain = jsonl(tmp_path / "s.jsonl", lines)
    with (tmp_path / "s.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress((tmp_path / "s.csv").read_bytes()))
    duckdb.sql(f"COPY (SELECT * FROM read_json_auto('{plain}')) TO '{tmp_path / 's.parquet'}' (FORMAT parquet)")
    first = told(tmp_path, plain)
    assert first[1]["ja"]["ruling"] == "not measured" and first[0] == 3
    assert first[1]["fr"]["native"] == 100
    for name in ("s.csv", "s.csv.gz", "s.parquet"):
        assert told(tmp_path, str(tmp_path / name)) == first


def test_an_item_asked_again_counts_once_and_the_method_says_so(tmp_path: Path) -> None:
    once, again = told(tmp_path, jsonl(tmp_path / "a.jsonl", rows()))[1], rows(repeats=5)
    found = told(tmp_path, jsonl(tmp_path / "b.jsonl", again))[1]
    assert (found["fr"]["native"], found["fr"]["answers"], found["fr"]["mean"]["n"]) == (100, 500, 100)
    assert "repeats averaged within item" in found["fr"]["mean"]["method"]
    assert "repeats" not in once["fr"]["mean"]["method"]
    same = [row | {"score": 1 if int(row["item"].strip("j")) % 10 else 0} for row in again]
    width = {}
    for name, lines in (("once", [row for row in same if row["repeat"] == 0]), ("again", same)):
        mean = told(tmp_path, jsonl(tmp_path / f"{name}.jsonl", lines))[1]["en"]["mean"]
        width[name] = mean["high"] - mean["low"]
    assert width["again"] >= 0.95 * width["once"], "asking the same again shows nothing new"


def test_items_of_a_cluster_hang_together(tmp_path: Path) -> None:
    lines = [
        {"item": str(n), "locale": "de", "score": int(n // 20 % 2), "provenance": "native", "cluster": f"c{n // 20}"}
        for n in range(200)
    ]
    found = told(tmp_path, jsonl(tmp_path / "s.jsonl", lines))[1]["de"]
    assert found["mean"]["n"] == 10 and "cluster" in found["mean"]["method"]


def test_a_loss_in_french_fails(tmp_path: Path) -> None:
    before = jsonl(tmp_path / "before.jsonl", rows(0.9, 3))
    lost = jsonl(tmp_path / "lost.jsonl", rows(0.6, 3))
    code, found, _ = told(tmp_path, lost, "--against", before)
    assert code == 1 and (found["fr"]["ruling"], found["en"]["ruling"]) == ("failed", "passed")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"item": "", "locale": "de"}, "row 2: has no `item`"),
        ({"item": "a", "locale": "de", "score": "good"}, "row 2: score is 'good'"),
        ({"item": "a", "locale": "de", "refused": "perhaps"}, "row 2: refused is 'perhaps'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, line: dict[str, Any], why: str) -> None:
    path = jsonl(tmp_path / "s.jsonl", [{"item": "x", "locale": "de", "score": 1}, line])
    done = wk(tmp_path, "locales", path, "--json")
    assert done.exit_code == 2
    assert why in json.loads(done.stdout)["error"]["message"]


def test_a_table_without_locales_and_no_file_at_all_are_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", [{"item": "x", "score": 1}])
    assert "has no column 'locale'" in wk(tmp_path, "locales", path).stderr
    assert "cannot be read" in wk(tmp_path, "locales", str(tmp_path / "none.csv")).stderr
    assert "no such file" in wk(tmp_path, "locales", str(tmp_path / "none.parquet")).stderr
    assert "there is no Watchkeeper data" in wk(tmp_path, "locales", "exp_none").stderr


SORRY = {"en": "I'm sorry, I can't help with that.", "fr": "Désolé, je ne peux pas vous aider."}


def played(folder: Path, refused_in_french: str, repeats: int = 1) -> tuple[str, str, str]:
    """A run over 80 prompts in English and French against the lab: its suite, its file and its id."""
    cases = []
    for n in range(80):
        english = {"locale": "en", "provenance": "native"}
        french = {"locale": "fr", "provenance": f"translated-from:{n}"}
        cases.append({"id": n, "input": f"Where is parcel {n}?", "expected": "ok", "attributes": english})
        cases.append({"id": f"fr-{n}", "input": f"Où est le colis {n} ?", "expected": "ok", "attributes": french})
    rules = (
        Rule(name="en", when=When(last=r"parcel \d*7\?"), answer=SORRY["en"]),
        Rule(name="fr", when=When(last=rf"colis {refused_in_french} \?"), answer=SORRY["fr"]),
        Rule(name="rest", answer="ok"),
    )
    with LabServer(LabConfig(rules=rules)) as lab:
        asked = {"base_url": lab.base_url, "model": "lab-small"}
        suite = folder / "suite.yaml"
        scorers = [{"use": "exact"}, {"use": "refusal"}]
        text = {"name": "parcels", "target": asked, "cases": cases, "scorers": scorers, "repeats": repeats}
        suite.write_text(yaml.safe_dump(text))
        out = folder / "run.jsonl"
        done = wk(folder, "run", str(suite), "--json", "--out", str(out), "--no-cache")
    return str(suite), str(out), json.loads(done.stdout)["experiment_id"]


def test_refusals_are_compared_on_matched_prompts_and_a_run_can_be_named_in_each_way(tmp_path: Path) -> None:
    suite, out, experiment = played(tmp_path, r"\d*[357]")
    code, found, (parity,) = told(tmp_path, out, "--suite", suite)
    assert (code, parity["locale"], parity["prompts"], parity["unequal"]) == (1, "fr", 80, True)
    assert (parity["reference_rate"], parity["locale_rate"]) == (0.1, 0.3)
    assert parity["difference"]["low"] > 0 and "McNemar" in parity["method"]
    assert (found["fr"]["ruling"], found["fr"]["translated"]) == ("not measured", 80)
    assert told(tmp_path, experiment) == (code, found, [parity])
    assert told(tmp_path, experiment, "--suite", suite) == (code, found, [parity])
    assert "fr minus en on 80 prompts: +0.2" in wk(tmp_path, "locales", experiment).stdout


def test_equal_refusals_are_quiet_and_repeats_of_a_prompt_count_once(tmp_path: Path) -> None:
    suite, out, _ = played(tmp_path, r"\d*7", repeats=3)
    code, found, (parity,) = told(tmp_path, out, "--suite", suite, "--least", "1")
    assert (parity["prompts"], parity["unequal"], parity["difference"]["value"]) == (80, False, 0.0)
    assert (found["en"]["answers"], found["en"]["mean"]["n"]) == (240, 80)
    assert code == 3, "French has translations only"


def test_locales_without_a_common_prompt_are_told_as_unknown(tmp_path: Path) -> None:
    lines = [{"item": f"{locale}{n}", "locale": locale, "refused": n < 3} for locale in ("en", "de") for n in range(9)]
    done = wk(tmp_path, "locales", jsonl(tmp_path / "s.jsonl", lines), "--least", "1")
    assert "refusals, de minus en unknown: no prompt was asked in both (18 in one of them)" in done.stdout
    assert done.exit_code == 3


def test_several_scores_must_be_chosen_from(tmp_path: Path) -> None:
    scorers = [{"use": "exact"}, {"use": "exact", "name": "folded", "with": {"fold_case": True}}]
    cases = [{"id": n, "input": "x", "expected": "ok", "attributes": {"locale": "en"}} for n in range(3)]
    with LabServer(LabConfig(rules=(Rule(name="r", answer="OK"),))) as lab:
        asked = {"base_url": lab.base_url, "model": "lab-small"}
        suite = tmp_path / "s.yaml"
        suite.write_text(yaml.safe_dump({"name": "s", "target": asked, "cases": cases, "scorers": scorers}))
        wk(tmp_path, "run", str(suite), "--out", str(tmp_path / "o.jsonl"))
    words = (str(tmp_path / "o.jsonl"), "--suite", str(suite))
    assert "Name the one to judge by with --score" in wk(tmp_path, "locales", *words).stderr
    assert "there is no score 'other'" in wk(tmp_path, "locales", *words, "--score", "other").stderr
    assert told(tmp_path, *words, "--score", "folded")[1]["en"]["unknown"] == 3
