"""Recorded steps of a run, ready to be taken again: what was asked, what was answered, and what the tools gave back.

A step is one model call. Its request goes to a model again as it was recorded; tools are never run: a call that the
recorded run made is answered with the result that it got there, and one that it did not make ends the walk, named.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.records.record import Record

_NOT_SENT = frozenset({"messages", "stream", "stream_options", "store", "background"})
"""Fields of a recorded request that are left out: a walk reads whole replies and leaves nothing with the provider."""


class Call(Record, frozen=True, kw_only=True):
    """A tool call as it is compared: its arguments as JSON with sorted keys, or as they stand when they are none."""

    tool: str
    arguments: str

    def __str__(self) -> str:
        return f"{self.tool}({self.arguments})"


class Turn(Record, frozen=True, kw_only=True):
    """One reply of a model: its text, the tools that it asked for in order, why it ended, and what it used."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def action(self) -> str:
        """What the turn does, in a line: its tool calls, or "answers" when it asks for none."""
        return " + ".join(str(call) for call in self.calls) or "answers"


class Step(Record, frozen=True, kw_only=True):
    """One recorded model call. `rebuilt` when the request is made from its messages, not from its own bytes.

    `number` counts the trace's calls from 1; `redactions` is how many places of the request were replaced when it was
    recorded, so that what is sent again is not quite what was sent then.
    """

    number: int
    span_id: str
    request: dict[str, Any]
    turn: Turn
    rebuilt: bool = False
    redactions: int = 0


class StepError(ValueError):
    """A trace or a step cannot be taken again; the message says why and what to do."""


def canonical(arguments: Any) -> str:
    """Arguments as text that is equal when they mean the same: JSON with sorted keys, anything else as it stands."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return str(arguments)
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def turn_of(said: Iterable[Mapping[str, Any]], finish_reason: str | None = None, model: str | None = None) -> Turn:
    """The turn in recorded messages of the neutral form (role, text, tool_calls)."""
    heard = list(said)
    texts = [str(message["text"]) for message in heard if message.get("text")]
    calls = [
        Call(tool=str(call.get("name")), arguments=canonical(call.get("arguments") or "{}"))
        for message in heard
        for call in message.get("tool_calls") or ()
    ]
    return Turn(text="\n".join(texts) or None, calls=tuple(calls), finish_reason=finish_reason, model=model)


def request_of(raw: bytes | None, said: Sequence[Mapping[str, Any]], model: str | None) -> tuple[dict[str, Any], bool]:
    """A chat request from its recorded bytes, or rebuilt from its messages; and whether it was rebuilt."""
    if raw is not None:
        try:
            whole = json.loads(raw)
        except (ValueError, RecursionError):
            whole = None
        if isinstance(whole, dict) and "system" not in whole and _all_objects(whole.get("messages")):
            return whole, False
    if not said:
        raise StepError(
            "The step has no recorded messages, so there is nothing to ask again. Record content where it is "
            "emitted, or send calls through the gateway."
        )
    return {"model": model, "messages": chat_messages(said)}, True


def _all_objects(messages: Any) -> bool:
    return isinstance(messages, list) and bool(messages) and all(isinstance(each, dict) for each in messages)


def chat_messages(said: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages of the neutral form as an OpenAI client would send them."""
    messages: list[dict[str, Any]] = []
    for message in said:
        plain: dict[str, Any] = {"role": message["role"], "content": message.get("text") or ""}
        if calls := message.get("tool_calls"):
            plain["tool_calls"] = [
                {
                    "id": call.get("call_id") or f"call_{number}",
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call.get("arguments") or "{}"},
                }
                for number, call in enumerate(calls)
            ]
        if message.get("tool_call_id") is not None:
            plain["tool_call_id"] = message["tool_call_id"]
        messages.append(plain)
    return messages


def parameters_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that go out again beside its messages."""
    return {name: value for name, value in request.items() if name not in _NOT_SENT and value is not None}


class Cassette:
    """What the tools of a recorded run gave back, by tool and arguments.

    A call that was made several times gets its results in their order, and the last one from then on.
    """

    def __init__(self, conversations: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """`conversations` are recorded requests' message lists, OpenAI-style, the shorter histories first."""
        self._results: dict[Call, list[str]] = defaultdict(list)
        seen: set[str] = set()
        for messages in conversations:
            self._learn(messages, seen)

    def __len__(self) -> int:
        return sum(len(results) for results in self._results.values())

    def result(self, call: Call, nth: int) -> str | None:
        """What the `nth` (from 0) such call gave back; None when the recorded run made no such call."""
        results = self._results.get(call)
        return None if not results else results[min(nth, len(results) - 1)]

    def _learn(self, messages: Sequence[Mapping[str, Any]], seen: set[str]) -> None:
        asked: dict[str, Call] = {}
        for place, message in enumerate(messages):
            for made in message.get("tool_calls") or ():
                function = made.get("function") or {}
                call = Call(tool=str(function.get("name")), arguments=canonical(function.get("arguments") or "{}"))
                asked[str(made.get("id"))] = call
            call_id = message.get("tool_call_id")
            known = asked.get(str(call_id)) if call_id is not None else None
            if known is None:
                continue
            # The same history comes again with every turn: one place in it is one result.
            key = f"{place} {call_id} {known}"
            if key not in seen:
                seen.add(key)
                self._results[known].append(_text(message.get("content")))


def following(steps: Sequence[Step], start: Step) -> list[Step]:
    """The recorded steps that went on from one: those whose history begins with the whole of its messages."""
    history = [_bare(message) for message in start.request["messages"]]
    found = [start]
    for step in steps:
        if step.number <= start.number:
            continue
        messages = step.request["messages"]
        if len(messages) > len(history) and [_bare(each) for each in messages[: len(history)]] == history:
            found.append(step)
            history = [_bare(message) for message in messages]
    return found


def _bare(message: Mapping[str, Any]) -> bytes:
    """What of a message must be the same for one history to go on from another: frameworks add and drop the rest."""
    calls = [
        (
            str((call.get("function") or {}).get("name")),
            canonical((call.get("function") or {}).get("arguments") or "{}"),
        )
        for call in message.get("tool_calls") or ()
    ]
    return msgspec.json.encode([message.get("role"), _text(message.get("content")), calls])


def _text(content: Any) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, sort_keys=True)
