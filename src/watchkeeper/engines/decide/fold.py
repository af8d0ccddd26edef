"""Reads the tool calls out of a chat history, and folds them into what a run has done so far.

Both are pure. The history of a conversation is sent again with every request, so a step is counted once, by the id of
its call within agent and conversation.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from watchkeeper.analysis.sketch import masked, sketch
from watchkeeper.kinds.facts import RunActivity
from watchkeeper.records.event import ToolStep
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record

KEPT_STEPS = 128
"""How many steps of a run are kept in order: what a policy can see."""

KEPT_CALLS = 2048
"""How many call ids of a run are remembered: how long a history may be before it is counted again."""

UNIQUE_ID_LENGTH = 20
"""From this length on a call id is taken to be unique by itself; providers give random ids of 24 and more."""

REMEMBERED_LENGTH = 2048
"""Up to this length the digests of arguments and results are remembered."""

BY_SPAN = "span:"
"""The start of a call id that stands for a tool call whose provider's id is not known, only its span."""

_sorted = msgspec.json.Encoder(order="sorted")


def steps_of(messages: Any, agent: str | None = None) -> tuple[ToolStep, ...]:
    """The tool calls of an OpenAI-style message list in order, each with the digest of its result where there is one.

    Arguments that are JSON are digested in canonical order, so that white space and the order of keys do not matter;
    broken JSON is digested as stripped text. Calls without an id, and ids that a conversation uses again, are told
    apart by their place. Never raises on what a client sent: what is not shaped like a message is passed over.
    """
    if not isinstance(messages, list):
        return ()
    calls: list[tuple[str, str, str, str]] = []
    waiting: dict[str, list[int]] = {}
    results: dict[int, tuple[str, str]] = {}
    for message in messages:
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        if role == "assistant":
            for raw_id, tool, arguments in _calls(message):
                seen = waiting.setdefault(raw_id, [])
                name = raw_id if raw_id and not seen else f"{raw_id}~{len(seen)}"
                seen.append(len(calls))
                calls.append((name, tool, normal(arguments), sketch_of(arguments)))
        elif role in ("tool", "function"):
            place = _place(message, waiting, results)
            if place is not None:
                results[place] = result_of(message.get("content"))
    return tuple(
        ToolStep(
            agent=agent,
            tool=tool,
            arguments=arguments,
            result=results[i][0] if i in results else None,
            call_id=name,
            sketch=likeness,
            gist=results[i][1] if i in results else "",
        )
        for i, (name, tool, arguments, likeness) in enumerate(calls)
    )


def normal(value: Any) -> str:
    """The digest of a tool call's arguments: text that is JSON, or a JSON value, in canonical form; else its text."""
    return _normal_text(value) if isinstance(value, str) and len(value) <= REMEMBERED_LENGTH else _normal(value)


def _normal(value: Any) -> str:
    try:
        if isinstance(value, str):
            value = msgspec.json.decode(value) if value.strip() else {}
        return digest(_sorted.encode(value))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return digest(str(value).strip().encode("utf-8", "surrogatepass"))


_normal_text = lru_cache(maxsize=2048)(_normal)  # a history is sent again with every turn


def sketch_of(value: Any) -> str:
    """By what other arguments are told to be nearly these; empty for arguments that cannot be read."""
    return _sketch_text(value) if isinstance(value, str) and len(value) <= REMEMBERED_LENGTH else _sketch(value)


def _sketch(value: Any) -> str:
    try:
        if isinstance(value, str):
            value = msgspec.json.decode(value) if value.strip() else {}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = str(value)
    return sketch(value)


_sketch_text = lru_cache(maxsize=2048)(_sketch)


