"""How a suite is asked: the options that its commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def asking_options(command: F) -> F:
    """--target, --model, how fast to ask, --cap-usd and --no-cache."""
    for option in (
        click.option("--no-cache", is_flag=True, help="Ask everything anew, and keep no answers."),
        *_pace(concurrency=8, retries=2),
        click.option("--model", help="Ask this model instead of the suite's own."),
        click.option("--target", metavar="URL", help="Ask this endpoint instead of the suite's own."),
    ):
        command = option(command)
    return command


def pace_options(command: F) -> F:
    """How fast to ask and --cap-usd; what is not given is None."""
    for option in _pace(concurrency=None, retries=None):
        command = option(command)
    return command


def _pace(concurrency: int | None, retries: int | None) -> tuple[Callable[[Any], Any], ...]:
    return (
        click.option("--cap-usd", type=click.FloatRange(0), help="Stop before more than this could be spent."),
        click.option(
            "--retries",
            type=click.IntRange(0, 20),
            default=retries,
            show_default=retries is not None,
            help="Tries after a first failure.",
        ),
        click.option(
            "--tokens-per-minute", type=click.FloatRange(0, min_open=True), help="Use no more tokens than this."
        ),
        click.option("--requests-per-minute", type=click.FloatRange(0, min_open=True), help="Ask no faster than this."),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 256),
            default=concurrency,
            show_default=concurrency is not None,
            help="Calls at a time.",
        ),
    )


def gate_options(command: F) -> F:
    """What a run must show: --against with --require and --margin, and --at-least."""
    for option in (
        click.option("--margin", type=float, help="The difference that does not matter, in units of the score."),
        click.option("--at-least", multiple=True, metavar="SCORE=VALUE", help="Gate on a score's mean."),
        click.option(
            "--require",
            type=click.Choice(["not-worse", "non-inferior", "equivalent", "better"]),
            default="not-worse",
            show_default=True,
            help="What the verdict against the baseline must be.",
        ),
        click.option("--against", metavar="RUN", help="Gate against a baseline: an experiment's id or a file."),
    ):
        command = option(command)
    return command
