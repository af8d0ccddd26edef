"""Reads the replies of one version: from a file, of an experiment as they are kept, or from recorded traffic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
        return _of_traffic(door, word, chosen)


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


def _of_traffic(door: Door, word: str, chosen: Mapping[str, Any]) -> list[Told]:
    import msgspec

    from watchkeeper.analysis.behaviour import Told

    asked = {"version": word, "since": chosen["since"], "until": chosen["until"], "limit": chosen["calls"]}
    with _waiting(f"Reading {word}"):
        answer = door.get("/api/v1/replies", asked).json()
    found = msgspec.convert(answer["items"], list[Told])
    if not found:
        raise Failure(
            f"{word} has no reply that can be read: {answer['calls']} answered chat calls since {chosen['since']}. "
            "Widen --since, or see what serves: watchkeeper ask serving",
            "behaviour",
        )
    _tell_lost(word, answer["calls"] - len(found))
    return found


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
def _waiting(what: str) -> Iterator[None]:
    """A sign on a terminal that something is under way; nothing elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) if sys.stderr.isatty() else nullcontext():
        yield
