"""Asks an OpenAI-compatible endpoint for one chat completion, plainly over HTTP: no client library, no retries.

A failure is told as it is. Nothing is tried again in silence: whoever asks decides about that, and counts it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.models.posting import Posted, Posting, refused, text_or_none, tokens, unreadable
from watchkeeper.analysis.masked_mass import masked_mass
from watchkeeper.kinds.ports import Completion


class OpenAIHttp(Posting):
    """A ModelProvider over `base_url` (it usually ends in /v1). Used as an async context manager, or closed after use.

    `api_key` goes into the Authorization header and nowhere else. `timeout_s` bounds one whole call.
    """

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One completion for a JSON message list; `parameters` are the request's other fields, `model` among them."""
        posted = await self.post(
            self._url, "/chat/completions", {**parameters, "messages": msgspec.Raw(messages.encode())}
        )
        return posted if isinstance(posted, Completion) else _read(posted, parameters)


def _read(posted: Posted, parameters: Mapping[str, object]) -> Completion:
    if posted.status >= 300:
        return refused(posted)
    reply = posted.reply
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        calls = _calls(message.get("tool_calls"))
    except (TypeError, KeyError, IndexError, AttributeError):
        return unreadable(posted, "chat completion")
    output, finish = message.get("content"), choice.get("finish_reason")
    refusal = message.get("refusal")
    if output is None and isinstance(refusal, str):
        output, finish = refusal, "refusal"
    usage = reply.get("usage") or {}
    return Completion(
        output=output if output is None or isinstance(output, str) else msgspec.json.encode(output).decode(),
        calls=calls,
        finish_reason=text_or_none(finish),
        model=text_or_none(reply.get("model")),
        input_tokens=tokens(usage, "prompt_tokens"),
        output_tokens=tokens(usage, "completion_tokens"),
        duration_ns=time.perf_counter_ns() - posted.started,
        status=posted.status,
        composition=posted.composition,
        masked=masked_mass(choice.get("logprobs"), parameters.get("response_format")),
    )


def _calls(tool_calls: Any) -> str | None:
    """The tool calls as the JSON text of a list of {name, arguments}; None where there are none."""
    if not tool_calls:
        return None
    functions = [call["function"] for call in tool_calls if call.get("type", "function") == "function"]
    made = [{"name": each["name"], "arguments": each.get("arguments", "")} for each in functions]
    return msgspec.json.encode(made).decode() if made else None
