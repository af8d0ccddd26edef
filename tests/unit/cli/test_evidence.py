"""An evidence pack is made and checked from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.effect import Effect
from watchkeeper.records.identity import Identity


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with three effects of an agent, a moment ago."""
    import time

    home = Home(tmp_path / "data")
    journal = Journal(home.journal, "gateway", home.secret("chunks"))
    who = Identity(agent="outreach", run="r1", key="k1", user="ada", sources={"user": "key"})
    for number in range(3):
        journal.append(
            Effect(
                effect_id=f"e{number}", key=f"r1/{number}", tool="send_email", at_ns=time.time_ns(), status="done",
                settled_ns=time.time_ns(), revision=1, identity=who,
            )
        )  # fmt: skip
    journal.close()
    return home.path


def wk(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], catch_exceptions=False)


def packed(data: Path, tmp_path: Path, *words: str) -> tuple[Path, Any]:
    pack = tmp_path / "pack.zip"
    done = wk(data, "report", "evidence", "--agent", "outreach", "--out", str(pack), "--json", *words)
    assert done.exit_code == 0, done.output
    return pack, json.loads(done.stdout)


def test_a_pack_is_made_and_holds(data: Path, tmp_path: Path) -> None:
    pack, told = packed(data, tmp_path)
    assert told["title"] == "Agent outreach"
    done = wk(data, "evidence", "verify", str(pack), "--digest", told["digest"], "--journal", "--json")
    checked = json.loads(done.stdout)
    assert (done.exit_code, checked["holds"], checked["records"], checked["in_journal"]) == (0, True, 3, 3)
    assert "missing: class of tool send_email; declare it in [[tools]]" in checked["gaps"]


def test_a_pack_that_was_changed_is_broken(data: Path, tmp_path: Path) -> None:
    pack, told = packed(data, tmp_path)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0x10
    pack.write_bytes(content)
    done = wk(data, "evidence", "verify", str(pack), "--digest", told["digest"])
    assert done.exit_code in (1, 2)


def test_another_digest_is_another_pack(data: Path, tmp_path: Path) -> None:
    pack, _ = packed(data, tmp_path, "--no-proof")
    done = wk(data, "evidence", "verify", str(pack), "--digest", "0" * 64)
    assert (done.exit_code, "another pack" in done.output) == (1, True)
    assert "proof that the journal holds" in done.output


def test_a_journal_that_was_changed_since_is_found(data: Path, tmp_path: Path) -> None:
    pack, _ = packed(data, tmp_path)
    (segment,) = (data / "journal" / "gateway").glob("*.wkj")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0x10
    segment.write_bytes(content)
    done = wk(data, "evidence", "verify", str(pack), "--journal")
    assert done.exit_code == 1


def test_without_a_file_name_the_agent_names_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = wk(data, "report", "evidence", "--agent", "out/reach")
    assert done.exit_code == 0
    assert (tmp_path / "evidence-out-reach.zip").exists()
    assert "Keep its digest elsewhere" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evidence", "verify", "/nowhere.zip"), "cannot be checked"),
        (("report", "evidence", "--agent", "x", "--since", "whenever"), "whenever"),
        (("report", "evidence", "--agent", "x", "--out", "/nowhere/at/all.zip"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_an_error_in_words(data: Path, words: tuple[str, ...], says: str) -> None:
    done = wk(data, *words)
    assert done.exit_code == 2
    assert says in done.output
