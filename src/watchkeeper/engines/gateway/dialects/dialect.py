"""What a dialect is: the few questions about a request and a reply that have another answer in each interface."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import msgspec

from watchkeeper.engines.gateway.composition import system_prompt
from watchkeeper.engines.gateway.errors import OPENAI, Refusal, Wording
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.engines.gateway.usage import Answer, read_answer
from watchkeeper.engines.gateway.wire import no_model, read_fields, typed, wrong
from watchkeeper.records.event import ToolStep
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Operation

IMAGE_TOKENS = 50_000
"""The most that one image is known to cost with any priced model (a small model's high-detail tiles), rounded up."""

_REMEMBERED_BYTES = 4096
_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])


class Head(msgspec.Struct, frozen=True):
    """The head of a request: every top-level field as raw bytes, and the few that the gateway needs decoded.

    `model` is what is asked for, `named` what the body says of it (an Azure client's path counts instead). `messages`
    is the conversation as it was sent, message by message or item by item. `max_output` is the most tokens that may be
    written as the client says it, None when it does not; `choices` how many replies it asks for. `usage_asked` tells
    whether usage will come in a stream without asking for it.
    """

    fields: dict[str, msgspec.Raw]
    model: str
    named: str | None
    messages: list[msgspec.Raw]
    stream: bool = False
    max_output: int | None = None
    choices: int = 1
    usage_asked: bool = True


class Spoken(NamedTuple):
    """How a request becomes the one that is sent on: top-level fields to replace, and whether usage is to be hidden."""

    changes: Mapping[str, bytes]
    hide_usage: bool = False


class Dialect(ABC):
    """One interface of a provider. Stateless: everything is read from the request or the reply at hand.

    `path` follows the root (`/v1`), here and at the upstream. `limiting` are the fields that limits rest on: each may
    be named once only. `conversation` is the field that holds one, None where the model is not spoken to. `wording`
    says in what words the gateway answers this client itself.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    operation: ClassVar[Operation] = Operation.CHAT
    limiting: ClassVar[frozenset[str]]
    conversation: ClassVar[str | None] = "messages"
    wording: ClassVar[Wording] = OPENAI
    documented_defaults: ClassVar[bool] = False

    @abstractmethod
    def read(self, body: bytes, deployment: str | None = None) -> Head:
        """Decode the head of a request; raises a 400 that names the field that is wrong.

        `deployment` is the model that the path names; it counts instead of the body's.
        """

    @abstractmethod
    def input_bound(self, body: bytes, head: Head, most: int | None = None, earlier: int | None = None) -> int | None:
        """The most input tokens that a request can cost, None when that is not known.

        Where something is read whose size is not in the body, they are `most`: what the upstream's models can read at
        once. `earlier` is what stands in the context of the response that the request continues, where that is known.

        A token is at least one byte of UTF-8 text, and JSON never writes text in fewer bytes than it has, so what
        stands in a body costs at most as many tokens as it has bytes.
        """

    def output_bound(self, head: Head, spec: UpstreamSpec) -> int | None:
        """The most output tokens, over all choices; None when neither the request nor the upstream's settings say."""
        outward = head.max_output if head.max_output is not None else spec.max_output_tokens
        return None if outward is None else outward * head.choices

    def steps(self, head: Head, agent: str | None) -> tuple[ToolStep, ...]:
        """The tool calls that the conversation shows, in order, each with its result where there is one."""
        return ()

    def system(self, head: Head) -> list[bytes]:
        """The raw texts that stay the same from turn to turn: system and developer prompts."""
        return system_prompt(head.messages)

    def asked_text(self, head: Head, most_chars: int) -> str:
        """What the user said last, shortened; empty when it cannot be read."""
        return ""

    def spoken(self, head: Head, model: str, spec: UpstreamSpec) -> Spoken:
        """What to change in the body: the model's name where an alias stands for another."""
        return Spoken({} if model == head.named else {"model": as_json(model)})

    def answer(self, body: bytes) -> Answer:
        """What a whole reply says of itself."""
        return read_answer(body)


def fields_of(body: bytes, dialect: Dialect, deployment: str | None) -> tuple[dict[str, msgspec.Raw], str, str | None]:
    """The top-level fields, the model that is asked for and the one that the body names; raises a 400 for none."""
    fields = read_fields(body, dialect.limiting)
    named = typed(fields, "model", str, "a model's name")
    model = deployment or named
    if not model:
        raise no_model()
    return fields, model, named


def list_of(fields: Mapping[str, msgspec.Raw], name: str, what: str) -> list[msgspec.Raw]:
    """A field that must be a list, its members raw; raises a 400 when it is missing or none."""
    raw = fields.get(name)
    if raw is None:
        raise Refusal(400, f"{name}_missing", f"The body has no {name}. Send a list of {what}.", param=name)
    try:
        return _list.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(name, f"a list of {what}") from error


def members(raw: msgspec.Raw | None) -> list[Any] | None:
    """The members of a field that should be a list of objects, decoded; None when it is something else."""
    if raw is None or bytes(raw) == b"null":
        return []
    try:
        return msgspec.json.decode(raw, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decoded(raws: Sequence[msgspec.Raw], marks: Iterable[bytes]) -> list[Mapping[str, Any]]:
    """The members of a conversation in which one of the marks stands; the others are not worth parsing."""
    found: list[Mapping[str, Any]] = []
    for raw in raws:
        text = bytes(raw)
        if any(mark in text for mark in marks):
            message = _remembered(text) if len(text) <= _REMEMBERED_BYTES else _decode(text)
            if message is not None:
                found.append(message)
    return found


def _decode(text: bytes) -> Mapping[str, Any] | None:
    try:
        return _object.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


_remembered = lru_cache(maxsize=1024)(_decode)  # a history is sent again with every turn


_DISGUISED = re.compile(rb"\\u00[2-7]")


def unescaped(body: bytes) -> bytes:
    """A body in which no letter of plain ASCII is written as an escape, so that what is looked for is found."""
    if b"\\" not in body or b"\\u00" not in body or not _DISGUISED.search(body):
        return body
    return msgspec.json.encode(msgspec.json.decode(body))


def tool_steps(messages: list[Mapping[str, Any]], agent: str | None) -> tuple[ToolStep, ...]:
    """The steps of messages in the shape of chat completions, into which every dialect's are brought."""
    if not messages:
        return ()
    from watchkeeper.engines.decide.fold import steps_of

    return steps_of(messages, agent)
