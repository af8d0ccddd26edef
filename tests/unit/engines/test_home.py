"""The data directory: made once, refused when newer or foreign, held by one process at a time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.engines.recorder.home import FORMAT, Home, HomeError


def test_a_new_directory_is_private_and_says_its_format(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    assert json.loads((home.path / "format.json").read_text())["format"] == FORMAT
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_directory_that_was_readable_by_others_is_made_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    home.path.chmod(0o755)
    Home(home.path)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    (home.path / "format.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(HomeError, match=rf"has format {FORMAT + 1}.*Upgrade watchkeeper"):
        Home(home.path)


def test_a_format_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    (home.path / "format.json").write_text("{")
    with pytest.raises(HomeError, match="does not say which format"):
        Home(home.path)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(HomeError, match="holds no Watchkeeper data"):
        Home(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_reading_a_directory_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="no Watchkeeper data"):
        Home(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_secret_is_made_once_and_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    assert len(home.secret("chunks")) == 32
    assert home.secret("chunks") == Home(home.path).secret("chunks")
    assert home.secret("chunks") != home.secret("sessions")
    assert stat.S_IMODE((home.path / "secrets" / "chunks.key").stat().st_mode) == 0o600


HOLD = """
import sys
from pathlib import Path
from watchkeeper.engines.recorder.home import Home
home = Home(Path(sys.argv[1]))
home.lock("127.0.0.1:4242")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_secret_that_was_cut_off_is_refused_and_not_used(tmp_path: Path) -> None:
    """With an empty key, as a crash at the wrong moment left it, every keyed digest could be guessed."""
    home = Home(tmp_path / "data")
    (home.path / "secrets" / "chunks.key").write_bytes(b"")
    with pytest.raises(HomeError, match="has 0 bytes and not 32"):
        home.secret("chunks")


def test_a_secret_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "data")
    link = os.link

    def second(draft: Path, path: Path) -> None:
        assert not path.exists() and draft.stat().st_size == 32
        path.write_bytes(b"f" * 32)  # another process, a moment before
        link(draft, path)

    monkeypatch.setattr(os, "link", second)
    assert home.secret("cookies") == b"f" * 32
    assert [each.name for each in (home.path / "secrets").iterdir()] == ["cookies.key"]


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdin is not None
    assert other.stdout.readline() == "held\n"
    home = Home(tmp_path / "data")
    holder = home.holder()
    assert holder is not None and (holder.pid, holder.address) == (other.pid, "127.0.0.1:4242")
    with pytest.raises(HomeError, match=rf"in use by process {other.pid} at 127.0.0.1:4242"):
        home.lock()
    other.kill()
    other.wait()
    assert home.holder() is None, "a dead process holds nothing"
    assert home.lock("here:1").pid == os.getpid()
    home.unlock()
    assert home.holder() is None


def test_the_socket_of_a_deep_directory_has_a_name_that_fits(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    assert len(str(Home(deep).socket)) < 100
    assert Home(deep).socket == Home(deep).socket
