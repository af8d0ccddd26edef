"""Commands that prove and restore: reconstruct a request, verify the journal, rebuild the index."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, write_private

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.config import Config
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.verify import Proof
    from watchkeeper.kinds.ports import Watermark
    from watchkeeper.records.checkpoint import Checkpoint

NOT_FOUND, BAD = 404, 400


@click.command()
@click.argument("span")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file rather than to standard output.")
@click.option("--sent", is_flag=True, help="The bytes sent on to the upstream, rather than those the client sent.")
@house_options
def reconstruct(span: str, out: Path | None, sent: bool, data: str | None, config: Path | None, as_json: bool) -> None:
    """Give back the byte-identical request of the call SPAN (its span id).

    Where redaction took something out at capture, it says so: the bytes are then those that were kept.
    Without --out the bytes, and nothing else, go to standard output. Exit code 2 when there is no such call.
    """
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        body = _sent(door, span) if sent else door.get(f"/api/v1/spans/{_safe(span)}/request").checked()
        redactions, rules = _redactions(door, span, ("sent", "request") if sent else ("request",))
    if out is not None:
        try:
            write_private(out, body)
        except OSError as error:
            raise Failure(f"{out} cannot be written: {error.strerror}. Name another file with --out.") from error
    if as_json:
        import hashlib

        file = None if out is None else str(out)
        digest = hashlib.sha256(body).hexdigest()
        told = {"redactions": redactions, "redacted_by": rules}
        print_json({"span": span, "bytes": len(body), "sha256": digest, "file": file, **told})
    elif out is None:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    else:
        click.echo(f"Wrote {len(body):,} bytes, as they were {'sent on' if sent else 'received'}, to {out}.")
    if redactions and not as_json:
        places = "place was" if redactions == 1 else f"{redactions} places were"
        said = f"{'One ' if redactions == 1 else ''}{places} replaced before it was recorded, by {', '.join(rules)}"
        click.echo(f"{said}: these are the bytes that were kept, not all that were sent.", err=True)


def _redactions(door: Door, span: str, names: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many places of a payload were replaced at capture, and by which rules; 0 where that is not known."""
    items = door.ask("spans", {"span_id": span})["items"]
    if not items:
        return 0, []
    reply = door.get(f"/api/v1/spans/{_safe(items[0]['trace_id'])}/{_safe(span)}")
    if reply.status >= BAD:
        return 0, []
    bodies = {body["name"]: body for body in reply.json()["span"].get("bodies") or ()}
    kept: dict[str, Any] = next((bodies[name] for name in names if name in bodies), {})
    return int(kept.get("redactions") or 0), list(kept.get("redacted_by") or ())


def _sent(door: Door, span: str) -> bytes:
    """What the upstream was sent: kept apart only where it differs from what the client sent."""
    reply = door.get(f"/api/v1/spans/{_safe(span)}/bodies/sent")
    if reply.status != NOT_FOUND:
        return reply.checked()
    items = door.ask("spans", {"span_id": span})["items"]
    if items and items[0]["status"] == "denied":
        raise Failure(
            f"nothing was sent on: the call {span} was denied. Leave out --sent to get what the client sent, and see "
            f"why with: watchkeeper ask decisions span_id={span}",
            "denied",
        )
    return door.get(f"/api/v1/spans/{_safe(span)}/request").checked()


def _safe(word: str) -> str:
    return quote(word, safe="")


