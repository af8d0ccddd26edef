"""Reads the replies of a version, for comparing behaviour, and what reads them, from files.

Replies come from what `eval run --out` wrote, what `watchkeeper export --format jsonl` wrote (recorded traffic), or any
JSON lines with `output`. Consumers are declared in a TOML file:

    [[consumers]]
    name = "invoice parser"
    regex = "Total: \\d+"            # or json_path = "order.total", or json = true
    reads = ["format.json"]          # features that it hangs on, as far as one knows
    weight = 3                       # how much it matters; 1 when left out
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.analysis.behaviour import Told
from watchkeeper.analysis.cells import text
from watchkeeper.analysis.consumers import Consumer
from watchkeeper.analysis.shape_features import Reply
from watchkeeper.engines.experiments.rows import Row, TableError, rows_of
from watchkeeper.engines.experiments.runner import KEPT_OUTPUT, said_in
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.score import Score


class ConsumerError(ValueError):
    """A file of consumers cannot be used; the message names the key and the fix."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    consumers: list[Consumer] = []


def read_consumers(path: Path) -> tuple[Consumer, ...]:
    """The consumers of a TOML file; raises `ConsumerError`."""
    try:
        return tuple(msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).consumers)
    except OSError as error:
        raise ConsumerError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeError, msgspec.ValidationError) as error:
        raise ConsumerError(f"{path}: {error}. See the how-to page on behaviour for the form.") from error


def read_replies(path: Path) -> list[Told]:
    """The replies in a file; rows without one (failed calls) are left out. Raises `TableError`."""
    found = [told for _, row in rows_of(path) if (told := _told(row)) is not None]
    if not found:
        raise TableError(
            f"{path} has no reply. Name a file of 'eval run --out' or 'export --format jsonl', or lines with `output`."
        )
    return found


def kept_reply(score: Score, kept: Callable[[str], Completion | None] | None) -> Told | None:
    """The answer that a score of an experiment judged, from the kept answers; None where it is not kept whole.

    An answer that was asked anew since is another one and does not count. What stands with the score serves where the
    answer was short enough to stand there whole.
    """
    noted = score.attributes
    key, _, says = str(noted.get("kept_as") or "").partition(":")
    cluster = str(noted.get("cluster") or score.subject_id)
    found = None if kept is None or not key else kept(key)
    if found is not None and said_in(found) == says:
        reply = Reply(
            text=found.output or "",
            tools=_tools(found.calls) or (),
            output_tokens=found.output_tokens,
            duration_ns=found.duration_ns,
        )
        return Told(reply=reply, cluster=cluster, at_ns=score.event_ns)
    said = noted.get("output")
    if said is None or len(str(said)) >= KEPT_OUTPUT:
        return None
    return Told(reply=Reply(text=str(said)), cluster=cluster, at_ns=score.event_ns)


def _told(row: Row) -> Told | None:
    span = row.get("span")
    return _from_span(span, row.get("messages")) if isinstance(span, dict) else _from_result(row)


def _from_result(row: Row) -> Told | None:
    said = row.get("output")
    if said is None or row.get("error"):
        return None
    return Told(
        reply=Reply(
            text=said if isinstance(said, str) else text(said),
            tools=_tools(row.get("calls")),
            output_tokens=_whole(row.get("output_tokens")),
            duration_ns=_whole(row.get("duration_ns")),
            first_token_ns=_whole(row.get("first_token_ns")),
        ),
        user=text(row.get("user")) or None,
        cluster=text(row.get("cluster")) or text(row.get("session")) or text(row.get("case_id")) or None,
        at_ns=_whole(row.get("at_ns")) or _whole(row.get("start_ns")),
    )


def _from_span(span: Mapping[str, Any], messages: Any) -> Told | None:
    said = messages.get("output") if isinstance(messages, dict) else None
    whole = [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
    texts = [part for each in whole for part in _texts(each.get("content", each.get("parts")))]
    calls = [call for each in whole for call in each.get("tool_calls") or () if isinstance(call, dict)]
    if not texts and not calls:
        return None
    usage, identity = span.get("usage") or {}, span.get("identity") or span
    start, end = _whole(span.get("start_ns")), _whole(span.get("end_ns"))
    return Told(
        reply=Reply(
            text="".join(texts),
            tools=tuple(str((each.get("function") or each).get("name")) for each in calls),
            output_tokens=_whole(usage.get("output_tokens")),
            duration_ns=None if start is None or end is None else end - start,
            first_token_ns=_whole(span.get("first_token_ns")),
        ),
        user=text(identity.get("user")) or None,
        cluster=text(identity.get("session")) or None,
        at_ns=start,
    )


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    found = []
    for part in content if isinstance(content, list) else ():
        said = (part.get("text") or part.get("content")) if isinstance(part, dict) else part
        found += [said] if isinstance(said, str) else []
    return found


def _tools(calls: Any) -> tuple[str, ...] | None:
    import json

    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except ValueError:
            return None
    if not isinstance(calls, list):
        return None
    return tuple(str(each.get("name")) for each in calls if isinstance(each, dict))


def _whole(value: Any) -> int | None:
    try:
        return None if value in (None, "") or isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None
