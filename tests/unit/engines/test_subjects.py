"""The keys of subjects: apart from one another, wrapped, rotated, and gone for good when destroyed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchkeeper.adapters.store.sqlite_subjects import SQLiteSubjects
from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.subjects import KeysError, Subjects, read_master
from watchkeeper.engines.recorder.vault import Erased, Vault
from watchkeeper.engines.recorder.verify import verify
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Span

MASTER, OTHER, LOCATOR = b"m" * 32, b"o" * 32, b"l" * 32


def keys(folder: Path, master: bytes | None = MASTER, seal: bool = True) -> Subjects:
    return Subjects(SQLiteSubjects(folder / "keys.sqlite"), LOCATOR, master, seal)


@pytest.fixture
def subjects(tmp_path: Path) -> Iterator[Subjects]:
    found = keys(tmp_path)
    sealing.use(found)
    yield found
    found.close()


def test_everybody_has_keys_of_their_own_that_last(tmp_path: Path, subjects: Subjects) -> None:
    ada, bob = subjects.of("acme\x1fada"), subjects.of("acme\x1fbob")
    assert len({ada.tag, bob.tag}) == len({ada.address_key, bob.address_key}) == len({ada.data_key, bob.data_key}) == 2
    again = keys(tmp_path)
    assert again.of("acme\x1fada") == ada
    again.close()


def test_no_name_and_no_key_stands_in_the_file(tmp_path: Path, subjects: Subjects) -> None:
    ada = subjects.of("acme\x1fada.lovelace")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("keys.sqlite*"))
    assert b"lovelace" not in raw and ada.address_key not in raw and (ada.data_key or b"?") not in raw


def test_a_sealed_journal_is_read_back_and_shows_nothing(tmp_path: Path, subjects: Subjects) -> None:
    writer = Journal(tmp_path / "j", "gateway", b"k" * 32, subjects=subjects)
    body = writer.put(b"PLANTED " * 100, "reply", owner="acme\x1fada")
    identity = Identity(tenant="acme", user="ada")
    origin = writer.append(
        Span(trace_id="t", span_id="s", start_ns=1, name="PLANTED", identity=identity, bodies=(body,))
    )
    writer.close()
    assert not any(b"PLANTED" in path.read_bytes() for path in tmp_path.rglob("*.wkj"))
    assert all(frame.head.sealed for frame in read_frames(tmp_path / "j" / "gateway"))
    vault = Vault(tmp_path / "j")
    assert vault.body(vault.span(origin).bodies[0]) == b"PLANTED " * 100
    assert [result.holds for result in verify(tmp_path / "j")] == [True]


def test_destroying_a_key_erases_in_a_backup_made_before(tmp_path: Path, subjects: Subjects) -> None:
    writer = Journal(tmp_path / "j", "gateway", b"k" * 32, subjects=subjects)
    mine, others = (writer.put(b"the same", "reply", owner=f"acme\x1f{name}") for name in ("ada", "bob"))
    writer.close()
    shutil.copytree(tmp_path / "j", tmp_path / "backup")
    ada = subjects.of("acme\x1fada")
    subjects.destroy(ada.tag)
    assert Vault(tmp_path / "backup").body(others) == b"the same"
    with pytest.raises(Erased, match="sealed"):
        Vault(tmp_path / "backup").body(mine)
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("keys.sqlite*"))
    assert (ada.data_key or b"?") not in raw
    assert subjects.of("acme\x1fada").tag != ada.tag


def test_a_guess_cannot_be_tested_once_the_key_is_gone(tmp_path: Path, subjects: Subjects) -> None:
    """Head, nonce and address are all that is left, and none of them depends on the payload without a lost key."""
    import hashlib

    writer = Journal(tmp_path / "j", "gateway", b"k" * 32, subjects=subjects)
    writer.put(b"guess me", "reply", owner="ada")
    writer.close()
    (frame,) = read_frames(tmp_path / "j" / "gateway")
    assert frame.head.kind == FrameKind.CHUNK
    raw = next((tmp_path / "j" / "gateway").glob("*.wkj")).read_bytes()
    for salt in (raw[i : i + 16] for i in range(len(raw) - 16)):
        assert hashlib.blake2b(b"guess me", digest_size=32, salt=salt).digest() != frame.head.commitment


def test_the_master_key_is_asked_for_and_told_from_another(tmp_path: Path, subjects: Subjects) -> None:
    subjects.of("ada")
    with pytest.raises(KeysError, match="not the one"):
        keys(tmp_path, OTHER)
    with pytest.raises(KeysError, match="none is set"):
        keys(tmp_path, None, seal=False)
    with pytest.raises(KeysError, match="no master key"):
        keys(tmp_path / "new", None)


def test_rotating_the_master_key_changes_no_other_key(tmp_path: Path, subjects: Subjects) -> None:
    before = subjects.of("ada")
    assert subjects.rotate(OTHER) == 1
    again = keys(tmp_path, OTHER)
    assert again.of("ada") == before
    again.close()
    with pytest.raises(KeysError, match="not the one"):
        keys(tmp_path)


def test_encryption_can_be_turned_on_and_off_later(tmp_path: Path) -> None:
    plain = keys(tmp_path, None, seal=False)
    first = plain.of("ada")
    plain.close()
    sealed = keys(tmp_path)
    assert (sealed.of("ada").tag, sealed.of("ada").data_key is not None) == (first.tag, True)
    key = sealed.of("ada").data_key
    sealed.close()
    off = keys(tmp_path, MASTER, seal=False)
    assert off.of("ada").data_key is None and off.data_key(first.tag) == key
    off.close()


def test_two_processes_that_turn_encryption_on_give_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of whoever came second was written over that of the first, who had sealed under it already."""
    plain = keys(tmp_path, None, seal=False)
    plain.of("ada")
    plain.close()
    gateway, store = keys(tmp_path), keys(tmp_path)
    found: list[bytes | None] = []
    fresh = sealing.fresh_key

    def meanwhile() -> bytes:
        monkeypatch.setattr(sealing, "fresh_key", fresh)
        found.append(store.of("ada").data_key)
        return fresh()

    monkeypatch.setattr(sealing, "fresh_key", meanwhile)
    found.append(gateway.of("ada").data_key)
    assert found[0] is not None and found[0] == found[1]
    gateway.close()
    store.close()


