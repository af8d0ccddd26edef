"""A pack holds what was made, and whatever is changed in it is found."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from random import Random

import pytest

from watchkeeper.compose.packing import Contents, check_pack, make_pack
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.audit import Audit
from watchkeeper.records.effect import Effect
from watchkeeper.records.identity import Identity

WHOLE = 1 << 62
CONTENTS = Contents(
    agent="outreach",
    since_ns=0,
    until_ns=WHOLE,
    made_ns=1,
    version="0",
    report=b'{"title": "Agent outreach"}',
    page=b"<html></html>",
    gaps=("missing: cap for tool send_email",),
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    writer = Journal(folder, "gateway", b"k" * 32)
    for number in range(20):
        agent = "outreach" if number % 2 else "other"
        writer.append(
            Effect(
                effect_id=f"e{number}", key=str(number), tool="send", at_ns=number, status="done",
                identity=Identity(agent=agent),
            )
        )  # fmt: skip
    writer.append(Audit(audit_id="a", at_ns=9, act="key.created", actor="local", subject="key:k"))
    writer.close()
    return folder


def made(tmp_path: Path, journal: Path, prove: bool = True) -> tuple[Path, str]:
    pack = tmp_path / "pack.zip"
    return pack, make_pack(pack, CONTENTS, journal, prove, lambda what: None)


def repack(pack: Path, changes: dict[str, bytes | None]) -> None:
    """Write a pack anew with some of its files changed, or left out."""
    with zipfile.ZipFile(pack) as old:
        files = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(pack, "w") as new:
        for name, data in files.items():
            if data is not None:
                new.writestr(name, data)


def test_a_pack_holds_by_itself_and_against_its_journal(tmp_path: Path, journal: Path) -> None:
    pack, digest = made(tmp_path, journal)
    done = check_pack(pack, journal, digest)
    assert (done.holds, done.records, done.in_journal, done.problems) == (True, 11, 11, ())
    assert done.gaps == CONTENTS.gaps
    assert pack.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(pack) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        shown = [json.loads(line)["record"] for line in archive.read("records.jsonl").splitlines()]
    assert [each["writer"] for each in manifest["journals"]] == ["gateway"]
    assert {each.get("identity", {}).get("agent") for each in shown} == {"outreach", None}


def test_without_proof_of_the_journal_that_is_a_gap(tmp_path: Path, journal: Path) -> None:
    pack, _ = made(tmp_path, journal, prove=False)
    assert any("proof that the journal holds" in gap for gap in check_pack(pack).gaps)


def test_a_flipped_byte_anywhere_is_found_or_changes_nothing(tmp_path: Path, journal: Path) -> None:
    pack, digest = made(tmp_path, journal)
    data, chance = pack.read_bytes(), Random(5)
    with zipfile.ZipFile(pack) as archive:
        right = {name: archive.read(name) for name in archive.namelist()}
    for place in chance.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        pack.write_bytes(changed)
        try:
            if check_pack(pack, None, digest).holds:
                with zipfile.ZipFile(pack) as archive:
                    assert {name: archive.read(name) for name in archive.namelist()} == right
        except (ValueError, OSError):
            continue


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"report.json": b"{}"}, "report.json was changed"),
        ({"gaps.txt": None}, "gaps.txt is missing"),
        ({"more.txt": b"x"}, "more.txt is not in the manifest"),
    ],
)
def test_files_that_were_changed_are_named(
    tmp_path: Path, journal: Path, change: dict[str, bytes | None], says: str
) -> None:
    pack, _ = made(tmp_path, journal)
    repack(pack, change)
    done = check_pack(pack)
    assert not done.holds
    assert any(says in problem for problem in done.problems)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["report.html", "manifest.json"])
def test_a_second_file_of_the_same_name_is_found(tmp_path: Path, journal: Path, name: str) -> None:
    """One program would show the false page, while the right one behind it is checked and holds."""
    pack, digest = made(tmp_path, journal)
    with zipfile.ZipFile(pack) as archive:
        right = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr(name, b"<p>Nothing happened.</p>")
        for each, data in right.items():
            archive.writestr(each, data)
    done = check_pack(pack, None, digest)
    assert not done.holds
    assert any("more than once" in problem for problem in done.problems)


def _forged(pack: Path, old: str, new: str) -> None:
    """Change a record as somebody would who can compute digests: the manifest fits again."""
    import hashlib

    with zipfile.ZipFile(pack) as archive:
        records = archive.read("records.jsonl").decode().replace(old, new).encode()
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"]["records.jsonl"] = {"sha256": hashlib.sha256(records).hexdigest(), "bytes": len(records)}
    repack(pack, {"records.jsonl": records, "manifest.json": json.dumps(manifest).encode()})


def test_a_record_that_was_changed_breaks_its_commitment_even_under_a_new_manifest(
    tmp_path: Path, journal: Path
) -> None:
    pack, digest = made(tmp_path, journal)
    _forged(pack, '"status":"done"', '"status":"gone"')
    done = check_pack(pack)
    assert any("what it shows is not what its payload says" in problem for problem in done.problems)
    assert any("the manifest's digest is" in problem for problem in check_pack(pack, None, digest).problems)


def test_a_pack_of_another_journal_is_told_apart(tmp_path: Path, journal: Path) -> None:
    pack, _ = made(tmp_path, journal)
    other = tmp_path / "other"
    writer = Journal(other, "gateway", b"k" * 32)
    writer.append(Audit(audit_id="a", at_ns=9, act="key.created", actor="local", subject="key:k"))
    writer.close()
    done = check_pack(pack, other)
    assert (done.holds, done.in_journal) == (False, 0)


def test_a_file_that_is_no_pack_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "no.zip"
    file.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="no whole archive"):
        check_pack(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"b")
    with pytest.raises(ValueError, match=r"no readable manifest\.json"):
        check_pack(file)
