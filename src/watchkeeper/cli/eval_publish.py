"""Writes a run for other tools: JUnit, SARIF, a step's summary; and the comment under a pull request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watchkeeper.cli.eval_sides import side
from watchkeeper.cli.options import Failure, house_options, print_json

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.gates import Ruled
    from watchkeeper.engines.experiments.results import Outcome
    from watchkeeper.engines.experiments.suite import Loaded
    from watchkeeper.records.manifest import Manifest
    from watchkeeper.records.sheet import Ruling, Sheet

F = TypeVar("F", bound=Callable[..., Any])
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


summary_option = click.option(
    "--summary",
    type=click.Path(path_type=Path),
    help=f"Write a Markdown summary [the file that {STEP_SUMMARY} names, in CI].",
)


def publish_options(command: F) -> F:
    """The options of a command that writes a run for other tools."""
    for option in (
        summary_option,
        click.option("--sarif", type=click.Path(path_type=Path), help="Write what failed as SARIF 2.1.0."),
        click.option("--junit", type=click.Path(path_type=Path), help="Write the cases and gates as JUnit XML."),
    ):
        command = option(command)
    return command


def write_summary(
    wanted: Path | None,
    outcome: Outcome,
    path: str,
    ruled: Sequence[Ruled],
    *,
    scored: bool,
    advice: Sequence[str] = (),
) -> None:
    """Write what gates made of a recorded run as Markdown, where that is wanted or this is a step of CI.

    Without `scored` its scores are not shown; `advice` is what to do, a command a line.
    """
    to, append = _summary_file(wanted)
    if to is None:
        return
    import msgspec

    from watchkeeper.adapters.formats.step_summary import step_summary
    from watchkeeper.engines.experiments.sheets import sheet_of

    shown = outcome if scored else msgspec.structs.replace(outcome, results=(), stopped=False)
    text = step_summary(sheet_of(shown, path, (), {}, _rulings(ruled)))
    if advice:
        text += "\n".join(["", "For scores that are about what serves:", "", "```", *advice, "```", ""])
    _write(to, text.encode(), append=append)


def _summary_file(wanted: Path | None) -> tuple[Path | None, bool]:
    """Where the summary goes, and whether it is added to what is there."""
    if wanted is not None:
        return wanted, False
    named = os.environ.get(STEP_SUMMARY)
    return (Path(named), True) if named else (None, False)


def _rulings(ruled: Sequence[Ruled]) -> tuple[Ruling, ...]:
    from watchkeeper.records.sheet import Ruling

    return tuple(Ruling(gate=each.gate, passed=each.passed, sentence=each.sentence) for each in ruled)


def publish(outcome: Outcome, loaded: Loaded, ruled: Sequence[Ruled], chosen: dict[str, Any]) -> None:
    """Write what was asked for; in CI the step's summary too. Raises `Failure` where a file cannot be written."""
    summary, append = _summary_file(chosen["summary"])
    if chosen["junit"] is None and chosen["sarif"] is None and summary is None:
        return
    from watchkeeper import __version__
    from watchkeeper.adapters.formats.junit import junit
    from watchkeeper.adapters.formats.sarif import sarif
    from watchkeeper.adapters.formats.step_summary import step_summary
    from watchkeeper.engines.experiments.sheets import sheet_of

    sheet = sheet_of(outcome, loaded.path.as_posix(), loaded.cases, loaded.suite.bars, _rulings(ruled))
    if chosen["junit"] is not None:
        _write(chosen["junit"], junit(sheet))
    if chosen["sarif"] is not None:
        _write(chosen["sarif"], sarif(sheet, __version__))
    if summary is not None:
        _write(summary, step_summary(sheet).encode(), append=append)


def _write(path: Path, data: bytes, append: bool = False) -> None:
    try:
        with path.open("ab" if append else "wb") as file:
            file.write(data)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. The run is recorded all the same.") from error


@click.command()
@click.argument("a", metavar="BASELINE")
@click.argument("b", metavar="RUN")
@click.option("--margin", type=float, help="The difference that does not matter, in units of the score.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the comment to a file instead of printing it.")
@house_options
def comment(
    a: str, b: str, margin: float | None, out: Path | None, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Write the comment for a pull request: what differs between BASELINE and RUN, and the verdicts case by case.

    Each is an experiment's id, or a file that `eval run --out` wrote, whose compositions are known where its run is in
    the record. Exit code 1 when a score is worse in RUN.
    """
    from watchkeeper.adapters.formats.step_summary import step_summary
    from watchkeeper.engines.experiments.compare import NotComparable, compare_sides
    from watchkeeper.engines.experiments.sheets import changes_of, verdicts_of
    from watchkeeper.records.sheet import Sheet

    before, after = side(a, config, data), side(b, config, data)
    try:
        compared = compare_sides(before, after, margin)
    except (NotComparable, ValueError) as error:
        raise Failure(str(error), "not_comparable") from error
    known = _experiments((a, b), config, data)
    composed = [known.get(word, {}).get("manifest") for word in (a, b)]
    sheet = Sheet(
        suite=known[b]["suite"] if b in known else Path(b).stem,
        target=known[b]["target"] if b in known else b,
        experiment_id=b,
        path=b,
        at_ns=0,
        lines=(),
        verdicts=verdicts_of(compared, before, after),
        baseline=a,
        changes=changes_of(*manifests(composed, config, data)),
    )
    _tell(sheet, step_summary(sheet), out, as_json)
    raise SystemExit(int(any(each.comparison.verdict == "worse" for each in compared)))


def _tell(sheet: Sheet, text: str, out: Path | None, as_json: bool) -> None:
    if out is not None:
        _write(out, text.encode())
    if as_json:
        from watchkeeper.queries.registry import as_plain

        told = as_plain({"verdicts": sheet.verdicts, "changes": sheet.changes, "baseline": sheet.baseline})
        print_json({"schema": "watchkeeper.eval.comment/1", **told, "markdown": text})
    elif out is None:
        click.echo(text, nl=False)


def _experiments(words: Sequence[str], config: Path | None, data: str | None) -> dict[str, dict[str, Any]]:
    """The recorded experiments behind the words, ids or files, as far as they are known here."""
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.recorder.home import HomeError

    runs = {word: _run_in(word) for word in words}
    try:
        with open_door(config, data) as door:
            found = {
                word: door.ask("experiments", {"experiment_id": run})["items"] for word, run in runs.items() if run
            }
    except HomeError:
        return {}  # two files are compared, and there is no record here
    return {word: rows[0] for word, rows in found.items() if rows}


def _run_in(word: str) -> str | None:
    """The experiment that a word names, or whose results a file holds; None for another's log."""
    from watchkeeper.cli.eval_logs import is_log
    from watchkeeper.engines.experiments.results import read_results

    if not Path(word).is_file():
        return word
    return None if is_log(Path(word)) else read_results(Path(word))[0].experiment_id


def manifests(digests: Sequence[str | None], config: Path | None, data: str | None) -> list[Manifest | None]:
    """The compositions of some digests as the record knows them, None where it does not."""
    from watchkeeper.cli.door import open_door
    from watchkeeper.records.manifest import Manifest

    if not any(digests):
        return [None for _ in digests]
    found: list[Manifest | None] = []
    with open_door(config, data) as door:
        for digest in digests:
            items = door.ask("manifests", {"digest": digest})["items"] if digest else []
            found.append(Manifest(digest=str(digest), components=items[0]["components"]) if items else None)
    return found
