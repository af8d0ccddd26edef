"""The command that searches what was recorded for a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door

SLICE_S = 3.0
_COUNTED = ("segments", "searched_bytes", "spared_bytes", "unindexed_segments", "erased", "sealed")


@click.command()
@click.argument("text")
@click.option("--since", default="24h", show_default=True, help="From this moment on: an age, a date, or unix ns.")
@click.option("--until", help="Before this moment.")
@click.option("--service", help="Only this service.")
@click.option("--model", help="Only this model.")
@click.option("--session", help="Only this session.")
@click.option("--user", help="Only this user.")
@click.option("--status", help="Only spans that ended like this: ok, error, denied.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="End with this many hits.")
@click.option(
    "--deadline", "deadline_s", type=float, default=60.0, show_default=True, help="End after this many seconds."
)
@house_options
def search(
    text: str,
    limit: int,
    deadline_s: float,
    data: str | None,
    config: Path | None,
    as_json: bool,
    **narrowed: str | None,
) -> None:
    """Find TEXT in requests, replies, tool calls and exports, newest first, letter case aside.

    Says how many bytes it searched and what it could not read. What was found until then is shown when the time runs
    out or at Ctrl-C. To look for calls by their fields, use `watchkeeper ask spans`; it is far quicker.
    """
    from watchkeeper.cli.door import open_door

    gathered = Gathered(limit)
    with open_door(config, data) as door:
        try:
            _look(door, gathered, {"text": text, **narrowed}, deadline_s, shown=not as_json)
        except KeyboardInterrupt:
            gathered.coverage["stopped"] = "interrupted"
    answer = gathered.answer(text)
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if answer["coverage"]["stopped"] == "interrupted":
        raise click.exceptions.Exit(130)


class Gathered:
    """What the parts of one search found together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.coverage: dict[str, Any] = {
            **dict.fromkeys(_COUNTED, 0),
            "damaged": [],
            "stopped": "",
            "remaining_segments": 0,
        }
        self.after: str | None = None

    def add(self, part: dict[str, Any]) -> None:
        """Add the answer of one part."""
        for item in part["items"]:
            key = (item["trace_id"], item["span_id"])
            if key not in self.items or self.items[key]["revision"] < item["revision"]:
                self.items[key] = item
        told = part["coverage"]
        for name in _COUNTED:
            self.coverage[name] += told[name]
        self.coverage["damaged"] += told["damaged"]
        self.coverage |= {name: told[name] for name in ("stopped", "remaining_segments", "segments_in_range")}
        self.after = part["after"]

    @property
    def enough(self) -> bool:
        """Whether nothing more is to be looked for."""
        return self.after is None or len(self.items) >= self.limit

    def answer(self, text: str) -> dict[str, Any]:
        """Everything, newest first."""
        newest = sorted(self.items.values(), key=lambda item: (-item["start_ns"], item["span_id"]))
        if self.after is not None and len(self.items) >= self.limit:
            self.coverage["stopped"] = "limit"
        return {
            "text": text, "items": newest[: self.limit], "coverage": self.coverage, "after": self.after,
            "complete": self.after is None and not self.coverage["stopped"],
        }  # fmt: skip


def _look(door: Door, gathered: Gathered, asked: dict[str, Any], deadline_s: float, shown: bool) -> None:
    """Ask for slices of the work, so that progress is seen and Ctrl-C is heard."""
    import time

    if deadline_s <= 0:
        raise Failure(f"--deadline is {deadline_s:g}; expected a number of seconds above 0.")
    ends = time.monotonic() + deadline_s
    bar = click.progressbar(length=1, label="Searching", file=sys.stderr, hidden=not (shown and sys.stderr.isatty()))
    with bar:
        while True:
            left = max(0.05, min(SLICE_S, ends - time.monotonic()))
            wanted = {**asked, "limit": gathered.limit, "deadline": f"{left:.2f}", "after": gathered.after}
            gathered.add(door.get("/api/v1/search", wanted).json())
            done = gathered.coverage["segments"]
            bar.length = max(done + gathered.coverage["remaining_segments"], 1)
            bar.update(done - bar.pos)
            if gathered.enough or time.monotonic() >= ends:
                return


def _show(answer: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    for item in answer["items"]:
        moment = datetime.fromtimestamp(item["start_ns"] // 1_000_000_000, UTC)
        head = " ".join(str(each) for each in (item["name"], item["status"], item["service"] or "") if each)
        click.echo(f"{moment:%Y-%m-%d %H:%M:%S}  {plain(head)}  trace {item['trace_id']} span {item['span_id']}")
        match = click.style(plain(item["match"]), bold=True, reverse=True)
        click.echo(f"    {item['where']}: …{plain(item['before'])}{match}{plain(item['after'])}…")
    if not answer["items"]:
        click.echo("Not found.")
    for line in told(answer["coverage"]):
        click.echo(line, err=True)


def told(coverage: dict[str, Any]) -> list[str]:
    """What a search looked at and what it did not, in sentences."""
    from watchkeeper.server.views.found import coverage_lines

    if coverage["stopped"] == "interrupted":
        return [f"Stopped by Ctrl-C; {coverage['searched_bytes'] / 1e6:,.1f} MB were searched until then."]
    import msgspec

    from watchkeeper.engines.recorder.search import Coverage

    return coverage_lines(msgspec.convert(coverage, Coverage))
