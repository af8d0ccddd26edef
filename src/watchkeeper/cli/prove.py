"""Proofs of one trace: `prove` writes a file that travels, `verify --trace` and `verify --bundle` check one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, write_private

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.engines.recorder.bundle import Bundle, Judged
    from watchkeeper.engines.recorder.erased import Place
    from watchkeeper.records.checkpoint import Checkpoint

GIT_S = 20


@click.command()
@click.argument("trace")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@house_options
def prove(trace: str, out: Path, data: str | None, config: Path | None, as_json: bool) -> None:
    """Write a proof of the trace TRACE to a file that can be checked anywhere: `watchkeeper verify --bundle FILE`.

    It holds the trace's records and payloads as they are, so treat it like them; an OTLP export goes in whole, with the
    other spans that were sent with it. Frames that no checkpoint has seen yet get one first.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.recorder import bundle as proofs

    with open_door(config, data) as door:
        made = bundle_of(door, trace)
    body = proofs.write(made)
    try:
        write_private(out, body)
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}. Name another file with -o.") from error
    judged = proofs.judge(made)
    if as_json:
        print_json(_plain(judged) | {"file": str(out), "bytes": len(body)})
    else:
        click.echo(f"Wrote {len(body):,} bytes to {out}: {judged.frames} frames of trace {trace}.")
        click.echo(f"Check it with: watchkeeper verify --bundle {out} --anchors FILE")


def bundle_of(door: Door, trace: str) -> Bundle:
    """The proof of a trace, read from the data directory behind a door; raises `Failure`."""
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.config import ConfigError
    from watchkeeper.engines.recorder import bundle as proofs
    from watchkeeper.engines.recorder.checkpoints import FILE, read_lines
    from watchkeeper.engines.recorder.frames import Corrupt

    places = _places(door, trace)
    try:
        unlock(door.config, door.home)
    except ConfigError as error:
        click.echo(f"Sealed payloads go in as heads only: {error}", err=True)
    kept = door.home.path / FILE
    for again in (False, True):
        try:
            lines = read_lines(kept.read_bytes(), str(kept)) if kept.exists() else []
            return proofs.build(door.home.journal, trace, places, lines, time.time_ns)
        except proofs.Unproved as error:
            if again:
                raise Failure(str(error), "unproved") from error
            door.post("/api/v1/anchors", {"to": []}).json()
        except (Corrupt, ValueError) as error:
            raise Failure(f"trace {trace} cannot be proved: {error}. See: watchkeeper verify", "damaged") from error
    raise AssertionError("the second attempt returns or raises")


def _places(door: Door, trace: str) -> list[Place]:
    from watchkeeper.engines.recorder.erased import Place

    items = door.get(f"/api/v1/proofs/{quote(trace, safe='')}/places").json()["items"]
    if not items:
        raise Failure(f"there is no trace {trace[:64]!r}. List them: watchkeeper ask traces", "not_found")
    return [Place(*item) for item in items]


def check_trace(door: Door, trace: str, anchored: Sequence[Checkpoint], as_json: bool) -> None:
    """Prove a trace in place, say what holds, and end with the exit code."""
    from watchkeeper.engines.recorder.bundle import judge

    _end(judge(bundle_of(door, trace), anchored), as_json, bool(anchored))


def check_bundle(file: Path, anchored: Sequence[Checkpoint], as_json: bool) -> None:
    """Check a file that `prove` wrote, say what holds, and end with the exit code."""
    from watchkeeper.engines.recorder.bundle import Unproved, judge, read

    try:
        bundle = read(file.read_bytes())
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    except Unproved as error:
        raise Failure(f"{file}: {error}", "unproved") from error
    _end(judge(bundle, anchored), as_json, bool(anchored))


def anchored_in(place: Path | None) -> list[Checkpoint]:
    """The checkpoints in a file of lines, or in the last commit of a git repository; raises `Failure`."""
    from watchkeeper.adapters.anchors.git import FILE
    from watchkeeper.engines.recorder.checkpoints import Unreadable, read_lines

    if place is None:
        return []
    try:
        if place.is_dir():
            done = subprocess.run(
                ["git", "-C", str(place), "show", f"HEAD:{FILE}"], capture_output=True, timeout=GIT_S, check=False
            )
            if done.returncode:
                raise Failure(f"{place} holds no {FILE} in its last commit; name the file or repository of an anchor.")
            found = read_lines(done.stdout, f"{place}, {FILE}")
        else:
            found = read_lines(place.read_bytes(), str(place))
    except Unreadable as error:
        raise Failure(f"{error}. Compare it with another copy of the anchor.", "anchors") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"the anchors in {place} cannot be read: {error}.") from error
    if not found:
        raise Failure(f"{place} holds no checkpoints.", "anchors")
    return found


def _end(judged: Judged, as_json: bool, compared: bool) -> None:
    if as_json:
        print_json(_plain(judged))
    else:
        state = "is proved" if judged.holds else "is NOT proved"
        click.echo(
            f"Trace {plain(judged.trace_id)} {state}: {judged.frames} frames, {judged.payload_bytes:,} bytes, "
            f"{judged.erased} of them erased; checkpoints {', '.join(map(str, judged.checkpoints)) or 'none'}."
        )
        for problem in judged.problems:
            click.echo(f"  {problem}")
        if not compared:
            click.echo("  The checkpoints were not compared with any anchor; name one with --anchors.")
    raise SystemExit(0 if judged.holds else 1)


def _plain(judged: Judged) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(judged)
    return {"holds": judged.holds, "problems": [], "erased": 0, "anchored": [], **found}
