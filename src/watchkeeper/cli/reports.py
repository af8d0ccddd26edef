"""Commands that write reports, each as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from watchkeeper.cli.options import Failure, house_options, print_json, write_private


@click.group()
def report() -> None:
    """Write a report as one self-contained page."""


@report.command()
@click.argument("incident_id")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file to write [incident-<id>.html; with --json: none]."
)
@house_options
def incident(incident_id: str, out: Path | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Write down the incident INCIDENT_ID: what happened, how sure that is, what changed, what nobody looked at.

    With --json the report's blocks go to standard output; with --out as well, the page is written too.
    """
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in incident_id)[:80]
    asked = {"subject": f"incident:{incident_id}"}
    _write("incident", asked, f"incident-{name}.html", out, as_json, config, data)


@report.command()
@click.option("--agent", required=True, help="The agent it is about.")
@click.option("--since", default="30d", show_default=True, help="From this moment on: 30d, 2026-11-01.")
@click.option("--until", help="Before this moment; now when not given.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The pack to write [evidence-<agent>.zip; with --json: none]."
)
@click.option("--no-proof", is_flag=True, help="Do not verify the whole journal; the pack then lists that as a gap.")
@house_options
def evidence(
    agent: str,
    since: str,
    until: str | None,
    out: Path | None,
    no_proof: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Pack the evidence about an agent: what it was allowed to do, did, who stood behind it, and what is missing.

    The pack is an archive with the report, the records behind it with their commitments, and a manifest of digests.
    Keep the digest that is printed somewhere else. With --json the report's blocks go to standard output.
    """
    import time

    from watchkeeper.cli.door import open_door
    from watchkeeper.queries.timespan import parse_time

    now_ns = time.time_ns()
    try:
        since_ns, until_ns = parse_time(since, now_ns), parse_time(until, now_ns) if until else now_ns
    except ValueError as error:
        raise Failure(str(error), "usage") from error
    asked = {"subject": f"agent:{agent}", "since": str(since_ns), "until": str(until_ns)}
    with open_door(config, data) as door:
        door.flush()
        blocks = door.get("/api/v1/reports/evidence", asked).checked()
        page = door.get("/api/v1/reports/evidence", {**asked, "format": "html"}).checked()
    made = None
    if out is not None or not as_json:
        path = out or Path(f"evidence-{''.join(c if c.isalnum() or c in '-_' else '-' for c in agent)[:80]}.zip")
        made = _pack(path, (agent, since_ns, until_ns, now_ns), blocks, page, config, data, not no_proof)
        click.echo(f"Wrote {path} ({path.stat().st_size:,} bytes). Keep its digest elsewhere: {made}", err=as_json)
    if as_json:
        import json

        print_json({**json.loads(blocks), "digest": made})


def _pack(
    path: Path,
    about: tuple[str, int, int, int],
    blocks: bytes,
    page: bytes,
    config: Path | None,
    data: str | None,
    prove: bool,
) -> str:
    import json
    import sys

    from watchkeeper import __version__
    from watchkeeper.compose.packing import Contents, make_pack
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.home import Home

    agent, since_ns, until_ns, made_ns = about
    found = json.loads(blocks)["blocks"]
    gaps: list[list[str]] = next(
        (each["rows"] for each in found if each["type"] == "table" and each["columns"] == ["missing"]), []
    )
    contents = Contents(
        agent=agent,
        since_ns=since_ns,
        until_ns=until_ns,
        made_ns=made_ns,
        version=__version__,
        report=blocks,
        page=page,
        gaps=tuple(str(row[0]) for row in gaps),
    )
    home = Home(load(config, data=data).data, create=False)

    def tell(what: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"  {what} ...", err=True)

    try:
        return make_pack(path, contents, home.journal, prove, tell)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name another file with --out.") from error


@report.command()
@click.option("--since", default="7d", show_default=True, help="How far back calls are read: 24h, 7d ...")
@click.option("--out", type=click.Path(path_type=Path), help="The HTML file to write [tokens.html; with --json: none].")
@house_options
def tokens(since: str, out: Path | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Hold local estimates of tokens against the bill, with the margin they ask for, and find what breaks the cache.

    With --json the report's blocks go to standard output; with --out as well, the page is written too.
    """
    _write("tokens", {"subject": f"last:{since}"}, "tokens.html", out, as_json, config, data)


@report.command()
@click.argument("a")
@click.argument("b")
@click.option("--since", default="30d", show_default=True, help="Calls from this moment on: 30d, 2026-11-01.")
@click.option("--until", help="Calls before this moment; now when not given.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file to write [behaviour.html; with --json: none]."
)
@house_options
def behaviour(
    a: str,
    b: str,
    since: str,
    until: str | None,
    out: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Tell how replies of version B differ in shape from those of A in recorded traffic, and who reads that.

    A and B are each manifest:DIGEST (8 or more digits), model:NAME, release:VERSION (the service.version of OTLP spans)
    or attribute:KEY=VALUE. With --json the report's blocks go to standard output; with --out as well, the page is
    written too.
    """
    asked = {"subject": f"versions:{a}..{b}", "since": since, "until": until}
    _write("behaviour", asked, "behaviour.html", out, as_json, config, data)


def _write(
    name: str,
    asked: Mapping[str, str | None],
    usual: str,
    out: Path | None,
    as_json: bool,
    config: Path | None,
    data: str | None,
) -> None:
    """Have a report composed, its page written to `out` or the usual file, and with --json its blocks printed."""
    from watchkeeper.cli.door import open_door

    blocks, page = None, b""
    with open_door(config, data) as door:
        door.flush()
        if as_json:
            blocks = door.get(f"/api/v1/reports/{name}", asked).json()
        if out is not None or not as_json:
            page = door.get(f"/api/v1/reports/{name}", {**asked, "format": "html"}).checked()
    if page:
        path = out or Path(usual)
        try:
            write_private(path, page)
        except OSError as error:
            raise Failure(f"{path} cannot be written: {error.strerror}. Name another file with --out.") from error
        click.echo(f"Wrote {path} ({len(page):,} bytes). Open it in a browser; it fetches nothing.", err=as_json)
    if blocks is not None:
        print_json(blocks)
