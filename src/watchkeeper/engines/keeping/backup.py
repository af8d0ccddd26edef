"""Copies a data directory while it is written to, so that the copy stands for one moment and can be proved.

The journal is append-only: each segment is copied up to the last frame that is whole. This process's own journal comes
last, since it holds the records of all erasures: a frame that was erased meanwhile is erased in the copy by record. The
index is left out; it is made anew from the journal. With `incremental`, segments that have not changed since the last
copy are left as they lie there, and what was erased or trimmed since is erased and trimmed in the copy too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from watchkeeper.engines.recorder.erasure import PENDING
from watchkeeper.engines.recorder.frames import SEGMENT_HEAD, Corrupt, Torn
from watchkeeper.engines.recorder.home import FORMAT, Home
from watchkeeper.engines.recorder.packed import layout_of
from watchkeeper.engines.recorder.segments import heads, segment_path, segments_of, writers_of
from watchkeeper.engines.recorder.verify import Proof, prove
from watchkeeper.records.record import Record, as_json

MANIFEST = "backup.json"
LAST_WRITER = "store"
ATTEMPTS = 3
_COPY_BYTES = 1 << 20

CopyDatabase = Callable[[Path, Path], None]
"""Copies a database file that is in use."""


class BackupProblem(RuntimeError):
    """A backup that cannot be made or used; the message says why and what to do."""


class Copied(Record):
    """One file of a backup: its place in it, size and digest (BLAKE2b-256), and what it was copied from."""

    path: str
    size: int
    digest: str
    source_size: int = 0
    source_ns: int = 0


class End(Record):
    """Where one writer's chain ends in a backup."""

    seq: int
    digest: str


class Manifest(Record):
    """What a backup holds. `ends` name the last frame of each writer; `secrets` says whether keys are in it."""

    format: int
    made_ns: int
    source: str
    files: tuple[Copied, ...]
    ends: dict[str, End] = {}
    secrets: bool = True
    incremental_to_ns: int | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(each.size for each in self.files)


class Made(Record):
    """What making a backup did."""

    target: str
    manifest: Manifest
    copied: int
    copied_bytes: int
    unchanged: int
    removed: int
    frames: int
    erased: int


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup; raises `BackupProblem`."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise BackupProblem(
            f"{folder} holds no backup: {MANIFEST} is missing. It is the last file to be written, so a backup that was "
            "cut short has none. Name the folder or .tar file that 'watchkeeper backup' wrote."
        ) from error
    except (msgspec.MsgspecError, OSError) as error:
        raise BackupProblem(f"{path} cannot be read: {error}. Use another backup.") from error


def backup(
    home: Home,
    target: Path,
    copy_database: CopyDatabase,
    *,
    incremental: bool = False,
    secrets: bool = True,
    told: Callable[[int], None] = lambda count: None,
) -> Made:
    """Copy a data directory to a folder, or to a file when the name ends in .tar; `told` gets bytes copied.

    Raises `BackupProblem` when the target is in the way, or when the copy cannot be proved.
    """
    if target.suffix == ".tar":
        return _to_file(home, target, copy_database, secrets, told, incremental)
    before = _known(target, incremental)
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    (target / MANIFEST).unlink(missing_ok=True)
    work = _Backup(home, target, before, told)
    work.databases(copy_database, secrets)
    work.journals()
    proof = work.proved()
    manifest = Manifest(
        format=FORMAT,
        made_ns=time.time_ns(),
        source=str(home.path),
        files=tuple(work.files[path] for path in sorted(work.files)),
        ends={each.writer: End(seq=each.last_seq, digest=each.last_digest) for each in proof.writers},
        secrets=secrets,
        incremental_to_ns=before.made_ns if before is not None else None,
    )
    removed = work.tidy()
    _write(target / MANIFEST, msgspec.json.format(as_json(manifest), indent=1))
    return Made(
        target=str(target),
        manifest=manifest,
        copied=work.copied,
        copied_bytes=work.copied_bytes,
        unchanged=work.unchanged,
        removed=removed,
        frames=sum(each.frames for each in proof.writers),
        erased=sum(each.erased for each in proof.writers),
    )


def _known(target: Path, incremental: bool) -> Manifest | None:
    if not target.exists() or not any(target.iterdir()):
        return None
    if not incremental:
        raise BackupProblem(
            f"{target} is not empty. Name a new folder, or add --incremental to bring the backup in it up to date."
        )
    return read_manifest(target)


