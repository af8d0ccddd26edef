"""The command that looks for answers which break a suite's properties."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import Told, load_asked, opened
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_run import STOPPED, UNRESOLVED, run_loop
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.properties import Claim, Counterexample, Found
    from watchkeeper.engines.experiments.suite import Loaded


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@asking_options
@click.option("--inputs", type=click.IntRange(1, 100_000), default=500, show_default=True, help="Inputs a property.")
@click.option(
    "--tries", type=click.IntRange(0, 10_000), default=150, show_default=True, help="Tries to shrink one finding."
)
@click.option(
    "--reruns", type=click.IntRange(1, 1_000), default=10, show_default=True, help="How often a finding is asked again."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which inputs are generated.")
@click.option("--cases", type=click.Path(path_type=Path), help="Write the counterexamples as cases of a suite.")
@house_options
def properties(
    suite: Path,
    cases: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Look for answers that break the `properties` of SUITE, and say how often they do.

    Each violation rate has an interval; a counterexample is made small and asked again. Answers are kept, so the same
    command after a stop goes on where it was.

    Exit code 0 when all properties hold; 1 when one is broken; 2 when the suite cannot be used; 3 when one could not be
    resolved; 130 when stopped by Ctrl-C. A Python suite is a program and is run as one.
    """
    from watchkeeper.engines.experiments.dataset import SuiteError

    loaded, settings = load_asked(suite, config, data)
    if not loaded.suite.properties:
        raise Failure(f"{suite}: has no `properties`. Add some; docs/how-to/properties.md shows how.", "suite")
    try:
        claims = claims_of(loaded, settings)
        found, told, stopped = run_loop(_look(loaded, claims, settings, chosen))
    except SuiteError as error:
        raise Failure(str(error), "suite") from error
    if cases is not None:
        _write_cases(cases, found, loaded)
    _tell(found, told, stopped, as_json)
    if stopped:
        raise SystemExit(STOPPED)
    rulings = {each.ruling for each in found}
    raise SystemExit(1 if "broken" in rulings else UNRESOLVED if "not resolved" in rulings else 0)


def claims_of(loaded: Loaded, settings: Config) -> list[Claim]:
    """The properties of a suite with their generators and scorers; raises `ConfigError` for unknown ones."""
    import msgspec

    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability
    from watchkeeper.engines.experiments.properties import Claim

    named = msgspec.structs.replace(settings, file=str(loaded.path))
    made = []
    for each in loaded.suite.properties:
        generator = scorer = None
        if each.under is not None:
            generator = build("generators", Capability(use=each.under, parameters=each.parameters), named)
        if each.scorer is not None:
            scorer = build("scorers", Capability(use=each.scorer, parameters=each.scorer_parameters), named)
        made.append(Claim(property=each, generator=generator, scorer=scorer))
    return made


async def _look(
    loaded: Loaded, claims: list[Claim], settings: Config, chosen: dict[str, Any]
) -> tuple[list[Found], Any, bool]:
    from watchkeeper.engines.experiments.properties import Budget, Properties

    budget = Budget(**{name: chosen[name] for name in ("inputs", "tries", "reruns", "concurrency")})
    found: list[Found] = []
    async with opened(loaded, settings, chosen) as asking:
        for claim in claims:
            click.echo(f"looking: {claim.property.name}", err=True)
            progress = Told(asking.ask, "inputs")
            look = Properties(asking.ask, asking.plan.parameters, budget, chosen["seed"], progress)
            found.append(await look.look(claim, loaded.cases, asking.stopping))
            if asking.stopping.is_set():
                break
        return found, asking.ask.told, asking.stopping.is_set()


def _write_cases(path: Path, found: list[Found], loaded: Loaded) -> None:
    from watchkeeper.cli.options import write_private
    from watchkeeper.engines.experiments.properties import cases_from
    from watchkeeper.records.ids import digest
    from watchkeeper.records.record import as_json

    kept = cases_from(found, loaded.cases, lambda words: f"counterexamples/{digest(words.encode())[:16]}")
    try:
        write_private(path, b"".join(as_json(_filled(case)) + b"\n" for case in kept))
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name another file.") from error


def _filled(case: Any) -> dict[str, Any]:
    from watchkeeper.queries.registry import as_plain

    return {name: value for name, value in as_plain(case).items() if value not in (None, [], ())}


def _tell(found: list[Found], told: Any, stopped: bool, as_json: bool) -> None:
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({"properties": as_plain(found), "asked": as_plain(told), "stopped": stopped})
        return
    rows = [
        (
            each.name,
            each.ruling,
            f"{each.violations} of {each.inputs}",
            f"{each.rate.value:.3g} ({each.rate.low:.3g} to {each.rate.high:.3g})",
            f"{each.allowed:g}",
            each.cause or "",
        )
        for each in found
    ]
    print_table(("property", "ruling", "violations", "rate (95%)", "allowed", "cause"), rows, "Nothing was looked at.")
    for each in found:
        for example in each.counterexamples:
            _tell_example(each.name, example)
        for line in _remarks(each):
            click.echo(plain(f"{each.name}: {line}"))


def _tell_example(name: str, example: Counterexample) -> None:
    click.echo(plain(f"{name}: {example.why}"))
    for messages in (example.messages, example.changed):
        if messages is not None:
            click.echo(plain(f"  {messages}"))
    again, lost = example.rate, f", {example.unanswered} more got no answer" if example.unanswered else ""
    rate = (
        "nothing is known of how often" if not again.n else f"{again.value:.0%} ({again.low:.0%} to {again.high:.0%})"
    )
    click.echo(f"  broke again in: {rate}; {again.n} answers{lost}")


def _remarks(found: Found) -> list[str]:
    """What is to be known of a property beside its figures."""
    said = [] if found.ruling != "not resolved" else [f"not resolved: {found.why}."]
    if found.unanswered:
        said.append(
            f"{found.unanswered} inputs got no answer and are in no rate. The first failure: {found.first_error}"
        )
    if found.unjudged:
        said.append(f"{found.unjudged} answers could not be judged and are in no rate.")
    if found.unconfirmed:
        said.append(f"{found.unconfirmed} violations did not break again and were not made small.")
    if found.unanswered_again:
        said.append(f"{found.unanswered_again} questions about violations had no answer, or none that can be judged.")
    if found.stopped:
        said.append(f"ended early. {found.stopped}")
    return said
