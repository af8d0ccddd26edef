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
        click.option("--cap-usd", type=click.FloatRange(0), help="Stop before more than this could be spent."),
        click.option(
            "--retries", type=click.IntRange(0, 20), default=2, show_default=True, help="Tries after a first failure."
        ),
        click.option(
            "--tokens-per-minute", type=click.FloatRange(0, min_open=True), help="Use no more tokens than this."
        ),
        click.option("--requests-per-minute", type=click.FloatRange(0, min_open=True), help="Ask no faster than this."),
        click.option(
            "--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls at a time."
        ),
        click.option("--model", help="Ask this model instead of the suite's own."),
        click.option("--target", metavar="URL", help="Ask this endpoint instead of the suite's own."),
    ):
        command = option(command)
    return command
