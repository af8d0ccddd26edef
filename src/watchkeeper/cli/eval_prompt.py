"""Commands for a prompt's clauses: lint them, find out what each does, trim those that do nothing, gate versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.eval_asking import MEASURED_ON, interval, load_asked, on_bench, usd_per_token
from watchkeeper.cli.eval_options import asking_options
from watchkeeper.cli.eval_run import UNRESOLVED, require_scorers
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.arms import Bench
    from watchkeeper.engines.experiments.profiler import Ask, Profile, Wanted
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.engines.experiments.trimming import Ruling
    from watchkeeper.records.case import Case

SHOWN = 70
PROMPT = click.option("--prompt", "prompt_file", type=click.Path(path_type=Path), help="The prompt [the cases' own].")
SCORE = click.option("--score", metavar="NAME", help="Judge by this score [the first scorer's].")
MARGIN = click.option(
    "--margin", type=click.FloatRange(0, min_open=True), help="The difference that does not matter [the suite's]."
)


@click.group()
def prompt() -> None:
    """What each clause of a prompt costs and does."""


@prompt.command("lint")
@click.argument("file", type=click.Path(path_type=Path))
@house_options
def lint_(file: Path, data: str | None, config: Path | None, as_json: bool) -> None:
    """List the clauses of the prompt in FILE, with their tokens, and what is to be asked about them. Asks no model."""
    from watchkeeper.analysis.clause_lint import lint
    from watchkeeper.analysis.clauses import clauses_of, tokens_of
    from watchkeeper.config import load

    settings = load(config, data=data)
    text = read_prompt(file)
    clauses = clauses_of(text)
    finds = lint(clauses, {}, _policies(settings))
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({"tokens": tokens_of(text), "clauses": as_plain(clauses), "finds": as_plain(finds)})
        return
    rows = [(c.clause_id, round(c.tokens), c.heading, _short(c.text)) for c in clauses]
    print_table(("clause", "tokens", "heading", "text"), rows, "There is no clause in it.")
    _tell_finds(finds, {c.clause_id: c.text for c in clauses})


@prompt.command()
@click.argument("suite", type=click.Path(path_type=Path))
@PROMPT
@SCORE
@MARGIN
@click.option("--no-screening", is_flag=True, help="Leave every clause out alone, and no groups before.")
@asking_options
@house_options
def profile(
    suite: Path,
    prompt_file: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Leave clauses of the prompt out and ask SUITE again: load-bearing, neutral, harmful, or not resolved.

    It takes about as many questions as there are cases times clauses, fewer where groups can go as a whole; see them
    limited with --cap-usd. Exit code 0 when it came to its end, 2 when the suite cannot be used, 3 at a cap.
    """
    from watchkeeper.analysis.clauses import clauses_of
    from watchkeeper.engines.experiments.profiler import Profiler, most_arms

    loaded, settings = load_asked(suite, config, data)
    require_scorers(loaded)
    margin = margin_of(loaded, chosen)

    async def work(bench: Bench) -> Profile:
        text, ask = asked(bench, prompt_file)
        arms = most_arms(len(clauses_of(text)), not chosen["no_screening"])
        questions = arms * len(bench.plan.cases) * bench.plan.repeats
        click.echo(f"At most {questions:,} questions: {arms} prompts, {len(bench.plan.cases):,} cases.", err=True)
        return await Profiler(text, ask, _wanted(bench, settings, margin, chosen)).profile()

    found = on_bench(loaded, settings, chosen, work)
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({**as_plain(found), "measured_on": MEASURED_ON})
        return
    _tell_profile(found)


