"""Commands for budgets: list and show the ledger, set and raise caps, reconcile what was left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

F = TypeVar("F", bound=Callable[..., Any])
LEVELS = click.Choice(["organisation", "team", "key", "user", "session", "run", "agent"])
_UNITS = ("usd", "tokens", "calls", "seconds")


@click.group()
def budget() -> None:
    """Show budgets and what was left behind; set caps for one owner, and reconcile."""


@budget.command("list")
@click.option("--level", type=LEVELS, help="Of this level only.")
@click.option("--owner", help="Of this key, user, session, run, agent, team or organisation only.")
@click.option("--all", "everything", is_flag=True, help="Windows that have ended too.")
@house_options
def list_(
    level: str | None, owner: str | None, everything: bool, data: str | None, config: Path | None, as_json: bool
) -> None:
    """List all meters, the fullest first, then open reservations and slices with their age."""
    from watchkeeper.cli.door import open_door

    asked = {"level": level, "owner": owner, "all": "true" if everything else None}
    with open_door(config, data) as door:
        found = door.get("/api/v1/budgets", asked).json()
    if as_json:
        print_json(found)
        return
    columns = ("level", "owner", "window", "unit", "held", "cap", "%", "settled", "reserved", "leased", "policy")
    print_table(columns, [_row(item) for item in found["items"]], "Nothing is counted yet.")
    if found["left_out"]:
        click.echo(f"{found['left_out']} more are not shown; narrow it with --level or --owner.", err=True)
    _left(found)


@budget.command()
@click.argument("level", type=LEVELS)
@click.argument("owner")
@house_options
def show(level: str, owner: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Show the meters of one OWNER at LEVEL, windows that have ended too, and what is open on them."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        found = door.get("/api/v1/budgets", {"level": level, "owner": owner, "all": "true"}).json()
    meters = {item["meter"] for item in found["items"]}
    found["open"] = [each for each in found["open"] if meters & {charge["meter"] for charge in each["charges"]}]
    found["slices"] = [each for each in found["slices"] if each["meter"] in meters]
    if as_json:
        print_json(found)
        return
    for item in found["items"]:
        click.echo(item["meter"])
        cap = "no cap" if item["cap"] is None else f"of {plain(item['cap'])}"
        by = f" (set by {plain(item['set_by'])})" if item["set_by"] else f" ({plain(item['policy'] or 'no policy')})"
        click.echo(f"  {plain(item['held'])} {item['unit']} {cap}{by}, {item['window']}")
        click.echo(
            f"  settled {plain(item['settled'])}, reserved {plain(item['reserved'])}, leased {plain(item['leased'])}"
        )
    if not found["items"]:
        click.echo(f"Nothing is counted for {level} {plain(owner)}.")
    _left(found)


def _cap_options(command: F) -> F:
    for option in (
        click.option("--tenant", default="default", show_default=True, help="The tenant that the owner belongs to."),
        click.option("--book", default="scope", show_default=True, help="The budget's meter_name, where it has one."),
        click.option("--seconds", type=click.FloatRange(min=0), help="Seconds of wall time."),
        click.option("--calls", type=click.IntRange(min=0), help="Calls."),
        click.option("--tokens", type=click.IntRange(min=0), help="Tokens."),
        click.option("--usd", type=click.FloatRange(min=0), help="US dollars."),
        click.argument("owner"),
        click.argument("level", type=LEVELS),
    ):
        command = option(command)
    return command


@budget.command("set")
@_cap_options
@house_options
def set_(as_json: bool, data: str | None, config: Path | None, **wanted: Any) -> None:
    """Set the cap of one OWNER at LEVEL, in the place of the one in the settings; in force within a second."""
    _cap(wanted, data, config, as_json, more=False)


@budget.command("raise")
@_cap_options
@house_options
def raise_(as_json: bool, data: str | None, config: Path | None, **wanted: Any) -> None:
    """Raise the cap of one OWNER at LEVEL by so much; what was spent stays spent."""
    _cap(wanted, data, config, as_json, more=True)


@budget.command()
@click.argument("level", type=LEVELS)
@click.argument("owner")
@click.argument("unit", type=click.Choice(list(_UNITS)))
@click.option("--tenant", default="default", show_default=True, help="The tenant that the owner belongs to.")
@click.option("--book", default="scope", show_default=True, help="The budget's meter_name, where it has one.")
@house_options
def unset(
    level: str, owner: str, unit: str, tenant: str, book: str, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Take away a cap that was set, so that the one in the settings is in force again."""
    _post_cap(
        {"level": level, "owner": owner, "unit": unit, "limit": None, "tenant": tenant, "book": book},
        data,
        config,
        as_json,
    )


