"""What is exported and imported into an empty house is the same; an export that is stopped leaves no file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from scripts import dialects
from watchkeeper.engines.recorder.home import Home

pytestmark = [pytest.mark.door, pytest.mark.slow]
PATIENCE_S = 120.0
TOLD_ELSEWHERE = ("identity", "attributes", "preview", "events")
"""Where OTLP has words of its own: sources of an identity, attributes beside ours, a preview made anew."""


def command(*words: str | Path, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    return done.stdout


def lines(file: Path) -> dict[str, Any]:
    return {row["span"]["span_id"]: row for row in map(json.loads, file.read_bytes().splitlines())}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house with the traces of ten frameworks and two evaluations."""
    folder = tmp_path_factory.mktemp("export")
    command(
        "import",
        *sorted(dialects.TRACES.glob("*.gz")),
        *sorted(folder_of_logs().glob("sums.*")),
        "--data",
        folder / "house",
    )
    command("export", "--format", "jsonl", "-o", folder / "all.jsonl", "--data", folder / "house")
    return folder


def folder_of_logs() -> Path:
    return dialects.TRACES.parent / "inspect-logs"


def costs(data: Path) -> list[tuple[Any, ...]]:
    items = json.loads(command("ask", "costs", "since=0", "--json", "--data", data))["items"]
    return [
        (i["bucket"], i["model"], i["calls"], i["input_tokens"], i["output_tokens"], round(i["cost_usd"] or 0, 12))
        for i in items
    ]


def there_and_back(house: Path, name: str, *options: str) -> dict[str, Any]:
    file, data = house / name, house / f"{name}.house"
    command("export", *options, "-o", file, "--data", house / "house")
    assert file.stat().st_mode & 0o777 == 0o600
    said = json.loads(command("import", file, "--data", data, "--json"))
    assert said["rejected"] == [] and said["read"]["spans"] == len(lines(house / "all.jsonl"))
    assert (
        json.loads(command("import", file, "--data", data, "--json"))["indexed"]["duplicates"] == said["read"]["spans"]
    )
    command("export", "--format", "jsonl", "-o", house / f"{name}.back", "--data", data)
    assert costs(data) == costs(house / "house")
    return lines(house / f"{name}.back")


def test_json_lines_come_back_the_same_to_the_last_field(house: Path) -> None:
    assert there_and_back(house, "copy.jsonl", "--format", "jsonl") == lines(house / "all.jsonl")


@pytest.mark.parametrize(
    ("name", "options"),
    [("copy.pb", ()), ("copy.json", ()), ("next.pb", ("--names", "next")), ("asked.bin", ("--encoding", "json"))],
)
def test_otlp_comes_back_with_the_same_messages_usage_and_cost(
    house: Path, name: str, options: tuple[str, ...]
) -> None:
    before, back = lines(house / "all.jsonl"), there_and_back(house, name, "--format", "otlp", *options)
    assert set(back) == set(before)
    for span_id, row in before.items():
        again = back[span_id]
        assert again.get("messages") == row.get("messages"), row["span"]["name"]
        fields = {key: value for key, value in row["span"].items() if key not in TOLD_ELSEWHERE and value}
        assert {key: again["span"].get(key) for key in fields} == fields
        who = row["span"].get("identity", {})
        found = again["span"].get("identity", {})
        assert all(found.get(key) == who[key] for key in ("user", "session", "run", "agent") if key in who)


def test_parquet_holds_a_row_for_each_span_with_its_messages(house: Path) -> None:
    file = house / "all.parquet"
    command("export", "--format", "parquet", "-o", file, "--data", house / "house")
    rows = duckdb.sql(
        f"SELECT span_id, model, input_tokens, cost_usd, messages_output, erased FROM '{file}'"
    ).fetchall()
    before = lines(house / "all.jsonl")
    assert {row[0] for row in rows} == set(before)
    for span_id, _, tokens, cost, said, erased in rows:
        span = before[span_id]["span"]
        assert tokens == span.get("usage", {}).get("input_tokens")
        assert cost == (span["cost"]["usd"] if span.get("cost") else None) and erased is None
        assert (json.loads(said) if said else []) == before[span_id].get("messages", {}).get("output", [])
    assert [path.name for path in house.iterdir() if "gathered" in path.name or path.name.endswith(".part")] == []


def test_filters_choose_and_a_file_that_is_there_is_not_written_over(house: Path) -> None:
    file = house / "tools.jsonl"
    told = command(
        "export", "--format", "jsonl", "--operation", "execute_tool", "-o", file, "--data", house / "house", "--json"
    )
    operations = {row["span"]["operation"] for row in lines(file).values()}
    assert operations == {"execute_tool"} and json.loads(told)["spans"] == len(lines(file))
    command("export", "--format", "jsonl", "-o", file, "--data", house / "house", expect=2)
    command("export", "--format", "jsonl", "-o", file, "--force", "--data", house / "house")


def test_an_erased_payload_is_marked_and_the_rest_is_there(tmp_path: Path) -> None:
    row = {
        "request": {"messages": [{"role": "user", "content": "x" * 3000}]},
        "response": {"choices": []},
        "user": "ann",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    command("import", tmp_path / "a.jsonl", "--data", tmp_path / "house")
    journal = Home(tmp_path / "house").journal
    (segment,) = journal.rglob("*.wkj")
    data = bytearray(segment.read_bytes())
    data[0x180] ^= 0xFF  # damage within the first payload stands for what cannot be read any more
    segment.write_bytes(bytes(data))
    done = json.loads(
        command("export", "--format", "jsonl", "-o", tmp_path / "b.jsonl", "--data", tmp_path / "house", "--json")
    )
    assert done["incomplete"] == 1
    (out,) = lines(tmp_path / "b.jsonl").values()
    assert [body["name"] for body in out["bodies"] if "erased" in body] and out["span"]["name"] == "chat"


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    with (tmp_path / "many.jsonl").open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"messages": [{"role": "user", "content": f"hi {number}"}], "model": "m"}) + "\n")
    command("import", tmp_path / "many.jsonl", "--data", tmp_path / "house")
    words = [
        "export",
        "--format",
        "jsonl",
        "-o",
        str(tmp_path / "out.jsonl"),
        "--data",
        str(tmp_path / "house"),
        "--json",
    ]
    running = subprocess.Popen([sys.executable, "-m", "watchkeeper", *words], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob(".out.jsonl.*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130 and json.loads(told)["stopped"] is True
    assert [path.name for path in tmp_path.iterdir() if "out.jsonl" in path.name] == []
