"""Commands around evidence packs: check one, by itself or against the journal that it came from."""

from __future__ import annotations

from pathlib import Path

import click

from watchkeeper.cli.options import Failure, house_options, print_json


@click.group()
def evidence() -> None:
    """Check an evidence pack; `watchkeeper report evidence` makes one."""


@evidence.command("verify")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--digest", help="The manifest's digest, as it was kept elsewhere when the pack was made.")
@click.option("--journal", is_flag=True, help="Compare with the journal of this data directory, and verify that too.")
@house_options
def verify_pack(
    pack: Path, digest: str | None, journal: bool, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Check that PACK is what was made: every file, every record's commitment, with --journal every record's place.

    By itself a pack shows that nothing in it was changed since its manifest was written. Who can write a whole new pack
    is caught by --digest, or by --journal. Exit code 0 when it holds, 1 when it does not.
    """
    import msgspec

    from watchkeeper.compose.packing import check_pack
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.verify import verify

    folder = Home(load(config, data=data).data, create=False).journal if journal else None
    try:
        done = check_pack(pack, folder, digest)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failure(f"{pack} cannot be checked: {reason}", "unreadable") from error
    broken = [] if folder is None else [f"{v.writer}: {p.what}" for v in verify(folder) for p in v.problems]
    holds = done.holds and not broken
    if as_json:
        print_json({**msgspec.to_builtins(done), "holds": holds, "journal_problems": broken})
    else:
        place = "" if done.in_journal is None else f", {done.in_journal:,} of them in the journal at their place"
        click.echo(f"{pack}: {'holds' if holds else 'BROKEN'}: agent {done.agent}, {done.records:,} records{place}")
        click.echo(f"manifest {done.digest}")
        for each in (*done.problems, *broken):
            click.echo(f"  {each}")
        for each in done.gaps:
            click.echo(f"  {each}")
    raise SystemExit(0 if holds else 1)
