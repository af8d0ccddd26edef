"""Notes what surrounds a call and is in no body: which client and version asked, which flags were on, who answered.

Names are OpenTelemetry's where it has one. Nothing that may hold a credential is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from watchkeeper.records.record import Scalar

_LONGEST = 200
_ASKED = {
    b"user-agent": "user_agent.original",
    b"x-stainless-retry-count": "watchkeeper.client.retry_count",
    b"x-watchkeeper-prompt": "gen_ai.prompt.name",
    b"x-watchkeeper-flags": "watchkeeper.flags",
}
_ANSWERED = {
    b"x-request-id": "watchkeeper.upstream.request_id",
    b"request-id": "watchkeeper.upstream.request_id",
    b"apim-request-id": "watchkeeper.upstream.request_id",
    b"x-ms-region": "cloud.region",
    b"openai-version": "watchkeeper.upstream.api_version",
    b"openai-processing-ms": "watchkeeper.upstream.processing_ms",
}

OPENAI_DEFAULTS: Mapping[str, Scalar] = {
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "parallel_tool_calls": True,
}
"""What OpenAI documents for fields of a chat request that were not sent (API reference, "Create chat completion")."""
_DOCUMENTED = frozenset({"openai", "azure"})


def asked(headers: Mapping[bytes, bytes]) -> dict[str, Scalar]:
    """What the caller's headers say of its client, its retries, its prompt template and its flags."""
    return {name: _text(headers[header]) for header, name in _ASKED.items() if header in headers}


def answered(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Scalar]:
    """What the upstream's headers say of who answered: its request id, region and version."""
    found: dict[str, Scalar] = {}
    for header, value in headers:
        name = _ANSWERED.get(header if header.islower() else header.lower())
        if name is not None:
            found[name] = _text(value)
    return found


def defaults(provider: str | None, fields: Mapping[str, object]) -> dict[str, Scalar]:
    """The documented defaults of the parameters that a chat request leaves out; empty where none are documented.

    Only for providers whose documentation states them: a default that we guessed would be worse than none.
    """
    if provider not in _DOCUMENTED:
        return {}
    return {name: value for name, value in OPENAI_DEFAULTS.items() if name not in fields}


def _text(value: bytes) -> str:
    return value[:_LONGEST].decode("latin-1")
