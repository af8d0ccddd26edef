"""What commands write of a record is for its owner's eyes alone, and a stopped command ends with 130."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from watchkeeper.cli.options import house_options, write_private


@pytest.mark.parametrize("there", [False, True])
def test_a_written_file_is_closed_to_others_also_where_there_was_an_open_one(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "proof"
    if there:
        path.write_bytes(b"something longer that was there")
        path.chmod(0o644)
    before = os.umask(0o022)
    try:
        write_private(path, b"payload")
    finally:
        os.umask(before)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"payload", 0o600)


def test_a_device_is_written_to_and_left_as_it_is(tmp_path: Path) -> None:
    before = Path(os.devnull).stat().st_mode
    write_private(Path(os.devnull), b"payload")
    assert Path(os.devnull).stat().st_mode == before


def test_ctrl_c_is_exit_code_130() -> None:
    @click.command()
    @house_options
    def slow(data: str | None, config: Path | None, as_json: bool) -> None:
        raise KeyboardInterrupt

    done = CliRunner().invoke(slow, [])
    assert done.exit_code == 130 and "Stopped." in done.output