def result_of(content: Any) -> tuple[str, str]:
    """A tool result's digest, and its gist: the digest of its text less what changes by itself, such as times."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if isinstance(content, str):
        return _told_text(content) if len(content) <= REMEMBERED_LENGTH else _told(content)
    plain = normal(content)
    return plain, digest(masked(_as_text(content)).encode("utf-8", "surrogatepass"))


def _told(text: str) -> tuple[str, str]:
    text = text.strip()
    plain = digest(text.encode("utf-8", "surrogatepass"))
    less = masked(text)
    return plain, plain if less == text else digest(less.encode("utf-8", "surrogatepass"))


_told_text = lru_cache(maxsize=2048)(_told)


def _as_text(value: Any) -> str:
    try:
        return _sorted.encode(value).decode()
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return str(value)


def _calls(message: dict[Any, Any]) -> Iterable[tuple[str, str, Any]]:
    raw = message.get("tool_calls")
    for call in raw if isinstance(raw, list) else ():
        if not isinstance(call, dict):
            continue
        body = call.get("function") or call.get("custom")
        if isinstance(body, dict):
            yield _text(call.get("id")), _text(body.get("name")), body.get("arguments", body.get("input", ""))
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        name = _text(legacy.get("name"))
        yield f"function:{name}", name, legacy.get("arguments", "")


def _place(message: dict[Any, Any], waiting: dict[str, list[int]], results: Container[int]) -> int | None:
    """Which call a tool message answers: the oldest unanswered one of its id."""
    call_id = _text(message.get("tool_call_id"))
    if not call_id and message.get("role") == "function":
        call_id = f"function:{_text(message.get('name'))}"
    return next((place for place in waiting.get(call_id, ()) if place not in results), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class RunFold(Record):
    """What a run has done: the last `KEPT_STEPS` steps, the last `KEPT_CALLS` call keys, the count, and when."""

    steps: tuple[ToolStep, ...] = ()
    calls: tuple[str, ...] = ()
    total: int = 0
    at_ns: int = 0

    def activity(self) -> RunActivity:
        """The fold as a policy sees it."""
        return RunActivity(steps=self.steps, total=self.total)


def folded(fold: RunFold, steps: Iterable[ToolStep], conversation: str | None, at_ns: int) -> RunFold:
    """The fold after an event's steps; the same object when they say nothing new.

    A step that was counted before only brings its result, if that was missing: a result that is already known stands,
    for clients shorten old results in the history. A tool call that came in both through the tool itself (known by its
    span) and through the history that was sent on (known by the provider's id) is one.
    """
    kept = list(fold.steps)
    calls = dict.fromkeys(fold.calls)
    pending = {_call(step): place for place, step in enumerate(kept) if step.result is None}
    total, changed = fold.total, False
    for step in steps:
        key = _key(step, conversation)
        if step.call_id and key in calls:
            place = pending.get(_call(step)) if step.result is not None else None
            if place is not None and kept[place].result is None:
                kept[place] = msgspec.structs.replace(kept[place], result=step.result, gist=step.gist)
                changed = True
            continue
        changed = True
        calls[key] = None
        place = _twin(kept, step)
        if place is not None:
            kept[place] = _merged(kept[place], step)
            continue
        total += 1
        kept.append(step)
        if step.result is None:
            pending[_call(step)] = len(kept) - 1
    if not changed:
        return fold
    return RunFold(steps=tuple(kept[-KEPT_STEPS:]), calls=tuple(calls)[-KEPT_CALLS:], total=total, at_ns=at_ns)


def forgiven(fold: RunFold, at_ns: int) -> RunFold:
    """The fold of a run that a person lets go on: its steps count no more, and a history sent again does not either."""
    return msgspec.structs.replace(fold, steps=(), at_ns=at_ns)


class Seen(NamedTuple):
    """What a fold knows, by which it is told at once whether some steps say anything new."""

    calls: frozenset[str]
    pending: frozenset[tuple[str, str, str]]

    def all_of(self, steps: Iterable[ToolStep], conversation: str | None) -> bool:
        """Whether folding these steps in would change nothing."""
        return all(
            step.call_id
            and _key(step, conversation) in self.calls
            and (step.result is None or _call(step) not in self.pending)
            for step in steps
        )


def seen_by(fold: RunFold) -> Seen:
    """What a fold knows."""
    return Seen(frozenset(fold.calls), frozenset(_call(step) for step in fold.steps if step.result is None))


def _key(step: ToolStep, conversation: str | None) -> str:
    """What a call is known by. A provider's long random id needs no help: agents hand one history to one another."""
    where = "" if len(step.call_id) >= UNIQUE_ID_LENGTH else f"{step.agent}\0{conversation}"
    return _name(where, step.call_id, step.tool, step.arguments)


@lru_cache(maxsize=8192)  # a history is sent again with every turn
def _name(*parts: str) -> str:
    return digest("\0".join(parts).encode("utf-8", "surrogatepass"))[:16]


def _call(step: ToolStep) -> tuple[str, str, str]:
    return step.call_id, step.tool, step.arguments


def _twin(kept: list[ToolStep], step: ToolStep) -> int | None:
    """The place of the same tool call as seen through the other door, if it was not matched before."""
    if not step.call_id:
        return None
    by_span = step.call_id.startswith(BY_SPAN)
    for place, other in enumerate(kept):
        if (
            other.arguments == step.arguments
            and other.tool == step.tool
            and other.call_id
            and other.call_id.startswith(BY_SPAN) != by_span
            and (not by_span or other.result is None)
        ):
            return place
    return None


def _merged(one: ToolStep, other: ToolStep) -> ToolStep:
    """Two views of one call: the provider's id, and its history's result, which all doors come to see."""
    sent, ran = (other, one) if one.call_id.startswith(BY_SPAN) else (one, other)
    told = ran if sent.result is None else sent
    return msgspec.structs.replace(
        sent, agent=sent.agent or ran.agent, result=told.result, gist=told.gist, sketch=sent.sketch or ran.sketch
    )