def _to_file(
    home: Home, target: Path, copy_database: CopyDatabase, secrets: bool, told: Callable[[int], None], again: bool
) -> Made:
    if again:
        raise BackupProblem(f"{target} is one file and cannot be added to; --incremental needs a folder.")
    if target.exists():
        raise BackupProblem(f"{target} is there already. Name a new file.")
    folder = target.with_name(f".{target.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700, parents=True)
        made = backup(home, folder, copy_database, secrets=secrets, told=told)
        draft = target.with_name(f".{target.name}.draft")
        draft.unlink(missing_ok=True)
        # Never into a file that somebody else put there: it would stay theirs, and the backup may hold keys.
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w") as archive:
                for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                    archive.add(path, str(path.relative_to(folder)))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return msgspec.structs.replace(made, target=str(target))


class _Backup:
    """One run: what was copied, and what lies in the target that belongs to it."""

    def __init__(self, home: Home, target: Path, before: Manifest | None, told: Callable[[int], None]) -> None:
        self._home, self._target, self._told = home, target, told
        self._before: Mapping[str, Copied] = {} if before is None else {each.path: each for each in before.files}
        self.files: dict[str, Copied] = {}
        self.copied = self.copied_bytes = self.unchanged = 0

    def databases(self, copy_database: CopyDatabase, secrets: bool) -> None:
        """Settings of the directory, ledgers and, where wanted, keys."""
        self._plain(self._home.path / "format.json")
        if self._home.cells.exists():
            self._database(self._home.cells, copy_database)
        if not secrets:
            return
        for path in sorted((self._home.path / "secrets").glob("*")):
            if path.suffix == ".sqlite":
                self._database(path, copy_database)
            elif path.suffix == ".key":
                self._plain(path)

    def journals(self) -> None:
        """All segments, this process's own last; notes of erasures that are under way, so that they can be ended."""
        folder = self._home.journal
        for writer in sorted(writers_of(folder), key=lambda name: (name == LAST_WRITER, name)):
            for segment in segments_of(folder / writer):
                self._segment(writer, segment)
        for note in folder.glob("*" + PENDING):
            self._plain(note)

    def proved(self) -> Proof:
        """Prove the copy; a segment that was being erased while it was copied is copied again."""
        proof = prove(self._target / "journal")
        for _ in range(ATTEMPTS):
            wrong = {(p.writer, p.segment) for each in proof.writers for p in each.problems}
            if not wrong:
                return proof
            self._before = {}
            for writer, segment in sorted(wrong | {(LAST_WRITER, n) for n in self._segments(LAST_WRITER)}):
                if segment_path(self._home.journal / writer, segment).exists():
                    self._segment(writer, segment)
            proof = prove(self._target / "journal")
        if not prove(self._home.journal).holds:
            return proof  # the original is damaged in the same way, and `verify` says where
        first = next(p for each in proof.writers for p in each.problems)
        raise BackupProblem(
            f"the copy cannot be proved: segment {first.segment} of {first.writer}, byte {first.offset}: {first.what}. "
            "Run 'watchkeeper verify' on the original, and look at the disk that the copy lies on."
        )

    def _segments(self, writer: str) -> list[int]:
        folder = self._home.journal / writer
        return segments_of(folder) if folder.is_dir() else []

    def tidy(self) -> int:
        """Take away what the source has not any more."""
        removed = 0
        for path in sorted(self._target.rglob("*")):
            if path.is_file() and str(path.relative_to(self._target)) not in self.files:
                path.unlink()
                removed += path.suffix == ".wkj"
        return removed

    def _segment(self, writer: str, segment: int) -> None:
        source = segment_path(self._home.journal / writer, segment)
        name = str(source.relative_to(self._home.path))
        try:
            found = source.stat()
        except FileNotFoundError:
            return  # trimmed meanwhile, by record
        if self._same(name, found):
            return
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if layout_of(file.fileno()) is not None else _whole(source)
            self._copy(name, file.fileno(), size, found)

    def _plain(self, source: Path) -> None:
        name = str(source.relative_to(self._home.path))
        found = source.stat()
        if not self._same(name, found):
            with source.open("rb") as file:
                self._copy(name, file.fileno(), found.st_size, found)

    def _database(self, source: Path, copy_database: CopyDatabase) -> None:
        name = str(source.relative_to(self._home.path))
        target = self._place(name)
        copy_database(source, target)
        size = target.stat().st_size
        self._count(name, size)
        self.files[name] = Copied(path=name, size=size, digest=digest_of(target))

    def _same(self, name: str, found: os.stat_result) -> bool:
        known = self._before.get(name)
        if known is None or (known.source_size, known.source_ns) != (found.st_size, found.st_mtime_ns):
            return False
        if not (self._target / name).exists():
            return False
        self.files[name] = known
        self.unchanged += 1
        return True

    def _copy(self, name: str, file: int, size: int, found: os.stat_result) -> None:
        target, hashed, at = self._place(name), hashlib.blake2b(digest_size=32), 0
        with os.fdopen(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
            while at < size:
                piece = os.pread(file, min(_COPY_BYTES, size - at), at)
                if not piece:
                    raise BackupProblem(f"{name} became shorter while it was copied. Try again.")
                hashed.update(piece)
                out.write(piece)
                at += len(piece)
                self._told(self.copied_bytes + at)
            out.flush()
            os.fsync(out.fileno())
        self._count(name, size)
        self.files[name] = Copied(
            path=name, size=size, digest=hashed.hexdigest(), source_size=found.st_size, source_ns=found.st_mtime_ns
        )

    def _place(self, name: str) -> Path:
        target = self._target / name
        make_private(target.parent)
        return target

    def _count(self, name: str, size: int) -> None:
        if name not in self.files:
            self.copied += 1
        self.copied_bytes += size


def _whole(path: Path) -> int:
    """How many bytes of a plain segment are whole frames; one that is still being written is left out.

    Damage is copied as it is: the copy is to stand for the original, and `verify` names it in both.
    """
    end = min(SEGMENT_HEAD.size, path.stat().st_size)
    try:
        for offset, head in heads(path):
            end = offset + head.size
    except Torn:
        return end
    except Corrupt:
        return path.stat().st_size
    return end


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, closed to other users."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700)


def digest_of(path: Path) -> str:
    """The BLAKE2b-256 digest of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def checked(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What in a backup is not as its manifest says."""
    for each in manifest.files:
        path = folder / each.path
        if not path.is_file():
            yield f"{each.path} is missing"
        elif path.stat().st_size != each.size or digest_of(path) != each.digest:
            yield f"{each.path} is not what was copied"


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
