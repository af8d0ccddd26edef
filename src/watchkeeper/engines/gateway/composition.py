"""Reads out of a request what is to be noted of it: its parameters, and the composition that answers it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.engines.gateway.circumstances import defaults
from watchkeeper.records.ids import digest
from watchkeeper.records.manifest import Manifest, compose_manifest
from watchkeeper.records.record import Scalar

_REMEMBERED = 4096
_LONGEST_VALUE = 1000
_MOST_ATTRIBUTES = 64

_NAMES = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_completion_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "n": "gen_ai.request.choice.count",
    "stop": "gen_ai.request.stop_sequences",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "stream": "gen_ai.request.stream",
    "service_tier": "openai.request.service_tier",
}
_TURN = frozenset(
    {
        "messages", "input", "metadata", "user", "safety_identifier", "conversation", "previous_response_id",
    }
)  # fmt: skip
"""What another turn of the same agent changes, and whose it is."""
_NOT_PARAMETERS = _TURN | {"model", "tools", "functions", "system", "instructions"}
_NOT_COMPOSITION = frozenset({"stream", "stream_options", "prompt_cache_key", "store", "background"})
_any = msgspec.json.Decoder()
_sorted = msgspec.json.Encoder(order="sorted")


class _Spoken(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Part(msgspec.Struct):
    text: str | None = None


_spoken = msgspec.json.Decoder(_Spoken)
_content = msgspec.json.Decoder(str | list[_Part] | None)


class Composition(NamedTuple):
    """What stays the same from call to call of one agent: its manifest, and the parameters as attributes."""

    manifest: Manifest
    attributes: Mapping[str, Scalar]


class Compositions:
    """Knows the compositions of recent calls, so that system prompt, tools and parameters are read only once."""

    def __init__(self, policies: str, record: Callable[[Manifest], bool]) -> None:
        """`policies` names the policy chain; `record` writes a manifest and says whether that worked."""
        self._policies, self._record = policies, record
        self._known: OrderedDict[bytes, Composition] = OrderedDict()

    def of(
        self,
        fields: Mapping[str, msgspec.Raw],
        system: Sequence[bytes],
        where: tuple[str, str, str | None],
        at_ns: int,
        documented: bool = True,
    ) -> Composition:
        """The composition of a request to `where` (model, upstream, provider); a new one's manifest is written.

        `system` are its system prompts; `documented` is whether it is of the interface whose defaults are known.
        """
        parts: list[bytes | msgspec.Raw] = [where[0].encode(), where[1].encode()]
        for name, raw in fields.items():
            if name not in _TURN:
                parts += (name.encode(), raw)
        parts += system
        # With the lengths before them the parts can be told apart, whatever bytes they are made of.
        lengths = b"%d " * len(parts) % tuple(map(len, parts))
        key = hashlib.blake2b(lengths + b"".join(parts), digest_size=16).digest()
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        model, upstream, provider = where
        components = {
            "model": model,
            "upstream": upstream,
            **request_components(fields, system),
            "policies": self._policies,
        }
        manifest = compose_manifest(components, at_ns)
        attributes = request_attributes(fields)
        if left_out := defaults(provider, fields) if documented else {}:
            attributes["watchkeeper.request.defaults"] = msgspec.json.encode(left_out).decode()
        composition = Composition(manifest, attributes)
        if self._record(manifest):
            self._known[key] = composition
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return composition


def request_attributes(fields: Mapping[str, msgspec.Raw]) -> dict[str, Scalar]:
    """Every request parameter as a span attribute: the conventions' names (v1.41.1) where they have one.

    Values that are not scalars are their JSON text, up to 1,000 characters; at most 64 parameters.
    """
    attributes: dict[str, Scalar] = {}
    for name, raw in fields.items():
        if name in _NOT_PARAMETERS or len(attributes) >= _MOST_ATTRIBUTES or bytes(raw) == b"null":
            continue
        attributes[_NAMES.get(name) or f"gen_ai.request.{name[:100]}"] = _scalar(raw)
    if "tools" in fields:
        attributes["watchkeeper.tools.digest"] = digest(bytes(fields["tools"]))
    return attributes


def _scalar(raw: msgspec.Raw) -> Scalar:
    text = bytes(raw)
    if len(text) <= _LONGEST_VALUE and text[:1] not in (b"{", b"["):
        try:
            value = _any.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            value = None
        if isinstance(value, str | bool | float) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63):
            return value
    return text[:_LONGEST_VALUE].decode("utf-8", "replace")


def request_components(fields: Mapping[str, msgspec.Raw], system: Sequence[bytes]) -> dict[str, str]:
    """What of a request shapes its reply apart from the conversation: digests of system prompt, tools, parameters.

    White space and the order of keys do not count, so that two programs that send the same thing are one composition.
    """
    parameters = [
        name.encode() + b"=" + _canonical(fields[name])
        for name in sorted(fields)
        if name not in _NOT_PARAMETERS and name not in _NOT_COMPOSITION
    ]
    tools = [_canonical(fields[name]) for name in ("tools", "functions") if name in fields]
    return {
        "system": digest(b"\n".join(_canonical(each) for each in system)),
        "tools": digest(b"\n".join(tools)) if tools else "none",
        "parameters": digest(b"\n".join(parameters)) if parameters else "none",
    }


def _canonical(raw: bytes | msgspec.Raw) -> bytes:
    """A JSON value in one way of writing; what cannot be read stays as it is."""
    try:
        return _sorted.encode(_any.decode(raw))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError):
        return bytes(raw)


def system_prompt(messages: Sequence[msgspec.Raw]) -> list[bytes]:
    """The raw system and developer messages that open a conversation."""
    found = []
    for raw in messages:
        try:
            role = _spoken.decode(raw).role
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
        if role not in ("system", "developer"):
            break
        found.append(bytes(raw))
    return found


def last_user_text(messages: Sequence[msgspec.Raw], most_chars: int) -> str:
    """The text of the last message of the user, shortened; empty when there is none to be read."""
    for raw in reversed(messages[-100:]):
        try:
            spoken = _spoken.decode(raw)
            if spoken.role != "user":
                continue
            content = _content.decode(spoken.content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(content, str):
            return content[:most_chars]
        return " ".join(part.text for part in content or () if part.text)[:most_chars]
    return ""
