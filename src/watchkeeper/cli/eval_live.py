"""Gives a suite what serves: system prompt, tools, parameters and model of the gateway's newest live composition."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.config import Config
    from watchkeeper.engines.experiments.suite import Live, Loaded
    from watchkeeper.records.case import Case

TRIED = 20
_SYSTEM = ("system", "developer")
_NOT_SENT = frozenset(
    {"messages", "model", "metadata", "user", "safety_identifier", "stream", "stream_options", "store"}
)


def with_live(loaded: Loaded, settings: Config) -> Loaded:
    """The suite with the target and the system prompts of what serves; as it is where it does not ask for that.

    Raises `Failure` where nothing serves, or no request of it can be read any more.
    """
    target = loaded.suite.target
    if target is None or target.live is None:
        return loaded
    import msgspec

    from watchkeeper.cli.door import Door
    from watchkeeper.engines.experiments.suite import Target

    with Door(settings) as door:
        door.flush()
        row, others = _newest(door, target.live)
        request = _request(door, row, target.live)
        url = target.base_url or _own_url(door)
    system = _opening(request["messages"])
    parameters = {name: value for name, value in request.items() if name not in _NOT_SENT}
    live = Target(
        model=target.model or request["model"],
        base_url=url,
        parameters=parameters | target.parameters,
        api_key=target.api_key,
        timeout_s=target.timeout_s,
    )
    cases = tuple(_under(case, system) for case in loaded.cases)
    _tell(row, others, replaced=sum(_opening(json.loads(case.messages)) not in ([], system) for case in loaded.cases))
    return msgspec.structs.replace(loaded, suite=msgspec.structs.replace(loaded.suite, target=live), cases=cases)


def _newest(door: Door, live: Live) -> tuple[dict[str, Any], int]:
    """The composition that answered last, and how many others answered."""
    asked = {"since": live.since, "model": live.model, "agent": live.agent, "service": live.service}
    rows = door.ask("serving", asked)["items"]
    if not rows:
        wanted = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise Failure(
            f"`target.live` found no live call ({wanted}), so it is not known what serves. Widen `since`, ask for "
            "another agent or service, or name the gateway's data directory with --data.",
            "suite",
        )
    newest = max(rows, key=lambda row: int(row["last_ns"]))
    return newest, len({row["manifest"] for row in rows} - {newest["manifest"]})


def _request(door: Door, row: dict[str, Any], live: Live) -> dict[str, Any]:
    """A chat request of a composition, as it was sent."""
    asked = {"manifest": row["manifest"], "since": live.since, "agent": live.agent, "service": live.service}
    spans = door.ask("spans", asked | {"limit": TRIED})["items"]
    for span in spans:
        reply = door.get(f"/api/v1/spans/{quote(span['span_id'], safe='')}/request", {"trace": span["trace_id"]})
        try:
            request = json.loads(reply.body) if reply.status == 200 else None
        except ValueError:
            continue
        if isinstance(request, dict) and isinstance(request.get("messages"), list) and "system" not in request:
            return request
    raise Failure(
        f"`target.live`: the composition {row['manifest'][:12]} answered last, and none of its {len(spans)} newest "
        "requests can be read as a chat (they were thinned or erased, or are of another interface). Write the target "
        "out instead.",
        "suite",
    )


def _own_url(door: Door) -> str:
    """The gateway that serves the data directory."""
    holder = door.home.holder()
    if holder is None or holder.address is None:
        raise Failure(
            "`target.live` asks the gateway, and no server runs on this data directory. Start it (watchkeeper serve), "
            "or name the gateway in `target.base_url`.",
            "suite",
        )
    host, _, port = holder.address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{host}:{port}/v1"


def _opening(messages: list[Any]) -> list[Any]:
    """The system messages that open a conversation."""
    found: list[Any] = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _SYSTEM:
            break
        found.append(message)
    return found


def _under(case: Case, system: list[Any]) -> Case:
    """A case under other system prompts than its own."""
    import msgspec

    messages = json.loads(case.messages)
    said = messages[len(_opening(messages)) :]
    return msgspec.structs.replace(case, messages=json.dumps([*system, *said], ensure_ascii=False))


def _tell(row: dict[str, Any], others: int, replaced: int) -> None:
    last = datetime.fromtimestamp(int(row["last_ns"]) / 1e9, UTC)
    said = (
        f"Live: composition {row['manifest'][:12]} (model {row['request_model']}), {row['calls']} calls, the last at "
        f"{last:%Y-%m-%d %H:%M:%S} UTC"
    )
    if others:
        said += f"; {others} other{'s'[: others > 1]} answered before, see: watchkeeper ask serving"
    if replaced:
        said += f"; its system prompt replaces that of {replaced} cases"
    click.echo(said + ".", err=True)
