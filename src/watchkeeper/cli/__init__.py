"""The command line: one lazily loaded group, so that asking for help loads nothing heavy."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "anchor": ("anchor", "Write down where the record stands, and keep that outside."),
    "ask": ("questions", "Ask the record a named question: traces, costs, latency ..."),
    "backup": ("backup", "Copy the data directory while it is in use, and prove the copy."),
    "budget": ("budget", "Show budgets and what was left behind; set caps, reconcile."),
    "demo": ("demo", "Play recorded agents through the gateway, run the drills, say what was found."),
    "doctor": ("doctor", "Check this machine, the settings and the data directory."),
    "drill": ("drill", "List and run drills: scenarios played through the public doors."),
    "effects": ("effects", "List, show and settle what agents did to the world."),
    "erase": ("erase", "Erase a user, session, trace or key for good; the proof stays."),
    "eval": ("evals", "Run suites of cases and compare them, item by item."),
    "export": ("export", "Write spans with their messages to a file: OTLP, JSON lines or Parquet."),
    "fork": ("replay", "Take a recorded step with a change and without, and say what it changes."),
    "evidence": ("evidence", "Check an evidence pack that `report evidence` made."),
    "import": ("importing", "Bring in recorded traffic: chat JSONL, OTLP, Langfuse exports, Inspect logs."),
    "incident": ("incidents", "List, show and work on incidents; export their cases."),
    "init": ("starting", "Write a commented watchkeeper.toml to begin with."),
    "jobs": ("jobs", "Submit, watch, cancel and resume work that takes minutes."),
    "judge": ("judges", "Audit judges that score for you: against gold labels, and in the other order."),
    "key": ("keys", "Add, list, show, change, rotate and revoke keys."),
    "lab": ("lab", "Run the lab provider: a scriptable stand-in that is not a model."),
    "lineage": ("lineage", "Say what an answer rests on, and which answers rest on a document."),
    "people": ("people", "Say who may sign in to the pages, and with which role."),
    "policy": ("policies", "List policies; ask what one would have stopped in recorded traffic."),
    "probe": ("probes", "Ask fixed questions on a schedule; notice a model that answers otherwise."),
    "price": ("price", "Price usage: what it came to, to the last digit, or why that is unknown."),
    "prove": ("prove", "Write a proof of one trace that can be checked anywhere."),
    "rebuild": ("proof", "Build the index anew from the journal."),
    "reconstruct": ("proof", "Give back the byte-identical request of a call."),
    "reload": ("upstreams", "Take upstreams, routes and policies anew, without dropping a call."),
    "replay": ("replay", "Take the steps of a trace again with the recorded tool results."),
    "report": ("reports", "Write a report as one self-contained page."),
    "restore": ("backup", "Make a data directory from a backup; nothing erased comes back."),
    "retention": ("retention", "Say what retention keeps and would take away; do it now."),
    "seal": ("erase", "Show and change the keys of encryption at rest."),
    "runs": ("runs", "See which runs a policy has stopped, and let one go on."),
    "search": ("search", "Find a text in what was said and done."),
    "serve": ("starting", "Start the server: gateway, OTLP door, API and UI."),
    "upstreams": ("upstreams", "Show how each upstream fares: its breaker, calls in flight, and the rate."),
    "verify": ("proof", "Prove that the journal is what was written, or say where it is not."),
}


SECTIONS: dict[str, tuple[str, ...]] = {
    "Begin": ("demo", "doctor", "drill", "init", "lab", "reload", "serve"),
    "Look": (
        "ask",
        "effects",
        "incident",
        "jobs",
        "lineage",
        "price",
        "reconstruct",
        "report",
        "search",
        "upstreams",
    ),
    "Guard and measure": ("budget", "eval", "fork", "judge", "policy", "probe", "replay", "runs"),
    "Bring in, take out": ("export", "import"),
    "Prove": ("anchor", "evidence", "prove", "verify"),
    "Keep and erase": ("backup", "erase", "key", "people", "rebuild", "restore", "retention", "seal"),
}
"""What the help puts together, by what somebody has come to do."""

ALIASES = {"keys": "key"}
"""Other names of commands, which the help does not list."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, without importing any."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, from its module."""
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"watchkeeper.cli.{entry[0]}")
        name = "import_" if cmd_name == "import" else "eval_" if cmd_name == "eval" else cmd_name
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the tables above, put together by what they are for."""
        width = max(len(name) for name in COMMANDS)
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), COMMANDS[name][1]) for name in names])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from watchkeeper import __version__

    click.echo(f"watchkeeper {__version__}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main(**_: Any) -> None:
    """Watchkeeper keeps the watch over AI features and agents in production.

    Start with `watchkeeper demo`, or `watchkeeper init` and `watchkeeper serve`.

    Exit codes: 0, done; 1, done, and the answer is no (a journal that does not hold, a drill that did not, a score
    that is worse); 2, it could not be done, and standard error says why and what to do; 130, stopped by Ctrl-C.
    """