@click.command()
@click.option(
    "--anchors", type=click.Path(path_type=Path), help="Checkpoints kept outside: a file of lines, or a git repository."
)
@click.option("--trace", help="Prove one trace rather than everything.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Check a file of `watchkeeper prove`; needs no data.")
@click.option("--repair", is_flag=True, help="End erasures that were interrupted, first.")
@house_options
def verify(
    anchors: Path | None,
    trace: str | None,
    bundle: Path | None,
    repair: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Prove that the journal is what was written: every link, checksum and commitment; or say where it breaks.

    Exit code 0 when it holds, 1 when it does not. A journal that somebody wrote anew, or whose end was cut away
    together with the index, shows only against checkpoints that were kept outside: see `watchkeeper anchor`.
    """
    from watchkeeper.cli import prove as proofs

    anchored = proofs.anchored_in(anchors)
    if bundle is not None:
        proofs.check_bundle(bundle, anchored, as_json)
    if trace is not None or repair:
        from watchkeeper.cli.door import open_door

        with open_door(config, data) as door:
            if repair:
                door.post("/api/v1/erasures/resume").checked()
            if trace is not None:
                proofs.check_trace(door, trace, anchored, as_json)
    proof, pending = _prove(config, data, anchored)
    if as_json:
        import msgspec

        erasures = [
            {**msgspec.to_builtins(e), "emptied": len(e.emptied), "moved": len(e.moved)} for e in proof.erasures
        ]
        print_json(
            {
                "holds": proof.holds,
                "writers": msgspec.to_builtins(proof.writers),
                "erasures": erasures,
                "checkpoints": len(proof.checkpoints),
                "anchored": len(anchored),
                "unfinished_erasures": pending,
            }
        )
    else:
        _show(proof, len(anchored), pending)
    raise SystemExit(0 if proof.holds else 1)


def _prove(config: Path | None, data: str | None, anchored: list[Checkpoint]) -> tuple[Proof, int]:
    """The proof of the whole journal, and how many erasures are not ended yet."""
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.checkpoints import FILE, Unreadable, read_lines
    from watchkeeper.engines.recorder.erasure import pending
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.verify import prove

    settings = load(config, data=data)
    home = Home(settings.data, create=False)
    marks = _marks(config, data)
    _open_seals(settings, home)
    kept = home.path / FILE
    try:
        beside = read_lines(kept.read_bytes(), str(kept)) if kept.exists() else []
    except Unreadable as error:
        raise Failure(f"{error}. Move it aside to check the journal without it.", "checkpoints") from error
    total = sum(path.stat().st_size for path in home.journal.glob("*/*.wkj"))
    with _bar(total) as told:
        return prove(home.journal, marks, (*beside, *anchored), told), len(pending(home.journal))


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over bytes, on a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Reading the journal"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), console=_console(), transient=True) as bar:
        task = bar.add_task("verify", total=total)
        yield lambda done: bar.update(task, completed=done)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _open_seals(settings: Config, home: Home) -> None:
    """Open sealed payloads where the master key is at hand; without it their place is proved, not their content."""
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.config import ConfigError
    from watchkeeper.engines.recorder import sealing

    if not home.keys.exists():
        return
    try:
        subjects = unlock(settings, home)
        if not subjects.counts()["sealed"] and not subjects.counts()["destroyed"]:
            sealing.leave(subjects)
    except ConfigError as error:
        click.echo(f"Sealed payloads cannot be opened, so their content is not checked: {error}", err=True)


def _show(proof: Proof, anchored: int, pending: int) -> None:
    for result in proof.writers:
        state = "holds" if result.holds else "BROKEN"
        said = [
            f"{count:,} {what}"
            for count, what in (
                (result.erased, "erased"),
                (result.sealed, "sealed and not opened"),
                (result.trimmed, "segments trimmed"),
            )
            if count
        ]
        click.echo(
            f"{result.writer}: {state}: {result.frames:,} frames in {result.segments} segments, "
            f"{result.payload_bytes:,} bytes, last frame {result.last_seq} {result.last_digest[:16]}"
            + (f"; {', '.join(said)}" if said else "")
        )
        for problem in result.problems:
            whose = f" ({problem.record})" if problem.record else ""
            frame = "" if problem.seq is None else f", frame {problem.seq}"
            click.echo(f"  segment {problem.segment}, byte {problem.offset}{frame}: {problem.what}{whose}")
        if result.problems:
            at = "" if result.proved_ns is None else f", written {_when(result.proved_ns)}"
            click.echo(f"  The last frame that is proved is {result.proved_seq}{at}.")
    if not proof.writers:
        click.echo("There is nothing in the journal yet.")
    for erasure in proof.erasures:
        whom = f" of {erasure.subject}" if erasure.subject else ""
        click.echo(
            f"Erased {_when(erasure.at_ns)} by {plain(erasure.actor)}: {erasure.frames:,} frames{whom} "
            f"({erasure.reason}), {erasure.erasure_id}"
        )
    if pending:
        click.echo(f"{pending} erasures were interrupted; end them with: watchkeeper erase --resume")
    click.echo(
        f"Compared with {anchored} checkpoints kept outside."
        if anchored
        else "Not compared with checkpoints kept outside; name them with --anchors."
    )


def _when(at_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).isoformat()


def _marks(config: Path | None, data: str | None) -> dict[str, Watermark] | None:
    """How far the index had read, to find a tail that was cut away; None where the index cannot be asked."""
    from watchkeeper.adapters.store.errors import StoreError
    from watchkeeper.cli.door import open_door
    from watchkeeper.kinds.ports import Watermark

    try:
        with open_door(config, data) as door:
            rows = door.get("/api/v1/ingest/watermarks").json()["items"]
    except (Failure, StoreError):
        click.echo("The index cannot be asked how far it had read; checking the journal alone.", err=True)
        return None
    return {row["writer"]: Watermark(**row) for row in rows}


@click.command()
@house_options
def rebuild(data: str | None, config: Path | None, as_json: bool) -> None:
    """Build the index anew from the journal; answers are the same afterwards.

    Needs the data directory to itself: stop the server first. Stopped half-way, it goes on from there the next time
    that anything opens the data.
    """
    import asyncio

    from watchkeeper.compose.store import rebuild_index
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.home import Home

    settings = load(config, data=data)
    home = Home(settings.data, create=False)
    _take(home)
    try:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} records"))
        with Progress(*columns, TimeElapsedColumn(), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("Reading the journal", total=None)
            counts = asyncio.run(rebuild_index(settings, home, lambda records: bar.update(task, completed=records)))
    finally:
        home.unlock()
    if as_json:
        print_json(counts)
    else:
        click.echo(f"Rebuilt the index: {counts['records']:,} records from {counts['frames']:,} frames.")


def _take(home: Home) -> None:
    from watchkeeper.engines.recorder.home import HomeError

    try:
        home.lock()
    except HomeError as error:
        holder = home.holder()
        who = f"process {holder.pid}" if holder else "another process"
        where = f" at {holder.address}" if holder and holder.address else ""
        raise Failure(
            f"the index in {home.path} cannot be rebuilt while {who}{where} uses it. "
            "Stop that process (Ctrl-C where it runs), rebuild, and start it again.",
            "in_use",
        ) from error
