"""The command that reports what changes when a model or a prompt is exchanged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import MEASURED_ON, load_asked, on_bench, result_price
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_prompt import MARGIN, margin_of, read_prompt
from watchkeeper.cli.eval_run import UNRESOLVED
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table, write_private

if TYPE_CHECKING:
    from watchkeeper.analysis.portability import Habit
    from watchkeeper.engines.experiments.arms import Bench
    from watchkeeper.engines.experiments.migration import Cell, Migration

_WORDS = {True: "passed", False: "blocked", None: "not resolved"}


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--from", "old", metavar="MODEL", help="The old model [the suite's own].")
@click.option("--to", "new", metavar="MODEL", help="The new model [the suite's own].")
@click.option("--from-prompt", type=click.Path(path_type=Path), help="The old prompt [the cases' own].")
@click.option("--to-prompt", type=click.Path(path_type=Path), help="The new prompt [the cases' own].")
@click.option("--slice", "slice_", metavar="ATTR", help="An attribute of the cases; each of its values must pass.")
@click.option("--runs", type=click.IntRange(2, 20), default=3, show_default=True, help="Answers to each case.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the report as a page of its own, too.")
@MARGIN
@asking_options
@house_options
def migrate(
    suite: Path,
    old: str | None,
    new: str | None,
    from_prompt: Path | None,
    to_prompt: Path | None,
    slice_: str | None,
    runs: int,
    html: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Ask SUITE the old way and the new way, and tell every kind of change, by slice, and whether it may go ahead.

    Cases may come from recorded traffic (`recorded` in the suite). Both models are asked at the suite's endpoint; a
    gateway leads to several providers under one. Both sides are recorded as runs. Exit code 0 when every slice is
    non-inferior, 1 when one is worse, 3 when the cases cannot say, 2 when the suite cannot be used.
    """
    loaded, settings = load_asked(suite, config, data)
    margin = margin_of(loaded, chosen)
    prompts = tuple(None if file is None else read_prompt(file) for file in (from_prompt, to_prompt))

    async def work(bench: Bench) -> tuple[Migration, tuple[Habit, ...]]:
        return await _both(bench, (old, new), prompts, slice_, runs, margin, result_price(settings))

    found, habits = on_bench(loaded, settings, chosen, work, record=True)
    if html is not None:
        _write_html(html, found, habits)
    if as_json:
        from watchkeeper.queries.registry import as_plain

        changed = [f"{cell.what} in {cell.slice}" for cell in found.changed]
        print_json({**as_plain(found), "changed": changed, "portability": as_plain(habits), "measured_on": MEASURED_ON})
    else:
        _tell(found, habits)
    codes: dict[bool | None, int] = {True: 0, False: 1, None: UNRESOLVED}
    raise SystemExit(codes[found.passed])