@budget.command()
@click.option("--older", metavar="DURATION", default="1h", show_default=True, help="Reservations older than this.")
@click.option("--span", help="This reservation only, by your word: with --unsent, or --usd and --tokens.")
@click.option("--unsent", is_flag=True, help="The call was certainly never sent: give all of it back.")
@click.option("--usd", type=click.FloatRange(min=0), help="What the call cost, in US dollars.")
@click.option("--tokens", type=click.IntRange(min=0), help="What the call used, in tokens.")
@click.option("--slice", "slice_", nargs=2, metavar="GATEWAY METER", help="A dead gateway's slice, with --used.")
@click.option("--used", type=click.FloatRange(min=0), help="How much of the slice was spent, in the unit shown.")
@house_options
def reconcile(
    older: str,
    span: str | None,
    unsent: bool,
    usd: float | None,
    tokens: int | None,
    slice_: tuple[str, str] | None,
    used: float | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Settle reservations that a dead process left behind, by what the record says of their calls.

    What the record does not know stays charged; say by --span or --slice what you know. It is in the audit trail.
    """
    from watchkeeper.cli.door import open_door

    wanted: dict[str, Any] = {"older": older}
    if span is not None:
        wanted = {"span": span, "unsent": unsent, "usd": usd, "tokens": tokens}
    elif slice_ is not None:
        wanted = {"gateway": slice_[0], "meter": slice_[1], "used": used}
    with open_door(config, data) as door:
        done = door.post("/api/v1/budgets/reconcile", {k: v for k, v in wanted.items() if v is not None}).json()
    if as_json:
        print_json(done)
    elif span is None and slice_ is None:
        click.echo(f"{done['settled']} settled, {done['released']} given back, {done['kept']} left charged: unknown.")
    else:
        click.echo(f"Reconciled ({plain(done.get('note') or 'by your word')}).")


def _cap(wanted: dict[str, Any], data: str | None, config: Path | None, as_json: bool, more: bool) -> None:
    given = [unit for unit in _UNITS if wanted[unit] is not None]
    if len(given) != 1:
        raise Failure("say one cap: --usd, --tokens, --calls or --seconds.", "bad_parameter")
    body = {name: wanted[name] for name in ("level", "owner", "tenant", "book")}
    _post_cap({**body, "unit": given[0], "limit": wanted[given[0]], "more": more}, data, config, as_json)


def _post_cap(body: dict[str, Any], data: str | None, config: Path | None, as_json: bool) -> None:
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        done = door.post("/api/v1/budgets/cap", body).json()
    if as_json:
        print_json(done)
        return
    cap = "without a cap" if done["cap"] is None else f"at {plain(done['cap'])} {done['unit']}"
    click.echo(f"{body['level']} {plain(body['owner'])} is {cap} now.")


def _row(item: dict[str, Any]) -> list[Any]:
    owner = item["owner"] if item["owner"] is not None else f"(none) {item['key'] or ''}".strip()
    share = None if item["share"] is None else f"{100 * item['share']:.1f}"
    amounts = (item["held"], item["cap"], share, item["settled"], item["reserved"], item["leased"])
    return [item["level"], owner, item["window"], item["unit"], *amounts, item["policy"]]


def _left(found: dict[str, Any]) -> None:
    if found["open"]:
        rows = [
            (each["span"], each["age"], each["key"], each["note"] or ("nobody's" if each["orphan"] else "in flight"))
            for each in found["open"]
        ]
        click.echo()
        print_table(("open reservation", "age", "key", "why"), rows, "")
    if found["slices"]:
        rows = [(s["gateway"], s["meter"], f"{plain(s['amount'])} {s['unit']}", s["age"]) for s in found["slices"]]
        click.echo()
        print_table(("slice of gateway", "meter", "at most", "last sign of life"), rows, "")
