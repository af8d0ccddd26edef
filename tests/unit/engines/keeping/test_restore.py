"""A backup that somebody else made or changed is refused before anything outside the new data directory is touched."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from watchkeeper.engines.keeping.backup import BackupProblem
from watchkeeper.engines.keeping.restore import restore


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """A head of a tar file's member."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, 0o777
    return made


def archive(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar file of these members."""
    with tarfile.open(path, "w") as out:
        for head, data in members:
            head.size = len(data)
            out.addfile(head, io.BytesIO(data))
    return path


def test_a_member_with_an_absolute_name_changes_no_file_outside(tmp_path: Path) -> None:
    """It would be unpacked below the draft, but its mode was set where its name points to."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o644)
    source = archive(tmp_path / "evil.tar", [(member(str(victim)), b"yours")])
    with pytest.raises(BackupProblem, match="no file or folder of a backup"):
        restore(source, tmp_path / "data")
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    assert victim.read_text() == "mine"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "head",
    [
        member("../out"),
        member("journal/../../out"),
        member("journal/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("journal/link", tarfile.SYMTYPE, "within"),
        member("journal/link", tarfile.LNKTYPE, "format.json"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda head: f"{head.name} {head.type.decode()}",
)
def test_only_files_and_folders_below_it_are_unpacked(tmp_path: Path, head: tarfile.TarInfo) -> None:
    source = archive(tmp_path / "evil.tar", [(head, b"")])
    with pytest.raises(BackupProblem, match="no file or folder of a backup"):
        restore(source, tmp_path / "data")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil.tar"]


def test_a_compressed_file_is_not_unpacked_since_it_may_fill_the_disk(tmp_path: Path) -> None:
    plain = archive(tmp_path / "plain.tar", [(member("journal/zeros"), bytes(1 << 20))])
    source = tmp_path / "bomb.tar"
    source.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(BackupProblem, match="cannot be unpacked"):
        restore(source, tmp_path / "data")


def test_a_file_that_the_list_does_not_name_is_refused(tmp_path: Path) -> None:
    listing = b'{"format": 1, "made_ns": 1, "source": "x", "files": []}'
    source = archive(
        tmp_path / "more.tar", [(member("backup.json"), listing), (member("secrets/cookies.key"), b"known" * 8)]
    )
    with pytest.raises(BackupProblem, match="its list does not name"):
        restore(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()
