"""Makes a data directory from a backup: checked before it is used, proved afterwards, and nothing erased comes back.

An erasure that was made after the backup is not in it. Given the later journal, or a list of its erasures, they are
listed, recorded in the restored journal and carried out there, so that a restore does not undo them.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from watchkeeper.engines.keeping.backup import MANIFEST, BackupProblem, Manifest, checked, make_private, read_manifest
from watchkeeper.engines.recorder.erasure import Place, carry_out
from watchkeeper.engines.recorder.frames import Corrupt, Erased, FrameKind
from watchkeeper.engines.recorder.home import FORMAT, Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames, segment_path, writers_of
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.records.erasure import Erasure, Moved
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Origin

LASTING = frozenset(("subject", "redaction"))
"""Reasons for which something must never come back. What retention took goes again by its own rules."""


class Restored(Record):
    """What a restore did. `again` are the erasures that were made after the backup and were carried out again."""

    data: str
    made_ns: int
    files: int
    size: int
    frames: int
    secrets: bool
    again: tuple[Erasure, ...] = ()
    left: int = 0


def restore(source: Path, data: Path, told: Callable[[int], None] = lambda count: None) -> Manifest:
    """Make `data` from a backup; `told` gets how many files are done.

    Raises `BackupProblem` for a backup that is damaged or too new, and for a folder that is not empty.
    """
    if data.exists() and any(data.iterdir()):
        raise BackupProblem(f"{data} is not empty. Name a new folder with --data DIR, or move that one aside.")
    if not source.exists():
        raise BackupProblem(f"there is no {source}. Name the folder or .tar file that 'watchkeeper backup' wrote.")
    draft = data.with_name(f".{data.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        manifest = _unpacked(source, draft, told) if source.is_file() else _copied(source, draft, told)
        for name in ("index", "secrets", "journal"):
            (draft / name).mkdir(exist_ok=True, mode=0o700)
        if data.exists():
            data.rmdir()
        data.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(data)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def erasures_in(place: Path) -> list[Erasure]:
    """The lasting erasures of a journal folder, of a data directory, or of a list that `backup --erasures` wrote."""
    if place.is_file():
        try:
            return [msgspec.json.decode(line, type=Erasure) for line in place.read_bytes().splitlines() if line.strip()]
        except msgspec.MsgspecError as error:
            raise BackupProblem(f"{place} is no list of erasures: {error}.") from error
    folder = place / "journal" if (place / "journal").is_dir() else place
    if not folder.is_dir():
        raise BackupProblem(
            f"there is no journal in {place}. Name a data directory, its journal, or a list of erasures."
        )
    found = {erasure.erasure_id: erasure for erasure in _erasures(folder)}
    return sorted(found.values(), key=lambda each: each.at_ns)


def apply_again(home: Home, erasures: list[Erasure], later: Path | None, journal: Journal) -> list[Erasure]:
    """Carry out the erasures that the restored journal has no record of; returns them.

    `later` is the journal folder from which they come: what an erased export became lies there, and is brought along.
    """
    known = {erasure.erasure_id for erasure in _erasures(home.journal)}
    again = [each for each in erasures if each.erasure_id not in known and each.reason in LASTING]
    vault = Vault(later) if later is not None else None
    try:
        for erasure in again:
            here = msgspec.structs.replace(
                erasure,
                emptied=tuple(
                    each for each in erasure.emptied if segment_path(home.journal / each.writer, each.segment).exists()
                ),
                moved=tuple(_brought(home, vault, erasure, journal)),
            )
            journal.append(here)
            journal.sync()
            carry_out(home.journal, here)
    finally:
        if vault is not None:
            vault.close()
    return again


def _brought(home: Home, vault: Vault | None, erasure: Erasure, journal: Journal) -> Iterator[Moved]:
    """What stays of erased exports, copied into the restored journal."""
    if vault is None:
        return
    places: dict[Place, Place] = {}
    for move in erasure.moved:
        if not segment_path(home.journal / move.writer, move.segment).exists():
            continue
        at = Place(move.to_writer, move.to_segment, move.to_offset)
        if at not in places:
            try:
                kind, payload = vault.payload(Origin(writer=at.writer, segment=at.segment, offset=at.offset))
            except (Erased, Corrupt, OSError):
                continue  # it was erased itself since then
            if kind is FrameKind.ERASURE:
                continue
            origin = journal.append_raw(kind, payload)
            places[at] = Place(origin.writer, origin.segment, origin.offset)
        to = places[at]
        yield Moved(
            writer=move.writer, segment=move.segment, seq=move.seq, to_writer=to.writer, to_segment=to.segment,
            to_offset=to.offset,
        )  # fmt: skip


def _erasures(folder: Path) -> Iterator[Erasure]:
    for writer in writers_of(folder):
        try:
            for frame in read_frames(folder / writer):
                if frame.head.kind == FrameKind.ERASURE:
                    yield unpack(Erasure, frame.payload)
        except Corrupt:
            continue  # what lies before the damage counts; verify names the damage


def _copied(source: Path, draft: Path, told: Callable[[int], None]) -> Manifest:
    manifest = _usable(source)
    for number, each in enumerate(manifest.files):
        target = draft / each.path
        make_private(target.parent)
        shutil.copyfile(source / each.path, target)
        target.chmod(0o600)
        told(number + 1)
    return manifest


def _unpacked(source: Path, draft: Path, told: Callable[[int], None]) -> Manifest:
    draft.mkdir(parents=True, mode=0o700)
    try:
        # Plain tar only: a compressed one would let a small file fill the disk.
        with tarfile.open(source, mode="r:") as archive:
            for number, member in enumerate(archive):
                archive.extract(_fit(member, source), draft, filter="data")
                (draft / member.name).chmod(0o600 if member.isfile() else 0o700)
                told(number)
    except (tarfile.TarError, OSError) as error:
        raise BackupProblem(f"{source} cannot be unpacked: {error}. Use another backup.") from error
    manifest = _usable(draft)
    (draft / MANIFEST).unlink()
    listed = {each.path for each in manifest.files}
    for path in draft.rglob("*"):
        name = str(path.relative_to(draft))
        if path.is_file() and name not in listed:
            raise BackupProblem(f"{source} holds a file that its list does not name ({name!r}). Use another backup.")
    for folder in (each for each in draft.rglob("*") if each.is_dir()):
        os.chmod(folder, 0o700)  # noqa: PTH101
    return manifest


def _fit(member: tarfile.TarInfo, source: Path) -> tarfile.TarInfo:
    """A member that a backup may hold: a file or folder below the place it is unpacked to, and nothing else."""
    name = Path(member.name)
    if not (member.isfile() or member.isdir()) or name.is_absolute() or ".." in name.parts:
        raise BackupProblem(
            f"{source} holds {member.name!r}, which is no file or folder of a backup. Watchkeeper did not write it so; "
            "use another backup."
        )
    return member


def _usable(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.format > FORMAT:
        raise BackupProblem(
            f"the backup has format {manifest.format}; this program reads up to {FORMAT}. Upgrade watchkeeper."
        )
    for each in manifest.files:
        if Path(each.path).is_absolute() or ".." in Path(each.path).parts:
            raise BackupProblem(f"the backup names a file outside itself ({each.path!r}). Use another backup.")
    wrong = list(checked(folder, manifest))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BackupProblem(f"the backup is damaged: {'; '.join(wrong[:3])}{more}. Use another backup.")
    return manifest
