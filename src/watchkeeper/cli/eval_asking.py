"""What the commands share that ask a suite in several ways: their options, and a bench that is opened and closed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from watchkeeper.cli.eval_live import with_live
from watchkeeper.cli.eval_run import STOPPED, UNRESOLVED, asker_for, eval_writer, plan_of, run_loop
from watchkeeper.cli.eval_sources import sources_of
from watchkeeper.cli.eval_telling import LINES_EVERY_S
from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.arms import Bench
    from watchkeeper.engines.experiments.asking import Asker
    from watchkeeper.engines.experiments.results import Result
    from watchkeeper.engines.experiments.runner import Plan
    from watchkeeper.engines.experiments.suite import Loaded

T = TypeVar("T")
MEASURED_ON = (
    "These figures hold for the cases, the model and the day on which they were asked. Where the target was the lab "
    "provider or a program, or answers were kept from before, they tell of that and of no model."
)


def load_asked(suite: Path, config: Path | None, data: str | None, live: bool = True) -> tuple[Loaded, Config]:
    """A suite, with what serves where its target is that, and the settings of a command; raises `Failure`.

    Without `live` its target stays as it is written: for its cases alone, or because another's is asked.
    """
    from watchkeeper.config import load
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite

    settings = load(config, data=data)
    try:
        loaded = load_suite(suite, sources_of(config, data))
        return (with_live(loaded, settings) if live else loaded), settings
    except SuiteError as error:
        raise Failure(str(error), "suite") from error


def on_bench(
    loaded: Loaded,
    settings: Config,
    chosen: dict[str, Any],
    work: Callable[[Bench], Awaitable[T]],
    record: bool = False,
) -> T:
    """Do some work on a bench of the suite; raises `Failure`, and `SystemExit` where it did not come to its end.

    With `record` runs that are to be kept are written to the journal. Ctrl-C ends the asking and keeps what came.
    """
    from watchkeeper.engines.experiments.arms import Unfinished
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.recorder.journal import JournalFull

    writer = _writer(settings) if record else None
    try:
        done: T = run_loop(_worked(loaded, settings, chosen, work, None if writer is None else writer.append))
        return done
    except Unfinished as unfinished:
        click.echo(f"watchkeeper: {unfinished}", err=True)
        raise SystemExit(STOPPED if unfinished.stopped else UNRESOLVED) from unfinished
    except (SuiteError, ValueError) as error:
        raise Failure(str(error), "suite") from error
    except JournalFull as error:
        told = error.strerror or error
        raise Failure(f"{told}. Free some space and run again; what was recorded so far is kept.") from error
    finally:
        if writer is not None:
            writer.close()


def usd_per_token(settings: Config, model: object) -> float | None:
    """The price of an input token of a model in US dollars; None where it has none."""
    from watchkeeper.compose.asking import price_of
    from watchkeeper.kinds.ports import Completion

    million = 1_000_000
    answer = Completion(
        output=None, calls=None, finish_reason=None, model=str(model), input_tokens=million, output_tokens=0,
        duration_ns=0,
    )  # fmt: skip
    cost = price_of(settings)(answer)
    return None if cost is None else cost / million


def result_price(settings: Config) -> Callable[[Result], float | None]:
    """What an answer cost in US dollars, by the prices of the settings; None where they or its usage do not say."""
    from watchkeeper.compose.asking import price_of
    from watchkeeper.engines.experiments.results import completion_of

    priced = price_of(settings)
    return lambda result: priced(completion_of(result))


def interval(estimate: Any, digits: int = 3) -> str:
    """An estimate as people read it."""
    return f"{estimate.value:+.{digits}g} ({estimate.low:+.{digits}g} to {estimate.high:+.{digits}g})"


async def _worked(
    loaded: Loaded,
    settings: Config,
    chosen: dict[str, Any],
    work: Callable[[Bench], Awaitable[T]],
    record: Callable[[Any], object] | None,
) -> T:
    from watchkeeper.compose.asking import price_of
    from watchkeeper.engines.experiments.arms import Bench

    async with opened(loaded, settings, chosen) as asking:
        price, told = price_of(settings), Told(asking.ask)
        return await work(
            Bench(asking.plan, asking.ask, progress=told, record=record, price=price, stopping=asking.stopping)
        )


class Asking(NamedTuple):
    """A suite whose target and judges can be asked: the plan, the asker, and what Ctrl-C sets.

    What else is opened on `stack` closes with it.
    """

    plan: Plan
    ask: Asker
    stopping: asyncio.Event
    stack: AsyncExitStack


@asynccontextmanager
async def opened(loaded: Loaded, settings: Config, chosen: dict[str, Any]) -> AsyncIterator[Asking]:
    """Open what a suite asks, as the options of asking say. A second Ctrl-C ends the process at once."""
    import signal

    from watchkeeper.compose.judging import attach_judges, kin_warnings

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stopping.set()

    loop.add_signal_handler(signal.SIGINT, stop)
    plan, key = plan_of(loaded, settings, chosen["target"], chosen["model"], chosen["concurrency"])
    async with AsyncExitStack() as stack:
        for warning in kin_warnings(plan):
            click.echo(warning, err=True)
        plan = await attach_judges(plan, stack)
        yield Asking(plan, await asker_for(stack, loaded, plan, key, settings, chosen), stopping, stack)


class Told:
    """Says on standard error how far the asking is: one line that is written over, or now and then a line.

    `what` is what comes, `planned` how many of it are to come, where that is known.
    """

    def __init__(self, ask: Asker, what: str = "answers", planned: int | None = None) -> None:
        self._ask, self._what, self._planned = ask, what, planned
        self._came, self._said_s = 0, time.monotonic()
        self._every_s = 0.2 if sys.stderr.isatty() else LINES_EVERY_S

    def __call__(self, result: object) -> None:
        self._came += 1
        now = time.monotonic()
        if now - self._said_s < self._every_s:
            return
        self._said_s = now
        told = self._ask.told
        of = "" if self._planned is None else f" of {self._planned}"
        line = (
            f"{self._came}{of} {self._what}; {told.asked} questions, {told.kept} of them kept from before, "
            f"{told.failed} failed, ${told.spent_usd:.4g}"
        )
        click.echo(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, err=True, nl=not sys.stderr.isatty())


def _writer(settings: Config) -> Any:
    from watchkeeper.compose.redacting import captured
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.engines.recorder.home import Home

    home = Home(settings.data)
    unlock(settings, home)
    return captured(settings, home, eval_writer(home), "evals")
