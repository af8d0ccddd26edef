"""The command reads files, experiments and recorded traffic, names what breaks, and says what it cannot use."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.suites import write_suite


def written(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"output": text, "user": f"u{n % 7}"}) + "\n" for n, text in enumerate(texts)))
    return str(path)


def test_a_consumer_that_breaks_is_exit_code_one(tmp_path: Path) -> None:
    a = written(tmp_path / "a.jsonl", [f"Total: {n}" for n in range(30)])
    b = written(tmp_path / "b.jsonl", [f"```\nTotal is {n}\n```" for n in range(30)])
    consumers = tmp_path / "c.toml"
    consumers.write_text('[[consumers]]\nname = "ledger"\nregex = "Total: [0-9]+"\n')
    done = CliRunner().invoke(main, ["eval", "behaviour", a, b, "--consumers", str(consumers), "--sunset", "--json"])
    assert done.exit_code == 1, done.output
    found = json.loads(done.output)
    assert found["consumers"][0]["verdict"] == "breaks"
    assert found["sunset"]["stages"]
    assert (
        "ledger: breaks" in CliRunner().invoke(main, ["eval", "behaviour", a, b, "--consumers", str(consumers)]).output
    )


def test_equal_sides_are_exit_code_zero(tmp_path: Path) -> None:
    a = written(tmp_path / "a.jsonl", [f"Total: {n}" for n in range(30)])
    done = CliRunner().invoke(main, ["eval", "behaviour", a, a])
    assert done.exit_code == 0
    assert "features differs" in done.output


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["eval", "behaviour", str(tmp_path / "x"), str(tmp_path / "y")])
    assert done.exit_code == 2
    assert "cannot be read" in done.output


def wk(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(folder / "data")], catch_exceptions=False)


def told(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = wk(folder, *words, "--json")
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Traffic of two models, each to twelve users of whom one never got an answer."""
    rows = []
    for n in range(24):
        said = {"old": f"Total: {n}", "new": f"```\nTotal: {n}\n``` and some more words, perhaps"}[
            model := ("old", "new")[n % 2]
        ]
        messages = [{"role": "user", "content": "how much"}, {"role": "assistant", "content": said}]
        error = {"error": {"message": "down"}} if n == 22 else {}
        row = {
            "messages": messages,
            "model": model,
            "user": f"{model}{n}",
            "timestamp": time.time_ns() - (n + 1) * 10**9,
        }
        rows.append(row | error)
    (tmp_path / "week.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert wk(tmp_path, "import", str(tmp_path / "week.jsonl")).exit_code == 0
    return tmp_path


def test_recorded_traffic_is_compared_by_model(house: Path) -> None:
    found = told(house, "eval", "behaviour", "model:old", "model:new")
    assert (found["replies_a"], found["replies_b"], found["units_a"], found["resolved"]) == (11, 12, 11, True)
    assert "format.fences" in [each["feature"] for each in found["differences"] if each["differs"]]
    few = told(house, "eval", "behaviour", "model:old", "model:new", "--calls", "5")
    assert not few["resolved"] and not any(each["differs"] for each in few["differences"])
    assert "Not resolved" in wk(house, "eval", "behaviour", "model:old", "model:new", "--calls", "5").output


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("model:none", "no reply that can be read"),
        ("manifest:aaaaaaaaaa", "no composition"),
        ("exp_none", "no experiment"),
    ],
)
def test_traffic_and_experiments_that_are_not_there_are_errors(house: Path, word: str, says: str) -> None:
    done = wk(house, "eval", "behaviour", "model:old", word)
    assert done.exit_code == 2 and says in done.output


def test_a_report_of_traffic_is_one_page(house: Path) -> None:
    page = house / "b.html"
    found = told(house, "report", "behaviour", "model:old", "model:new", "--out", str(page))
    assert found["title"] == "Behaviour of two versions"
    assert "format.fences" in page.read_text() and "<svg" in page.read_text()
    done = wk(house, "report", "behaviour", "model:old", "old")
    assert done.exit_code == 2 and "names no version" in done.output


def test_kept_answers_of_two_experiments_are_compared_whole(tmp_path: Path) -> None:
    long = "It is so. " * 80
    rules = (
        Rule(name="small", when=When(model="lab-small"), answer="It is so. $count"),
        Rule(name="large", when=When(model="lab-large"), answer=f"{long}$count"),
    )
    with LabServer(LabConfig(rules=rules)) as lab:
        suite = write_suite(
            tmp_path, lab.base_url, [{"id": n, "input": f"is it {n}", "expected": "x"} for n in range(12)]
        )
        for model in ("lab-small", "lab-large"):
            wk(tmp_path, "eval", "run", str(suite), "--model", model, "--out", str(tmp_path / f"{model}.jsonl"))
    ids = [json.loads((tmp_path / f"{name}.jsonl").read_text().splitlines()[0])["experiment_id"]
           for name in ("lab-small", "lab-large")]  # fmt: skip
    found = told(tmp_path, "eval", "behaviour", *ids)
    means = {each["feature"]: each["shift"]["mean_b"] for each in found["differences"]}
    assert (found["replies_a"], found["replies_b"]) == (12, 12) and means["length.characters"] > len(long)
    assert "pace.tokens_per_s" in means
    wk(tmp_path, "eval", "answers", "--forget")
    done = wk(tmp_path, "eval", "behaviour", *ids)
    assert done.exit_code == 2 and "kept whole any more" in done.output
    assert told(tmp_path, "eval", "behaviour", ids[0], ids[0])["replies_a"] == 12
