"""The anthropic SDK, versions 0 and 2."""

from __future__ import annotations

import anthropic
from telling import GATEWAY, KEY, SAID, SEEN, TOO_MUCH, raises, tell

CLIENT = anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0)
ASK = [{"role": "user", "content": "How is the ship?"}]
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def plain(model: str = "fast") -> None:
    reply = CLIENT.messages.create(model=model, max_tokens=100, messages=ASK)
    assert reply.content[0].text == SAID and reply.usage.output_tokens > 0 and reply.stop_reason == "end_turn"


def stream(model: str = "fast") -> None:
    with CLIENT.messages.stream(model=model, max_tokens=100, messages=ASK) as typed:
        assert "".join(typed.text_stream) == SAID
    kinds = [event.type for event in CLIENT.messages.create(model=model, max_tokens=100, messages=ASK, stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


def tools() -> None:
    first = CLIENT.messages.create(model="fast", max_tokens=100, messages=ASK, tools=[TOOL])
    use = first.content[-1]
    assert (first.stop_reason, use.input) == ("tool_use", {"at": "harbour"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "calm"}
    history = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    reply = CLIENT.messages.create(model="fast", max_tokens=100, messages=history, tools=[TOOL])
    assert reply.content[0].text == SEEN


def count() -> None:
    assert CLIENT.messages.count_tokens(model="fast", messages=ASK).input_tokens > 0


def models() -> None:
    assert "fast" in [model.id for model in CLIENT.models.list()]


def error() -> None:
    ask = CLIENT.messages.create
    for status, kind in ((529, anthropic.APIStatusError), (429, anthropic.RateLimitError)):
        headers = {"x-lab-fault": f"error:{status}"}
        act = lambda given=headers: ask(model="fast", max_tokens=9, messages=ASK, extra_headers=given)  # noqa: E731
        raises(kind, str(status), act)
    raises(anthropic.BadRequestError, "max_tokens", lambda: ask(model="fast", max_tokens=-1, messages=ASK))


def refusal() -> None:
    ask = CLIENT.messages.create
    over = lambda: ask(model="fast", max_tokens=TOO_MUCH, messages=ASK, timeout=60)  # noqa: E731
    raises(anthropic.PermissionDeniedError, "permission_error", over)
    wrong = anthropic.Anthropic(base_url=GATEWAY, api_key="wk-0123456789-" + "0" * 48, max_retries=0)
    act = lambda: wrong.messages.create(model="fast", max_tokens=9, messages=ASK)  # noqa: E731
    raises(anthropic.AuthenticationError, "authentication_error", act)


def broken_stream() -> None:
    headers = {"x-lab-fault": "cut:3"}

    def follow() -> None:
        with CLIENT.messages.stream(model="fast", max_tokens=100, messages=ASK, extra_headers=headers) as typed:
            typed.get_final_message()

    raises(anthropic.APIStatusError, "upstream", follow)


def anthropic_out() -> None:
    plain("claude-lab")
    stream("claude-lab")


tell(
    {
        "plain": plain, "stream": stream, "tools": tools, "count_tokens": count, "models": models,
        "an error of the upstream": error, "a refusal by limit": refusal, "a stream that breaks": broken_stream,
        "Anthropic, way out": anthropic_out,
    }
)  # fmt: skip
