"""Makes and checks evidence packs: a report, the records behind it with their proof, and a manifest of digests."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.engines.recorder.excerpt import Excerpt, Missing, excerpts, problem, stands_in
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.verify import verify
from watchkeeper.records.record import Record

FORMAT = 1
MANIFEST = "manifest.json"
OWN = (FrameKind.EFFECT, FrameKind.DECISION)
"""Records of which only the agent's own are taken along."""

HOUSE = (FrameKind.AUDIT, FrameKind.INCIDENT, FrameKind.FINDING, FrameKind.CHECKPOINT)
"""Records about the house as a whole, which are all taken along."""

MOST_RECORDS = 500_000
MAX_FILE_BYTES = 2 << 30
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OverflowError, EOFError, struct.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Contents(Record):
    """What goes into a pack: whose, from when to when, the report as JSON and as a page, and what it lacks."""

    agent: str
    since_ns: int
    until_ns: int
    made_ns: int
    version: str
    report: bytes
    page: bytes
    gaps: tuple[str, ...]


def make_pack(path: Path, contents: Contents, journal: Path, prove: bool, told: Callable[[str], object]) -> str:
    """Write a pack; returns the digest of its manifest (SHA-256), which is to be kept elsewhere.

    With `prove` the whole journal is verified, and its result goes in; else that is one gap more.
    """
    told("reading the journal")
    lines: list[bytes] = []
    missing: list[Missing] = []
    for each in excerpts(journal, (*OWN, *HOUSE), contents.since_ns, contents.until_ns):
        if isinstance(each, Missing):
            missing.append(each)
        elif _wanted(each, contents.agent) and len(lines) < MOST_RECORDS:
            lines.append(msgspec.json.encode(each))
    told("verifying the journal" if prove else "writing the pack")
    journals = [msgspec.to_builtins(each) for each in verify(journal)] if prove else []
    gaps = [*contents.gaps, *_more_gaps(journals, missing, prove, len(lines))]
    files = {
        "report.json": contents.report,
        "report.html": contents.page,
        "records.jsonl": b"".join(line + b"\n" for line in lines),
        "gaps.txt": "".join(f"{gap}\n" for gap in gaps).encode(),
    }
    manifest = {
        "format": FORMAT,
        "agent": contents.agent,
        "since_ns": contents.since_ns,
        "until_ns": contents.until_ns,
        "made_ns": contents.made_ns,
        "watchkeeper": contents.version,
        "files": {name: _file(data) for name, data in files.items()},
        "records": len(lines),
        "not_taken_along": [msgspec.to_builtins(each) for each in missing],
        "journals": journals,
        "gaps": gaps,
    }
    top = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600), "w+b") as file:
        os.fchmod(file.fileno(), 0o600)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
            for name, data in {MANIFEST: top, **files}.items():
                pack.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return hashlib.sha256(top).hexdigest()


def _wanted(excerpt: Excerpt, agent: str) -> bool:
    if excerpt.kind not in {kind.name.lower() for kind in OWN}:
        return True
    return bool(excerpt.record.get("identity", {}).get("agent") == agent)


def _more_gaps(
    journals: Sequence[Mapping[str, Any]], missing: Sequence[Missing], prove: bool, records: int
) -> Iterator[str]:
    if not prove:
        yield "missing: proof that the journal holds; the pack was made without verifying it"
    for each in journals:
        for found in each["problems"]:
            yield f"missing: a whole journal of {each['writer']}: {found['what']}"
    if missing:
        yield f"missing: the content of {len(missing):,} frames, which were erased or are sealed under another key"
    if records >= MOST_RECORDS:
        yield f"missing: records beyond the first {MOST_RECORDS:,}; ask for a shorter time"


def _file(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


class Checked(Record):
    """What came of checking a pack. `in_journal` is None when no journal was at hand to compare with."""

    holds: bool
    digest: str
    agent: str
    records: int
    problems: tuple[str, ...]
    gaps: tuple[str, ...] = ()
    in_journal: int | None = None


def check_pack(path: Path, journal: Path | None = None, digest: str | None = None) -> Checked:
    """Check a pack: every file against the manifest, every record against its commitment, and with `journal` its place.

    `digest` is the manifest's digest as it was kept elsewhere. Raises `ValueError` for a file that is no pack,
    `OSError` for one that cannot be read.
    """
    problems: list[str] = []
    files, manifest_bytes = _read(path, problems)
    try:
        manifest = json.loads(manifest_bytes)
        told = dict(manifest["files"])
        agent, gaps = str(manifest["agent"]), tuple(map(str, manifest["gaps"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: its manifest cannot be read ({type(error).__name__}); it is no evidence pack."
        ) from error
    own = hashlib.sha256(manifest_bytes).hexdigest()
    if digest is not None and own != digest.strip().lower():
        problems.append(f"the manifest's digest is {own}, not {digest[:80]}: another pack, or one that was changed")
    for name in sorted({*told, *files}):
        if name not in files:
            problems.append(f"{name} is missing")
        elif name not in told:
            problems.append(f"{name} is not in the manifest")
        elif _file(files[name]) != told[name]:
            problems.append(f"{name} was changed: its digest is not the one in the manifest")
    count, found = _check_records(files.get("records.jsonl", b""), journal, problems)
    if count != manifest.get("records"):
        problems.append(f"there are {count:,} records, the manifest says {manifest.get('records')}")
    return Checked(
        holds=not problems,
        digest=own,
        agent=agent,
        records=count,
        problems=tuple(problems[:100]),
        gaps=gaps,
        in_journal=found,
    )


def _read(path: Path, problems: list[str]) -> tuple[dict[str, bytes], bytes]:
    """The files of a pack and its manifest; what the archive's own checksums refuse is a problem, not an end."""
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as pack:
            if sum(each.file_size for each in pack.infolist()) > MAX_FILE_BYTES:
                raise ValueError(f"{path}: it would unpack to more than {MAX_FILE_BYTES >> 30} GiB, so it is not read.")
            for each in pack.infolist():
                if each.filename in files:
                    # Programs differ in which of two they show, so what was checked may not be what is read.
                    problems.append(f"{each.filename[:80]!r} is in the archive more than once")
                try:
                    files[each.filename] = pack.read(each)
                except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError, ValueError) as error:
                    problems.append(f"{each.filename[:80]!r} cannot be read: {error}")
                except Exception as error:  # noqa: BLE001 - zlib's own error, and whatever else a damaged archive raises
                    problems.append(f"{each.filename[:80]!r} cannot be unpacked: {error}")
    except _DAMAGED as error:
        raise ValueError(f"{path}: it is no whole archive ({error}); it was damaged or cut off.") from error
    if MANIFEST not in files:
        raise ValueError(f"{path}: it has no readable {MANIFEST}; it is no evidence pack, or was damaged.")
    return files, files.pop(MANIFEST)


def _check_records(data: bytes, journal: Path | None, problems: list[str]) -> tuple[int, int | None]:
    count = found = 0
    for number, line in enumerate(data.splitlines(), 1):
        count += 1
        try:
            excerpt = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            problems.append(f"record {number} is no JSON object")
            continue
        wrong = problem(excerpt)
        if wrong is not None:
            problems.append(f"record {number}: {wrong}")
        elif journal is not None:
            there = stands_in(journal, excerpt)
            found += there
            if not there:
                problems.append(f"record {number} does not stand in the journal at its place")
    return count, None if journal is None else found
