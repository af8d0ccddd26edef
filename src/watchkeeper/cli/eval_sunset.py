"""Commands that retire a version: a plan from what is recorded of its use, and how each stage of it stands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_replies import find_version, pages
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table, when, write_private

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.exposure import Judged, Use
    from watchkeeper.engines.experiments.following import Standing
    from watchkeeper.engines.experiments.retiring import Artefact
    from watchkeeper.engines.experiments.sunset import Composition, Plan, Stage, Wanted
    from watchkeeper.queries.versions import Version
    from watchkeeper.records.document import Block, Document
    from watchkeeper.records.estimate import Estimate

STAGE_NAMES = ("stage", "users", "to stop", "to go on", "can tell")
SECTIONS = ("policies", "monitors", "probes", "upstreams", "routes", "reports")


@click.group()
def sunset() -> None:
    """Retire a version by cohorts of its users, and stop when that harms them."""


@sunset.command("plan")
@click.argument("old")
@click.argument("new")
@click.option("--since", default="90d", show_default=True, help="Use of OLD from this moment on makes the cohorts.")
@click.option("--signal", default="outcome", show_default=True, help="The score that says how users fare.")
@click.option("--good", type=float, default=1.0, show_default=True, help="From this value on the score is good.")
@click.option("--baseline", type=float, default=0.8, show_default=True, help="Its rate, where none is recorded.")
@click.option("--drop", type=float, default=0.1, show_default=True, help="The fall of that rate that matters.")
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), default=0.05, show_default=True,
              help="The chance of ever stopping without harm.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the plan as JSON, for `follow`.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the plan as one page.")
@house_options
def plan_(
    old: str,
    new: str,
    since: str,
    out: Path | None,
    html: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Plan how to retire version OLD in favour of NEW, by who is used to OLD in recorded traffic.

    OLD and NEW are each manifest:DIGEST, model:NAME, release:VERSION or attribute:KEY=VALUE. The plan holds no names of
    users.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.sunset import Wanted
    from watchkeeper.queries.registry import as_plain
    from watchkeeper.queries.timespan import parse_time

    now_ns = time.time_ns()
    try:
        since_ns = parse_time(since, now_ns)
    except ValueError as error:
        raise Failure(f"--since: {error}.", "sunset") from error
    with open_door(config, data) as door:
        door.flush()
        versions = [find_version(door, word) for word in (old, new)]
        words = [f"manifest:{each.manifest}" if each.manifest else each.word for each in versions]
        wanted = Wanted(old=words[0], new=words[1], since_ns=since_ns, until_ns=now_ns, **chosen)
        found = _planned(door, wanted, versions[0], load(config, data=data))
    if out is not None:
        from watchkeeper.records.record import as_json as encoded

        _write(out, encoded(found))
    if html is not None:
        _write_page(html, document_of(found, now_ns))
    if as_json:
        print_json(as_plain(found))
    else:
        tell_plan(found)
        if out is not None:
            click.echo(f"Wrote {out}. See how it goes: watchkeeper eval sunset follow {out}")


@sunset.command("follow")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--began", multiple=True, metavar="STAGE=TIME", help="When a stage began; the first has in any case.")
@click.option("--html", type=click.Path(path_type=Path), help="Write how it stands as one page.")
@house_options
def follow_(
    plan: Path, began: tuple[str, ...], html: Path | None, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Say of each stage of PLAN, a file of `plan --out`, whether to go on, to stop and go back, or to wait.

    Look as often as you like: the error holds at all times together. Exit code 0 when nothing is to be stopped; 1 when
    a stage is; 2 when it cannot be said.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.following import STOP, follow
    from watchkeeper.queries.registry import as_plain

    now_ns = time.time_ns()
    kept, times = _read_plan(plan), _began(began, now_ns)
    wanted = kept.wanted
    with open_door(config, data) as door:
        door.flush()
        old, new = (_uses(door, find_version(door, word), wanted.since_ns) for word in (wanted.old, wanted.new))
        judged = _judged(door, wanted, [*old, *new])
    try:
        standings = follow(kept, old, new, judged, times)
    except ValueError as error:
        raise Failure(str(error), "sunset") from error
    if html is not None:
        _write_page(html, standing_document(kept, standings, now_ns))
    if as_json:
        print_json({"stages": as_plain(standings), "unplaced_scores": judged.unplaced})
    else:
        for each in standings:
            click.echo(plain(f"stage {each.number} ({each.kind}, {each.cohort}): {each.state}"))
            click.echo(plain(f"  {each.sentence}"))
            if each.moved:
                click.echo(f"  {each.moved} moved, {each.waiting} waited for; {_beside(each)}")
    raise SystemExit(int(any(each.state == STOP for each in standings)))


def _planned(door: Door, wanted: Wanted, old: Version, settings: Config) -> Plan:
    from watchkeeper.engines.experiments.sunset import sunset as planned

    uses = _uses(door, old, wanted.since_ns)
    if not uses:
        raise Failure(
            f"no named user has used {wanted.old} since {when(wanted.since_ns)} UTC. Widen --since, or name users: "
            "X-Watchkeeper-User, or `user` in the request.",
            "sunset",
        )
    back = _compositions(door, old, wanted)
    judged, more = _judged(door, wanted, uses), _attached(door, old, back, uses, settings)
    try:
        return planned(wanted, uses, judged, back, more, _unnamed(door, old, wanted, back, uses))
    except ValueError as error:
        raise Failure(str(error), "sunset") from error


def _unnamed(door: Door, old: Version, wanted: Wanted, back: Sequence[Composition], uses: Iterable[Use]) -> int | None:
    """How many calls of the old version named no user; None where that cannot be counted."""
    if old.manifest is not None:
        calls = sum(each.calls for each in back)
    elif old.model is not None:
        rows = door.ask("overview", {"since": wanted.since_ns, "model": old.model})["items"]
        calls = sum(each["calls"] for each in rows)
    else:
        return None
    return max(0, calls - sum(each.calls for each in uses))


def _uses(door: Door, version: Version, since_ns: int) -> list[Use]:
    from watchkeeper.engines.experiments.exposure import uses_of

    return uses_of(pages(door, "uses", {**version.filters, "since": since_ns}))


def _judged(door: Door, wanted: Wanted, uses: Iterable[Use]) -> Judged:
    from watchkeeper.engines.experiments.exposure import Judged

    asked = {"score": wanted.signal, "since": wanted.since_ns}
    return Judged(pages(door, "scores", asked), uses, wanted.good)


def _compositions(door: Door, old: Version, wanted: Wanted) -> list[Composition]:
    """What served the old version, the busiest first."""
    from watchkeeper.engines.experiments.sunset import Composition

    rows = door.ask("serving", {"since": wanted.since_ns, "model": old.model, "limit": 10_000})["items"]
    calls: dict[str, int] = {}
    for row in rows if old.attribute is None else ():
        if old.manifest in (None, row["manifest"]):
            calls[row["manifest"]] = calls.get(row["manifest"], 0) + int(row["calls"])
    found = []
    for digest, count in sorted(calls.items(), key=lambda each: -each[1])[:20]:
        items = door.ask("manifests", {"digest": digest})["items"]
        found.append(Composition(manifest=digest, calls=count, components=items[0]["components"] if items else {}))
    return found


def _attached(
    door: Door, old: Version, back: Sequence[Composition], uses: Iterable[Use], settings: Config
) -> list[Artefact]:
    import msgspec

    from watchkeeper.engines.experiments.retiring import Names, attached

    names = Names(
        manifests=tuple(each.manifest for each in back),
        models=() if old.model is None else (old.model,),
        traces=frozenset(trace for each in uses for trace in each.traces),
    )
    serving = {row["manifest"] for row in door.ask("serving", {"since": "7d", "limit": 10_000})["items"]}
    sections = {name: msgspec.to_builtins(getattr(settings, name)) for name in SECTIONS}
    others = sorted(serving - set(names.manifests))
    return attached(lambda question, asked: pages(door, question, asked), names, others, sections)


def _read_plan(path: Path) -> Plan:
    import msgspec

    from watchkeeper.engines.experiments.sunset import Plan

    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}. Name a file of `plan --out`.", "sunset") from error
    except msgspec.MsgspecError as error:
        raise Failure(f"{path} is no plan: {error}. Name a file of `plan --out`.", "sunset") from error


def _began(words: Sequence[str], now_ns: int) -> dict[int, int]:
    from watchkeeper.queries.timespan import parse_time

    found = {}
    for word in words:
        stage, equals, at = word.partition("=")
        try:
            found[int(stage)] = parse_time(at, now_ns)
        except ValueError as error:
            said = str(error) if equals and stage.isdigit() else "write it as STAGE=TIME, such as 2=2026-11-20"
            raise Failure(f"--began {word}: {said}.", "sunset") from error
    return found


def tell_plan(found: Plan) -> None:
    """A plan on standard output."""
    print_table(COHORT_NAMES, [_cohort_row(each) for each in found.cohorts], "No user is named.")
    for stage in found.stages:
        told = "can tell" if stage.can_tell else f"cannot tell: {_needs(stage.users_to_stop, stage.users_to_proceed)}"
        click.echo(plain(f"stage {stage.number}: {stage.kind}, {stage.cohort}, {stage.users} users ({told})"))
        click.echo(plain(f"  {stage.act}"))
    for stage in found.stages[:1]:
        click.echo(plain(f"each stage: {stage.stop_rule}; {stage.proceed_rule}"))
        click.echo(plain(f"to go back: {stage.revert}"))
    for each in found.retire_too:
        click.echo(plain(f"retire too: {each.kind} {each.name} ({each.why})"))
    if not found.retire_too:
        click.echo("retire too: nothing else was found in the records; look at runbooks and dashboards")
    click.echo(f"calls without a user: {plain(found.unnamed_calls)}")


COHORT_NAMES = ("cohort", "users", "calls", "calls each", "uses each", "days", "first seen", "signal", "judged uses")


def _cohort_row(each: Any) -> tuple[Any, ...]:
    days = None if each.median_days is None else f"{each.median_days:.1f}"
    rate = None if each.rate is None else interval_text(each.rate)
    return (
        each.name,
        each.users,
        each.calls,
        f"{each.median_calls:g}",
        f"{each.median_uses:g}",
        days,
        None if each.first_ns is None else when(each.first_ns)[:10],
        rate,
        each.window,
    )


def _needs(*needed: int | None) -> str:
    known = [each for each in needed if each is not None]
    return f"it takes {max(known)} users" if len(known) == len(needed) else "no number of users would show it"


def _beside(each: Standing) -> str:
    back = "unknown" if each.went_back is None else f"{each.went_back.value:.0%}"
    held = "unknown" if each.held is None else interval_text(each.held)
    return f"went back {back}; change of those who have not moved {held}"


def interval_text(found: Estimate) -> str:
    """An estimate in a cell."""
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def document_of(found: Plan, at_ns: int) -> Document:
    """A plan as a document."""
    from watchkeeper.records.document import Document, Facts, Heading, Table, Text

    wanted = found.wanted
    blocks: list[Block] = [
        Facts(
            items=(
                ("signal", f"{wanted.signal} of at least {wanted.good:g}"),
                ("fall that matters", wanted.drop),
                ("error over all stages", wanted.alpha),
                ("users with a name", found.cohorts[-1].users),
                ("calls without a user", found.unnamed_calls),
                ("scores of no known use", found.unplaced_scores),
            )
        ),
        Heading(text="Who is used to it"),
        Table(columns=COHORT_NAMES, rows=tuple(map(_cohort_row, found.cohorts)), numeric=COHORT_NAMES[1:6]),
        Heading(text="Stages"),
        Table(
            columns=(*STAGE_NAMES, "what happens"),
            rows=tuple(
                (_named(each), each.users, each.users_to_stop, each.users_to_proceed,
                 each.can_tell, each.act)
                for each in found.stages
            ),
            numeric=STAGE_NAMES[1:4],
        ),
        *(Text(text=f"Each stage: {each.stop_rule}; {each.proceed_rule}.") for each in found.stages[:1]),
        Heading(text="The way back"),
        Text(text=found.stages[0].revert if found.stages else "Nobody is to be moved."),
        *_back(found),
        Heading(text="What else to retire"),
        *_retired(found),
        Text(text="Found in the records and the settings. Runbooks, dashboards and notes elsewhere are not seen."),
    ]  # fmt: skip
    return Document(title="Sunset plan", subtitle=f"{wanted.old} to {wanted.new}", at_ns=at_ns, blocks=tuple(blocks))


def _named(each: Stage | Standing) -> str:
    return f"{each.number} {each.kind}, {each.cohort}"


def _back(found: Plan) -> list[Block]:
    from watchkeeper.records.document import Table, Text

    if not found.revert_to:
        return [Text(text="No composition of it is on record: it did not come through the gateway.")]
    rows = tuple(
        (each.manifest, each.calls, layer, value)
        for each in found.revert_to
        for layer, value in sorted(each.components.items())
    )
    return [Table(columns=("composition", "calls", "layer", "value"), rows=rows, numeric=("calls",))]


def _retired(found: Plan) -> list[Block]:
    from watchkeeper.records.document import Table, Text

    if not found.retire_too:
        return [Text(text="Nothing else was found.")]
    rows = tuple((each.kind, each.name, each.why, each.shared) for each in found.retire_too)
    return [Table(columns=("kind", "name", "why", "something else needs it"), rows=rows)]


def standing_document(plan: Plan, standings: Sequence[Standing], at_ns: int) -> Document:
    """How a plan stands as a document."""
    from watchkeeper.records.document import Bar, Bars, Document, Table, Text

    columns = ("stage", "state", "moved", "judged", "waited for", "went back", "held", "in words")
    known = [(each, each.change) for each in standings if each.change is not None]
    return Document(
        title="Sunset, as it stands",
        subtitle=f"{plan.wanted.old} to {plan.wanted.new}",
        at_ns=at_ns,
        blocks=(
            Table(
                columns=columns,
                rows=tuple(
                    (_named(each), each.state, each.moved, each.judged, each.waiting,
                     None if each.went_back is None else interval_text(each.went_back),
                     None if each.held is None else interval_text(each.held), each.sentence)
                    for each in standings
                ),
                numeric=("moved", "judged", "waited for"),
            ),
            Bars(
                title=f"Change of {plan.wanted.signal} of the moved users, with an interval that always holds",
                bars=tuple(
                    Bar(name=_named(each), value=change.value, low=change.low,
                        high=change.high, note=each.state, faint=each.state not in ("stop", "proceed"))
                    for each, change in known
                ),
                unit="change",
            ),
            Text(text=f"A fall of {plan.wanted.drop:g} matters. The error over all stages and looks is at most "
                      f"{plan.wanted.alpha:.1%}."),
        ),
    )  # fmt: skip


def _write_page(path: Path, document: Document) -> None:
    from watchkeeper.server.html_report import render_document

    _write(path, render_document(document).encode())


def _write(path: Path, content: bytes) -> None:
    try:
        write_private(path, content)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name a place that you may write to.") from error
