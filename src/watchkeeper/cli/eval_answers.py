"""The command about the answers that evals have kept."""

from __future__ import annotations

import time
from pathlib import Path

import click

from watchkeeper.cli.options import Failure, house_options, print_json


@click.command()
@click.option("--forget", is_flag=True, help="Take them away, so that everything is asked anew.")
@click.option("--older-than", metavar="SPAN", help="With --forget: only those kept longer ago than this, such as 7d.")
@house_options
def answers(forget: bool, older_than: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Say how many answers evals have kept in the data directory and which runs can go on, or take them away.

    They are models' words in the clear, readable by their owner alone. Where the record is encrypted none are kept, and
    whoever is erased takes all of them along.
    """
    from watchkeeper.compose.asking import ANSWERS, RUNS, cache_of
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.run_file import forget_runs, runs_left
    from watchkeeper.queries.timespan import parse_span

    if older_than is not None and not forget:
        raise Failure("--older-than goes with --forget.")
    try:
        before = None if older_than is None else time.time_ns() - parse_span(older_than)
    except ValueError as error:
        raise Failure(f"--older-than: {error}.") from error
    folder = load(config, data=data).data
    count = size = forgotten = 0
    runs_gone = forget_runs(folder / RUNS, before) if forget else 0
    runs = len(runs_left(folder / RUNS))
    if (folder / ANSWERS).exists():
        kept = cache_of(folder)
        try:
            forgotten = kept.forget(before) if forget else 0
            count, size = kept.counts()
        finally:
            kept.close()
    if as_json:
        print_json({"answers": count, "bytes": size, "forgotten": forgotten, "runs": runs, "runs_forgotten": runs_gone})
        return
    if forget:
        click.echo(f"Forgot {forgotten} answers, and {runs_gone} runs that could have gone on.")
    click.echo(f"{count} answers are kept, {size:,} bytes; {runs} runs can go on (watchkeeper eval resume).")