async def _both(
    bench: Bench,
    models: tuple[str | None, str | None],
    prompts: tuple[str | None, ...],
    slice_: str | None,
    runs: int,
    margin: float,
    price: Any,
) -> tuple[Migration, tuple[Habit, ...]]:
    """Ask both sides at the same time, so that a slow hour is slow for both."""
    import msgspec

    from watchkeeper.analysis.portability import habits
    from watchkeeper.engines.experiments.arms import together, with_prompt
    from watchkeeper.engines.experiments.migration import migration, slices_of

    plan = bench.plan
    slices = slices_of(plan.cases, slice_)
    bench.plan = msgspec.structs.replace(plan, repeats=runs, concurrency=max(1, plan.concurrency // 2))
    sides = []
    for side, model, prompt in zip(("old", "new"), models, prompts, strict=True):
        parameters = plan.parameters if model is None else {**plan.parameters, "model": model}
        change = None if prompt is None else with_prompt(prompt)
        name = f"{side}, {parameters.get('model', plan.target)}"
        draw = "" if side == "old" else "new."
        sides.append(bench(name, change, parameters=parameters, draw=draw, keep=True))
    before, after = await together(*sides)
    names = sorted({score.name for result in before.results for score in result.scores if score.value is not None})
    schemas = any(judge.scorer.header.id == "schema" for judge in plan.judges)
    wanted = schemas or "response_format" in plan.parameters
    unfences = any(getattr(judge.scorer, "unfence", False) for judge in plan.judges)
    first = plan.cases[0] if prompts[0] is None else with_prompt(prompts[0])(plan.cases[0])
    found = habits(msgspec.json.decode(first.messages), plan.parameters, unfences)
    return migration(before, after, slices, margin, names, price, wanted, not bench.kept), found


COLUMNS = ("what", "slice", "n", "old", "new", "change (95%)", "p, adjusted", "verdict", "gate")


def _rows(cells: tuple[Cell, ...]) -> list[tuple[Any, ...]]:
    return [
        (
            cell.what,
            cell.slice,
            cell.n,
            f"{cell.old:.4g}",
            f"{cell.new:.4g}",
            f"{_times(cell)}{cell.change.value:.3g} ({cell.change.low:.3g} to {cell.change.high:.3g})",
            f"{cell.adjusted_p_value:.3g}",
            cell.verdict,
            _WORDS[cell.passed] if cell.gated else "",
        )
        for cell in cells
    ]


def _times(cell: Cell) -> str:
    return "x" if cell.kind == "ratio" else ""


def _headline(found: Migration) -> str:
    return (
        f"{_WORDS[found.passed]}: {found.old} to {found.new}, {found.cases} cases, {found.runs} answers each a side, "
        f"margin {found.margin:g}; {len(found.changed)} of {len(found.cells)} cells changed."
    )


def _tell(found: Migration, habits: tuple[Habit, ...]) -> None:
    click.echo(_headline(found))
    print_table(COLUMNS, _rows(found.cells), "No case was answered by both sides.")
    if not any(cell.what == "latency in s" for cell in found.cells):
        click.echo("Latency is left out, for answers were kept from before: --no-cache asks anew and measures it.")
    for cell in found.changed:
        if cell.drift:
            click.echo(plain(f"{cell.what} in {cell.slice}: {'; '.join(cell.drift)}"))
        if cell.examples:
            click.echo(plain(f"{cell.what} in {cell.slice}: see {', '.join(cell.examples)}"))
    if found.passed is not True:
        click.echo(plain(f"Not shown to be non-inferior: {', '.join(found.blocking)}."))
    for habit in habits:
        click.echo(plain(f"{habit.kind}, {habit.place}: {habit.text!r}. {habit.why}"))
    click.echo(MEASURED_ON)


def _write_html(path: Path, found: Migration, habits: tuple[Habit, ...]) -> None:
    from watchkeeper.records.document import Block, Document, Facts, Heading, Table, Text
    from watchkeeper.server.html_report import render_document

    facts = (
        ("gate", _WORDS[found.passed]),
        ("cases", found.cases),
        ("answers to each, a side", found.runs),
        ("margin", found.margin),
        ("cells that changed", len(found.changed)),
    )
    blocks: list[Block] = [Facts(items=facts)]
    if found.passed is not True:
        blocks.append(Text(text=f"Not shown to be non-inferior: {', '.join(found.blocking)}."))
    blocks += [
        Heading(text="What changes"),
        Table(columns=COLUMNS, rows=tuple(_rows(found.cells)), numeric=("n", "old", "new", "p, adjusted")),
        Heading(text="Cases to look at"),
        Table(
            columns=("what", "slice", "labels whose share moved", "cases"),
            rows=tuple(
                (cell.what, cell.slice, "; ".join(cell.drift), ", ".join(cell.examples))
                for cell in found.changed
                if cell.examples or cell.drift
            ),
        ),
        Heading(text="What hangs on the old model"),
        Table(
            columns=("kind", "place", "text", "why"),
            rows=tuple((habit.kind, habit.place, habit.text, habit.why) for habit in habits),
        ),
        Text(text=MEASURED_ON),
    ]
    document = Document(
        title="Migration report", subtitle=f"{found.old} to {found.new}", at_ns=time.time_ns(), blocks=tuple(blocks)
    )
    try:
        write_private(path, render_document(document).encode())
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name a place that you may write to.") from error
