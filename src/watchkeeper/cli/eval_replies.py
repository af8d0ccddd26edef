"""Reads the replies of one version: from a file, of an experiment as they are kept, or from recorded traffic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.analysis.behaviour import Told
    from watchkeeper.cli.door import Door
    from watchkeeper.queries.versions import Version
    from watchkeeper.records.score import Score

F = TypeVar("F", bound=Callable[..., Any])


def traffic_options(command: F) -> F:
    """--since, --until and --calls, for versions in recorded traffic."""
    for option in (
        click.option(
            "--calls",
            type=click.IntRange(1, 20_000),
            default=500,
            show_default=True,
            help="Of recorded traffic at most so many of the last calls, a side.",
        ),
        click.option("--until", help="Of recorded traffic, calls before this moment; now when not given."),
        click.option("--since", default="30d", show_default=True, help="Of recorded traffic, calls from then on."),
    ):
        command = option(command)
    return command


def replies_of(word: str, config: Path | None, data: str | None, chosen: Mapping[str, Any]) -> list[Told]:
    """The replies that a word names; `chosen` are the `traffic_options`. Raises `Failure` and `TableError`."""
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.behaviours import read_replies
    from watchkeeper.queries.versions import is_version

    if Path(word).is_file() or not (is_version(word) or word.startswith("exp_")):
        return read_replies(Path(word))
    with open_door(config, data) as door:
        door.flush()
        if word.startswith("exp_"):
            return _of_experiment(door, word, config, data)
        return _of_traffic(door, find_version(door, word), chosen)


def find_version(door: Door, word: str) -> Version:
    """The version of recorded traffic that a word names; raises `Failure`."""
    from watchkeeper.queries.versions import version_of

    known = door.ask("manifests", {"limit": 100_000})["items"] if word.startswith("manifest:") else ()
    try:
        return version_of(word, (each["digest"] for each in known))
    except ValueError as error:
        raise Failure(f"{error}.", "behaviour") from error


def pages(door: Door, question: str, asked: Mapping[str, Any], page: int = 10_000) -> Iterator[dict[str, Any]]:
    """All items of a question, page after page."""
    cursor = 0
    while True:
        items = door.ask(question, {**asked, "limit": page, "cursor": cursor})["items"]
        yield from items
        cursor += len(items)
        if len(items) < page:
            return


def _of_traffic(door: Door, version: Version, chosen: Mapping[str, Any]) -> list[Told]:
    from watchkeeper.queries.replies import told_of

    asked = {**version.filters, "operation": "chat", "since": chosen["since"], "until": chosen["until"]}
    rows = door.ask("spans", {**asked, "limit": chosen["calls"]})["items"]
    rows = [row for row in reversed(rows) if row["status"] in ("ok", "unset")]
    with _bar(version.word, len(rows)) as advance:
        found = []
        for row in rows:
            told = told_of(_replied(door, row))
            found += [] if told is None else [told]
            advance()
    if not found:
        raise Failure(
            f"{version.word} has no reply that can be read: {len(rows)} answered chat calls since {chosen['since']}. "
            "Widen --since, or see what serves: watchkeeper ask serving",
            "behaviour",
        )
    _tell_lost(version.word, len(rows) - len(found))
    return found


def _replied(door: Door, row: Mapping[str, Any]) -> Any:
    import msgspec

    from watchkeeper.queries.replies import Replied, Said, followed
    from watchkeeper.records.span import Span

    trace, span = quote(row["trace_id"], safe=""), quote(row["span_id"], safe="")
    reply = door.get(f"/api/v1/spans/{trace}/{span}")
    if reply.status != 200:
        indexed = Span(trace_id=row["trace_id"], span_id=row["span_id"], start_ns=row["start_ns"], name=row["name"])
        return Replied(indexed, None, ())
    detail = reply.json()
    spoken = detail["conversation"]["output"]
    whole = msgspec.convert(detail["span"], Span)
    said = Said(
        text="".join(each.get("text") or "" for each in spoken),
        tools=tuple(call["name"] for each in spoken for call in each.get("tool_calls") or ()),
    )
    steps = followed(whole.span_id, door.ask("trace", {"trace_id": whole.trace_id})["items"])
    kept = bool(spoken) and whole.duplicate_of is None
    return Replied(whole, said if kept else None, steps)


def _of_experiment(door: Door, word: str, config: Path | None, data: str | None) -> list[Told]:
    import msgspec

    from watchkeeper.compose.asking import ANSWERS, cache_of
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.behaviours import kept_reply
    from watchkeeper.records.score import Score

    scores: dict[tuple[str, Any], Score] = {}
    for row in pages(door, "scores", {"experiment_id": word}):
        score = msgspec.convert({name: value for name, value in row.items() if value is not None}, Score)
        scores.setdefault((score.subject_id, score.attributes.get("repeat")), score)
    answered = [each for _, each in sorted(scores.items()) if "error" not in each.attributes]
    if not answered:
        raise Failure(f"there is no experiment {word!r} with answers. List them: watchkeeper eval list", "behaviour")
    folder = load(config, data=data).data
    cache = cache_of(folder) if (folder / ANSWERS).exists() else None
    try:
        told = [kept_reply(each, None if cache is None else cache.get) for each in answered]
    finally:
        if cache is not None:
            cache.close()
    found = [each for each in told if each is not None]
    if not found:
        raise Failure(
            f"none of the {len(answered)} answers of {word} is kept whole any more. Run the suite again, and not with "
            "--no-cache; or compare files of --out.",
            "behaviour",
        )
    _tell_lost(word, len(answered) - len(found))
    return found


def _tell_lost(word: str, lost: int) -> None:
    if lost:
        click.echo(f"{word}: {lost} replies are not kept, or not kept whole, and are left out.", err=True)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[], object]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(f"Reading {what}", total=total)
        yield lambda: bar.advance(task)