@prompt.command()
@click.argument("suite", type=click.Path(path_type=Path))
@PROMPT
@SCORE
@MARGIN
@click.option("--drop", multiple=True, metavar="CLAUSE", help="Delete this clause [all neutral and harmful ones].")
@click.option("--out", type=click.Path(path_type=Path), help="Write the shorter prompt here, if it passes.")
@asking_options
@house_options
def trim(
    suite: Path,
    prompt_file: Path | None,
    drop: tuple[str, ...],
    out: Path | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Delete clauses from the prompt, if SUITE shows that the shorter prompt is not worse by the margin.

    Without --drop one half of the cases chooses what is deleted, and the other half must confirm it. Exit code 0 when
    the shorter prompt passed, 1 when it is worse, 3 when the cases cannot say; --out is written only in the first case.
    """
    from watchkeeper.engines.experiments.profiler import Profiler
    from watchkeeper.engines.experiments.trimming import halves
    from watchkeeper.engines.experiments.trimming import trim as trimmed

    loaded, settings = load_asked(suite, config, data)
    require_scorers(loaded)
    margin = margin_of(loaded, chosen)

    async def work(bench: Bench) -> Ruling:
        wanted = _wanted(bench, settings, margin, {**chosen, "no_screening": False})
        if drop:
            text, ask = asked(bench, prompt_file)
            return await trimmed(text, drop, ask, wanted.score, margin)
        choosing, confirming = halves(bench.plan.cases)
        text, ask = asked(bench, prompt_file, choosing)
        found = await Profiler(text, ask, wanted).profile()
        text, confirm = asked(bench, prompt_file, confirming)
        return await trimmed(text, found.named("neutral", "harmful"), confirm, wanted.score, margin)

    ruling = on_bench(loaded, settings, chosen, work)
    if out is not None and ruling.prompt is not None:
        try:
            out.write_text(ruling.prompt, encoding="utf-8")
        except OSError as error:
            raise Failure(f"{out} cannot be written: {error.strerror}. Name a place that you may write to.") from error
    _tell_ruling(ruling, as_json)


@prompt.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--suite", type=click.Path(path_type=Path), help="The suite that gives the evidence.")
@click.option(
    "--allow-growth", type=click.FloatRange(0), default=0.0, show_default=True, help="Share of tokens without evidence."
)
@SCORE
@MARGIN
@asking_options
@house_options
def gate(
    old: Path,
    new: Path,
    suite: Path | None,
    allow_growth: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Let a new version of a prompt pass, or not: growth must be shown to pay, what went must be shown not to matter.

    OLD and NEW are files. Exit code 0 when it passed, 1 when not, 3 when the suite cannot say.
    """
    from watchkeeper.engines.experiments.trimming import gate as gated

    before, after = read_prompt(old), read_prompt(new)
    if suite is None:
        import asyncio

        _tell_ruling(asyncio.run(gated(before, after, None, None, None, allow_growth)), as_json)
        return
    loaded, settings = load_asked(suite, config, data)
    require_scorers(loaded)
    margin = margin_of(loaded, chosen)

    async def work(bench: Bench) -> Ruling:
        wanted = _wanted(bench, settings, margin, {**chosen, "no_screening": False})
        _, ask = asked(bench, new)
        return await gated(before, after, ask, wanted.score, margin, allow_growth)

    _tell_ruling(on_bench(loaded, settings, chosen, work), as_json)


def read_prompt(file: Path) -> str:
    """The text of a prompt; raises `Failure`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file}: cannot be read ({error}). Name a UTF-8 text file with the prompt.", "prompt") from error
    if not text.strip():
        raise Failure(f"{file}: holds no words. Name a file with the prompt.", "prompt")
    return text


def asked(bench: Bench, prompt_file: Path | None, cases: tuple[Case, ...] | None = None) -> tuple[str, Ask]:
    """The prompt, and what asks the bench's cases (or some of them) with another one."""
    from watchkeeper.engines.experiments.arms import Answers, prompt_of, with_prompt

    text = read_prompt(prompt_file) if prompt_file is not None else prompt_of(bench.plan.cases)

    async def ask(name: str, changed: str, draw: str) -> Answers:
        return await bench(name, with_prompt(changed), cases=cases, draw=draw)

    return text, ask


def _wanted(bench: Bench, settings: Config, margin: float, chosen: dict[str, Any]) -> Wanted:
    from watchkeeper.engines.experiments.arms import score_of
    from watchkeeper.engines.experiments.profiler import Wanted

    return Wanted(
        score=score_of(bench.plan, chosen["score"]),
        margin=margin,
        screen=not chosen["no_screening"],
        parameters=bench.plan.parameters,
        policies=_policies(settings),
        usd_per_token=usd_per_token(settings, bench.plan.parameters.get("model")),
    )


def _policies(settings: Config) -> tuple[str, ...]:
    from watchkeeper.engines.experiments.profiler import policies_of

    return policies_of([each.use for each in settings.policies if each.mode == "enforce"], bool(settings.redactions))


def margin_of(loaded: Loaded, chosen: dict[str, Any]) -> float:
    """The margin of a command or of its suite; raises `Failure` where neither says."""
    margin = chosen["margin"] or loaded.suite.margin
    if margin is None:
        raise Failure(
            "what does not matter must be said before anything is called neutral: --margin DIFFERENCE, in units of the "
            "score, or `margin` in the suite.",
            "suite",
        )
    return float(margin)


def _tell_profile(found: Profile) -> None:
    changed = found.control.improved + found.control.worsened
    click.echo(
        f"{len(found.clauses)} clauses, about {found.tokens:,.0f} tokens; {found.score} is {found.mean:.3g} over "
        f"{found.cases} cases. Asked again unchanged, {changed} cases changed by chance ({found.control.verdict})."
    )
    rows = [
        (
            each.clause_id,
            each.role if each.alone else f"{each.role} (in a group)",
            interval(each.effect),
            f"{each.adjusted_p_value:.3g}" if each.alone else None,
            round(each.tokens if each.billed is None else each.billed),
            None if each.usd_per_1000_calls is None else f"{each.usd_per_1000_calls:.4g}",
            _kept(each.adherence),
            _short(each.text),
        )
        for each in found.clauses
    ]
    names = ("clause", "verdict", "what it adds (95%)", "p, adjusted", "tokens", "$/1000 calls", "kept", "text")
    print_table(names, rows, "There is no clause in it.")
    _tell_finds(found.finds, {each.clause_id: each.text for each in found.clauses})
    if found.failed:
        click.echo(f"{found.failed} calls failed and have no score; their cases are left out where they did.")
    click.echo(MEASURED_ON)


def _kept(adherence: Any) -> str | None:
    if adherence is None:
        return None
    without = adherence.kept_without
    return f"{adherence.kept.value:.0%}" + ("" if without is None else f", {without.value:.0%} without")


def _tell_finds(finds: Any, texts: dict[str, str]) -> None:
    for find in finds:
        click.echo(f"{find.kind}: {plain(find.sentence)}")
        for name in find.clauses:
            click.echo(f"  {name}  {plain(_short(texts[name]))}")


def _tell_ruling(ruling: Ruling, as_json: bool) -> None:
    """Tell, and end with the exit code."""
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json({**as_plain(ruling), "measured_on": None if ruling.comparison is None else MEASURED_ON})
    else:
        state = {True: "passed", False: "refused", None: "not resolved"}[ruling.passed]
        click.echo(f"{state}: about {ruling.tokens_before:,.0f} to {ruling.tokens_after:,.0f} tokens.")
        for sentence in ruling.sentences:
            click.echo(f"  {sentence[0].upper()}{sentence[1:]}")
        if ruling.dropped:
            click.echo(f"  Clauses left out: {', '.join(ruling.dropped)}")
        if ruling.comparison is not None:
            click.echo(MEASURED_ON)
    codes: dict[bool | None, int] = {True: 0, False: 1, None: UNRESOLVED}
    raise SystemExit(codes[ruling.passed])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
