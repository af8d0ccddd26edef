"""The lab's Messages, with the real SDK."""

from __future__ import annotations

import anthropic
import pytest

from watchkeeper.lab.messages import as_chat
from watchkeeper.lab.serving import LabServer

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def speaker(lab: LabServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=lab.root_url, api_key="lab", max_retries=0)


def test_plain_and_streamed_say_the_same(speaker: anthropic.Anthropic) -> None:
    plain = speaker.messages.create(model="lab-small", max_tokens=100, messages=HELLO)  # type: ignore[arg-type]
    with speaker.messages.stream(model="lab-small", max_tokens=100, messages=HELLO) as stream:  # type: ignore[arg-type]
        streamed = stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text  # type: ignore[union-attr]
    assert plain.usage.output_tokens == streamed.usage.output_tokens and plain.stop_reason == "end_turn"


def test_tools_are_called_with_their_arguments_as_values(speaker: anthropic.Anthropic) -> None:
    reply = speaker.messages.create(
        model="lab-small",
        max_tokens=100,
        messages=[{"role": "user", "content": "the weather"}],
        tools=[{"name": "look_up", "input_schema": {"type": "object"}}],
    )
    assert [block.type for block in reply.content] == ["text", "tool_use", "tool_use"]
    assert reply.content[1].input == {"place": "Ålesund", "days": 2}  # type: ignore[union-attr]


def test_an_error_has_anthropics_shape(speaker: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        speaker.messages.create(
            model="lab-small",
            max_tokens=9,
            messages=HELLO,  # type: ignore[arg-type]
            extra_headers={"x-lab-fault": "error:429"},
        )
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]


def test_tool_results_become_messages_of_their_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "grey"}]}
    assert as_chat({"role": "user", "content": [result, {"type": "text", "text": "And?"}]}) == [
        {"role": "tool", "tool_call_id": "t", "content": "grey"},
        {"role": "user", "content": "And?"},
    ]