def test_who_was_retired_gets_other_keys_and_can_still_be_read(tmp_path: Path, subjects: Subjects) -> None:
    old = subjects.of("ada")
    subjects.retire("ada")
    new = subjects.of("ada")
    assert new.tag != old.tag
    assert subjects.data_key(old.tag) == old.data_key
    assert subjects.counts() == {"subjects": 2, "sealed": 2, "destroyed": 0}


@pytest.mark.parametrize(
    ("text", "said"), [("", "no master key"), ("ab" * 31, "62 characters"), ("zz" * 32, "64 characters")]
)
def test_a_master_key_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "master"
    file.write_text(text)
    with pytest.raises(KeysError, match=said):
        read_master(str(file))


@pytest.mark.parametrize(
    "setting", ["5e" * 32, "5E" * 32 + " ", "5e" * 31, "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="]
)
def test_a_master_key_written_into_the_settings_is_refused_and_not_shown(setting: str) -> None:
    with pytest.raises(KeysError, match="itself stands in the settings") as told:
        read_master(setting)
    assert setting.strip() not in str(told.value)


def test_a_master_key_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "master"
    file.write_text("ab" * 32 + "\n")
    assert read_master(str(file)) == read_master("env:M", {"M": "ab" * 32}) == b"\xab" * 32
    with pytest.raises(KeysError, match="M, which is not set"):
        read_master("env:M", {})
    with pytest.raises(KeysError, match="cannot be read"):
        read_master(str(tmp_path / "none"))
