"""The command that asks: every named question of the registry, with its parameters as options."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, print_json, print_table
from watchkeeper.queries.timespan import FAR_NS

if TYPE_CHECKING:
    from watchkeeper.queries.registry import Parameter

WAIT = "5s"
"""How long a question waits for the index to take what was recorded before it was asked."""
HELP_WORDS = ("help", "?")
FIRST = (
    "bucket", "incident_id", "experiment_id", "trace_id", "span_id", "start_ns", "at_ns", "duration_ns", "name",
    "model", "models", "status", "verdict", "policy", "reason", "session", "cost_usd", "calls", "errors", "denied",
    "input_tokens", "output_tokens", "run", "agent", "user", "sentence", "preview",
)  # fmt: skip
_MOMENT_NS = 10**17
"""Nanoseconds from here on are a moment since 1970, below it (three years) a length of time."""


@click.command(add_help_option=False)
@click.argument("question", required=False)
@click.argument("parameters", nargs=-1)
@click.option("-h", "--help", "wants_help", is_flag=True, help="Show this; after a QUESTION, show its parameters.")
@house_options
@click.pass_context
def ask(
    context: click.Context,
    question: str | None,
    parameters: tuple[str, ...],
    wants_help: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Ask the record a named QUESTION, with PARAMETERS written name=value.

    Without a question, lists them all; `watchkeeper ask QUESTION help` lists the parameters of one. On a terminal,
    times are UTC, lengths are milliseconds, and texts are cut to fit; in a pipe every value is whole, between tabs,
    with times and lengths in nanoseconds. Example: watchkeeper ask traces since=1h model=gpt-4o limit=20
    """
    if question is None:
        if wants_help:
            click.echo(context.get_help())
        else:
            _list(as_json)
        return
    if wants_help or any(word in HELP_WORDS for word in parameters):
        _explain(question, as_json)
        return
    from watchkeeper.cli.door import open_door

    pairs = [_pair(word) for word in parameters]
    with open_door(config, data) as door:
        behind = door.flush(WAIT).get("behind")
        answer = door.ask(question, dict(pairs))
    if behind:
        click.echo(f"The last moments are not in this answer yet. {behind}", err=True)
    if as_json:
        print_json(answer)
    else:
        _show(answer)


def _pair(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found or not name:
        raise Failure(
            f"{word!r} is not name=value; write for example since=1h. "
            "Which parameters there are: watchkeeper ask QUESTION help"
        )
    return name.replace("-", "_"), value


def _show(answer: Any) -> None:
    items: Sequence[Mapping[str, Any]] = answer["items"]
    columns = [
        name for name in (items[0] if items else ()) if any(row.get(name) not in (None, [], {}) for row in items)
    ]
    if not sys.stdout.isatty():
        print_table(columns, [[whole(row.get(name)) for name in columns] for row in items], "Nothing found.")
        return
    columns = in_order(columns)
    headings = {name: _heading(name, [row.get(name) for row in items]) for name in columns}
    rows = [[readable(row.get(name), headings[name][1]) for name in columns] for row in items]
    print_table([headings[name][0] for name in columns], rows, "Nothing found.", cut=True)


def in_order(columns: Sequence[str]) -> list[str]:
    """The columns as a terminal shows them, what is looked for most to the left; an end where a length says it too."""
    shown = [name for name in columns if name != "end_ns" or "duration_ns" not in columns]
    return sorted(shown, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _heading(name: str, values: Sequence[Any]) -> tuple[str, str]:
    """A column's heading, and as what its values are read: moment, length, money or plain."""
    said = name.removesuffix("_ns").replace("_", " ")
    known = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if name == "bucket" or (name.endswith("_ns") and known and min(known) >= _MOMENT_NS):
        return f"{said} (UTC)", "moment"
    if name.endswith("_ns"):
        return f"{said} (ms)", "length"
    return (said, "money") if name.endswith("_usd") else (said, "plain")


def readable(value: Any, reading: str) -> str | None:
    """A value as a terminal shows it; None where it is unknown."""
    if value is None:
        return None
    if reading == "moment":
        return f"{datetime.fromtimestamp(int(value) // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"
    if reading == "length":
        return f"{value / 1e6:,.1f}"
    if reading == "money":
        return f"{value:.6f}".rstrip("0").rstrip(".") if value == 0 or abs(value) >= 1e-6 else f"{value:.3g}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return " ".join(str(whole(value)).split())


def whole(value: Any) -> Any:
    """A value without loss: what is nested as JSON, a number to its last digit."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | dict):
        import msgspec

        return msgspec.json.encode(value).decode()
    return value


def _list(as_json: bool) -> None:
    from watchkeeper.queries.registry import QUESTIONS

    rows = [(name, _summary(kind)) for name, kind in sorted(QUESTIONS.items())]
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
    else:
        print_table(("question", "what it answers"), rows, "There are no questions.")


def _explain(question: str, as_json: bool) -> None:
    from watchkeeper.queries.registry import QUESTIONS, as_plain, parameters

    kind = QUESTIONS.get(question)
    if kind is None:
        raise Failure(f"there is no question {question!r}; the questions are {', '.join(sorted(QUESTIONS))}.")
    found = parameters(kind)
    if as_json:
        print_json({"name": question, "summary": _summary(kind), "parameters": as_plain(found)})
        return
    click.echo(f"{question}: {_summary(kind)}")
    rows = [(each.name, each.takes, _default(each), each.doc) for each in found]
    print_table(("parameter", "takes", "default", "meaning"), rows, "It takes no parameters.")


def _default(parameter: Parameter) -> str | None:
    if parameter.required:
        return "required"
    if parameter.default is None or (parameter.name, parameter.default) in (("since", 0), ("until", FAR_NS)):
        return None
    return str(parameter.default)


def _summary(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
