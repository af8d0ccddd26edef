"""The command that checks a suite's properties over generated variants of its cases."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_live import with_live
from watchkeeper.cli.eval_run import asker_for, plan_of
from watchkeeper.cli.eval_sources import sources_of
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.properties import Checked, Property
    from watchkeeper.engines.experiments.suite import Loaded


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--target", metavar="URL", help="Ask this endpoint instead of the suite's own.")
@click.option("--model", help="Ask this model instead of the suite's own.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Cases at a time.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Makes the variants: the same seed, the same ones."
)
@click.option(
    "--reruns", type=click.IntRange(1, 1000), default=20, show_default=True, help="Reruns of each counterexample."
)
@click.option("--shown", type=click.IntRange(0, 100), default=3, show_default=True, help="Counterexamples to shrink.")
@click.option("--cap-usd", type=click.FloatRange(0), help="Stop before more than this could be spent.")
@click.option("--no-cache", is_flag=True, help="Ask everything anew, and keep no answers.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the counterexamples as cases, one JSON line each.")
@house_options
def properties(
    suite: Path,
    target: str | None,
    model: str | None,
    out: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Check the properties of SUITE: does the answer stay when only typing or names change?

    Each case is asked twice and its variant once; what goes beyond the system's own flicker is a violation. Exit code 0
    when all properties hold, 1 when one is violated, 3 when the evidence does not say, 2 when the suite cannot be used.
    """
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.asking import CapReached
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite
    from watchkeeper.queries.registry import as_plain

    settings = load(config, data=data)
    try:
        loaded = with_live(load_suite(suite, sources_of(config, data)), settings)
        wanted = _wanted(loaded, settings, chosen["seed"])
    except (SuiteError, ValueError) as error:
        raise Failure(str(error), "suite") from error
    try:
        found, told = asyncio.run(_check(loaded, settings, (target, model), wanted, chosen))
    except CapReached as error:
        raise Failure(str(error), "cap") from error
    if out is not None:
        _write(out, loaded, found)
    if as_json:
        print_json({"suite": loaded.suite.name, "properties": as_plain(found), "asked": as_plain(told)})
    else:
        _tell(found)
    verdicts = {each.verdict for each in found}
    raise SystemExit(1 if "violated" in verdicts else 3 if "not resolved" in verdicts else 0)


def _wanted(loaded: Loaded, settings: Config, seed: int) -> list[Property]:
    """The properties with their pairs; raises `Failure` where a suite has none, or a generator makes nothing."""
    from random import Random

    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability
    from watchkeeper.engines.experiments.properties import Property
    from watchkeeper.kinds.variant import PARENT

    if not loaded.suite.properties:
        raise Failure(
            f"{loaded.path}: the suite has no `properties`. Add properties: [{{use: perturb}}, {{use: names}}]",
            "suite",
        )
    by_id = {case.case_id: case for case in loaded.cases}
    found = []
    for use in loaded.suite.properties:
        generator = build("generators", Capability(use=use.use, parameters=use.parameters), settings)
        name = use.name or f"{use.use} {use.relation}"
        firsts: dict[str, Any] = {}
        for made in generator.generate(loaded.cases, Random(f"{seed} {name}")):
            firsts.setdefault(str(made.attributes.get(PARENT)), made)
        if not firsts:
            raise Failure(
                f"{loaded.path}: the generator {use.use!r} makes no variant of any case; see its page.", "suite"
            )
        pairs = tuple((by_id[parent], made) for parent, made in firsts.items())
        found.append(Property(name=name, relation=use.relation, pairs=pairs, tolerance=use.tolerance))
    return found


async def _check(
    loaded: Loaded,
    settings: Config,
    target: tuple[str | None, str | None],
    wanted: list[Property],
    chosen: dict[str, Any],
) -> tuple[list[Checked], Any]:
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from watchkeeper.engines.experiments.properties import check

    plan, key = plan_of(loaded, settings, *target, chosen["concurrency"])
    async with AsyncExitStack() as stack:
        asked = {**chosen, "requests_per_minute": None, "tokens_per_minute": None, "retries": 2}
        ask = await asker_for(stack, loaded, plan, key, settings, asked)
        bar = stack.enter_context(
            Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        )
        found = []
        for each in wanted:
            task = bar.add_task(each.name, total=len(each.pairs))
            found.append(
                await check(
                    each,
                    ask,
                    plan.parameters,
                    reruns=chosen["reruns"],
                    shown=chosen["shown"],
                    concurrency=chosen["concurrency"],
                    progress=lambda task=task: bar.advance(task),  # type: ignore[misc]
                )
            )
        return found, ask.told


def _write(out: Path, loaded: Loaded, found: list[Checked]) -> None:
    """The counterexamples as cases with what their parents expect, so that they can be added to a dataset."""
    import msgspec

    from watchkeeper.kinds.variant import with_text
    from watchkeeper.records.record import as_json

    by_id = {case.case_id: case for case in loaded.cases}
    lines = []
    for each in found:
        for number, pair in enumerate(each.counterexamples):
            case = by_id[pair.case_id]
            made = msgspec.structs.replace(
                case,
                case_id=f"{case.case_id}~{each.name.replace(' ', '-')}-{number}",
                messages=with_text(case, pair.variant),
                origin=f"property:{each.name}",
                cluster=case.cluster or case.case_id,
            )
            lines.append(as_json(made) + b"\n")
    try:
        out.write_bytes(b"".join(lines))
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}.") from error


def _tell(found: list[Checked]) -> None:
    rows = [
        (
            each.name,
            each.verdict,
            f"{each.violations.value:.1%}",
            f"{each.flicker.value:.1%}",
            f"{each.excess.value:+.1%} ({each.excess.low:+.1%} to {each.excess.high:+.1%})",
            each.pairs,
            each.unanswered,
        )
        for each in found
    ]
    print_table(("property", "verdict", "violations", "flicker", "excess (95%)", "pairs", "unanswered"), rows, "")
    for each in found:
        for pair in each.counterexamples:
            rate = pair.rate
            click.echo(
                f"\n{each.name}, case {plain(pair.case_id)}: broken in {rate.value:.0%} of {rate.n} reruns "
                f"({rate.low:.0%} to {rate.high:.0%})"
            )
            click.echo(f"  {plain(pair.text)}\n    -> {plain(pair.answer)}")
            click.echo(f"  {plain(pair.variant)}\n    -> {plain(pair.variant_answer)}")
