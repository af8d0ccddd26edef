"""The openai SDK, versions 2 and 3."""

from __future__ import annotations

import json

import openai
from telling import GATEWAY, KEY, SAID, SEEN, TOO_MUCH, raises, tell

CLIENT = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0)
AZURE = openai.AzureOpenAI(azure_endpoint=GATEWAY, api_key=KEY, api_version="2024-10-21", max_retries=0)
ASK = [{"role": "user", "content": "How is the ship?"}]
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def plain() -> None:
    reply = CLIENT.chat.completions.create(model="fast", messages=ASK)
    assert reply.choices[0].message.content == SAID and reply.usage.completion_tokens > 0


def stream() -> None:
    pieces = list(CLIENT.chat.completions.create(model="fast", messages=ASK, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == SAID


def tools() -> None:
    first = CLIENT.chat.completions.create(model="fast", messages=ASK, tools=[CHAT_TOOL]).choices[0].message
    call = first.tool_calls[0]
    assert json.loads(call.function.arguments) == {"at": "harbour"}
    history = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": "calm"}]
    reply = CLIENT.chat.completions.create(model="fast", messages=history, tools=[CHAT_TOOL])
    assert reply.choices[0].message.content == SEEN


def responses() -> None:
    reply = CLIENT.responses.create(model="fast", input="How is the ship?")
    assert reply.output_text == SAID and reply.usage.output_tokens > 0


def responses_stream() -> None:
    events = list(CLIENT.responses.create(model="fast", input="How is the ship?", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert events[-1].type == "response.completed"
    with CLIENT.responses.stream(model="fast", input="How is the ship?") as typed:
        assert typed.get_final_response().output_text == SAID


def responses_tools() -> None:
    first = CLIENT.responses.create(model="fast", input="Look.", tools=[TOOL])
    call = first.output[0]
    assert json.loads(call.arguments) == {"at": "harbour"}
    answer = {"type": "function_call_output", "call_id": call.call_id, "output": "calm"}
    reply = CLIENT.responses.create(model="fast", input=[answer], previous_response_id=first.id, tools=[TOOL])
    assert reply.output_text == SEEN and reply.previous_response_id == first.id


def responses_kept() -> None:
    made = CLIENT.responses.create(model="fast", input="Go.", background=True)
    assert made.status == "queued"
    while (reply := CLIENT.responses.retrieve(made.id)).status != "completed":
        assert reply.status == "in_progress"
    assert reply.output_text == SAID
    assert CLIENT.responses.input_items.list(made.id).data[0].type == "message"
    other = CLIENT.responses.create(model="fast", input="Go.", background=True)
    assert CLIENT.responses.cancel(other.id).status == "cancelled"
    CLIENT.responses.delete(made.id)
    raises(openai.NotFoundError, "", lambda: CLIENT.responses.retrieve(made.id))


def embeddings() -> None:
    assert len(CLIENT.embeddings.create(model="fast", input=["one", "two"]).data[1].embedding) == 8


def models() -> None:
    assert "fast" in [model.id for model in CLIENT.models.list()]


def error() -> None:
    headers = {"x-lab-fault": "error:503"}
    ask = CLIENT.chat.completions.create
    raises(openai.InternalServerError, "503", lambda: ask(model="fast", messages=ASK, extra_headers=headers))
    wrong = {"input": 7}
    raises(openai.BadRequestError, "input", lambda: CLIENT.responses.create(model="fast", extra_body=wrong))


def refusal() -> None:
    ask = CLIENT.chat.completions.create
    raises(openai.PermissionDeniedError, "budget", lambda: ask(model="fast", messages=ASK, max_tokens=TOO_MUCH))
    again = CLIENT.responses.create
    act = lambda: again(model="fast", input="x", max_output_tokens=TOO_MUCH)  # noqa: E731
    raises(openai.PermissionDeniedError, "budget", act)


def broken_stream() -> None:
    headers = {"x-lab-fault": "cut:3"}
    ask, again = CLIENT.chat.completions.create, CLIENT.responses.create
    raises(
        openai.APIError, "upstream", lambda: list(ask(model="fast", messages=ASK, stream=True, extra_headers=headers))
    )
    raises(
        openai.APIError, "upstream", lambda: list(again(model="fast", input="x", stream=True, extra_headers=headers))
    )


def azure_in() -> None:
    assert AZURE.chat.completions.create(model="fast", messages=ASK).choices[0].message.content == SAID
    assert AZURE.responses.create(model="fast", input="x").output_text == SAID
    assert AZURE.embeddings.create(model="fast", input="one").data


def azure_out() -> None:
    assert CLIENT.chat.completions.create(model="azure-small", messages=ASK).choices[0].message.content == SAID
    assert CLIENT.responses.create(model="azure-small", input="x").output_text == SAID
    pieces = list(AZURE.chat.completions.create(model="azure-small", messages=ASK, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == SAID


tell(
    {
        "plain": plain, "stream": stream, "tools": tools, "responses": responses,
        "responses, streamed": responses_stream,
        "responses, tools continued": responses_tools, "responses, kept": responses_kept, "embeddings": embeddings,
        "models": models, "an error of the upstream": error, "a refusal by limit": refusal,
        "a stream that breaks": broken_stream, "Azure, way in": azure_in, "Azure, way out": azure_out,
    }
)  # fmt: skip
