"""Probes from the command line: listed, refused without a server, accepted with a trace of who did it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.engines.recorder.home import Home

pytestmark = pytest.mark.slow
SETTINGS = """
[server]
data = "data"

[[probes]]
name = "colour"
model = "m"
prompt = "Colour?"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    Home(tmp_path / "data")
    file = tmp_path / "watchkeeper.toml"
    file.write_text(SETTINGS)
    return file


def wk(settings: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(settings)], catch_exceptions=False)


def test_probes_are_listed(settings: Path) -> None:
    (row,) = json.loads(wk(settings, "probe", "list", "--json").stdout)["items"]
    assert (row["name"], row["model"], row["samples"], row["every_s"]) == ("colour", "m", 3, 3600)
    assert "colour" in wk(settings, "probe", "list").stdout


def test_without_a_server_nobody_is_asked(settings: Path) -> None:
    done = wk(settings, "probe", "run")
    assert done.exit_code == 2
    assert "watchkeeper serve" in done.output


def test_an_acceptance_is_kept_with_who_did_it(settings: Path) -> None:
    assert wk(settings, "probe", "accept", "colour").exit_code == 0
    (act,) = json.loads(wk(settings, "ask", "audits", "--json").stdout)["items"]
    assert (act["act"], act["subject"]) == ("probe.accepted", "colour")


def test_an_unknown_probe_is_told(settings: Path) -> None:
    done = wk(settings, "probe", "accept", "none")
    assert done.exit_code == 2
    assert "no probe 'none'" in done.output
