"""A table may come through a pipe, also where a command reads it more than once."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from watchkeeper.cli import main
from watchkeeper.cli.piped import readable

TABLE = "id,m,label,verdict,s\n" + "".join(f"{i},{'ab'[i % 2]},{1 + i % 2},1,{i % 3}\n" for i in range(12))


def test_a_file_is_read_where_it_lies(tmp_path: Path) -> None:
    with readable(tmp_path / "a.csv") as path:
        assert path == tmp_path / "a.csv"


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "summarize", "-", "--item", "id", "--score", "s"),
        ("judge", "audit", "-"),
        ("judge", "estimate", "-", "--item", "id", "--score", "s", "--label", "label"),
    ],
)
def test_standard_input_is_a_table(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--json"], input=TABLE, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_pipe_is_copied_and_the_copy_removed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_text(TABLE))
    writer.start()
    with readable(pipe) as path:
        assert path.read_text() == path.read_text() == TABLE
    writer.join()
    assert not path.exists()
