"""LiteLLM as a library: chat completions, Responses, embeddings and Anthropic's Messages."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its list of prices is not fetched

import litellm
from telling import GATEWAY, KEY, SAID, TOO_MUCH, raises, tell

OPENAI = {"model": "openai/lab-small", "api_base": f"{GATEWAY}/v1", "api_key": KEY, "num_retries": 0}
ANTHROPIC = {"model": "anthropic/claude-lab", "api_base": GATEWAY, "api_key": KEY, "num_retries": 0}
ASK = [{"role": "user", "content": "How is the ship?"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def plain() -> None:
    assert litellm.completion(messages=ASK, **OPENAI).choices[0].message.content == SAID


def stream() -> None:
    pieces = list(litellm.completion(messages=ASK, stream=True, **OPENAI))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID


def tools() -> None:
    reply = litellm.completion(messages=ASK, tools=[TOOL], **OPENAI)
    assert reply.choices[0].message.tool_calls[0].function.name == "look"


def responses() -> None:
    assert litellm.responses(input="x", **OPENAI).output[0].content[0].text == SAID


def messages() -> None:
    assert litellm.completion(messages=ASK, max_tokens=100, **ANTHROPIC).choices[0].message.content == SAID
    pieces = list(litellm.completion(messages=ASK, max_tokens=100, stream=True, **ANTHROPIC))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID


def embeddings() -> None:
    assert len(litellm.embedding(input=["one"], **OPENAI).data[0]["embedding"]) == 8


def error() -> None:
    headers = {"x-lab-fault": "error:503"}
    act = lambda: litellm.completion(messages=ASK, extra_headers=headers, **OPENAI)  # noqa: E731
    raises(Exception, "503", act)


def refusal() -> None:
    raises(Exception, "cap for", lambda: litellm.completion(messages=ASK, max_tokens=TOO_MUCH, **OPENAI))
    raises(Exception, "cap for", lambda: litellm.completion(messages=ASK, max_tokens=TOO_MUCH, **ANTHROPIC))


tell(
    {
        "plain": plain, "stream": stream, "tools": tools, "responses": responses, "messages": messages,
        "embeddings": embeddings, "an error of the upstream": error, "a refusal by limit": refusal,
    }
)  # fmt: skip
