"""The lab's Responses, with the real SDK."""

from __future__ import annotations

import openai
import pytest


def test_plain_and_streamed_say_the_same(client: openai.OpenAI) -> None:
    plain = client.responses.create(model="lab-small", input="hello")
    with client.responses.stream(model="lab-small", input="hello") as stream:
        streamed = stream.get_final_response()
    assert plain.output_text == streamed.output_text and plain.output_text.startswith("Good day")
    assert plain.usage == streamed.usage


def test_a_tool_is_called_and_its_result_continues_the_conversation(client: openai.OpenAI) -> None:
    tool = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}
    reply = client.responses.create(model="lab-small", input="the weather", tools=[tool])  # type: ignore[list-item]
    assert [item.type for item in reply.output] == ["message", "function_call", "function_call"]


def test_in_the_background_each_question_is_a_step(client: openai.OpenAI) -> None:
    made = client.responses.create(model="lab-small", input="hello", background=True)
    seen = [made.status] + [client.responses.retrieve(made.id).status for _ in range(3)]
    assert seen == ["queued", "in_progress", "completed", "completed"]


def test_a_kept_response_is_replayed_from_where_the_client_was(client: openai.OpenAI) -> None:
    made = client.responses.create(model="lab-small", input="hello")
    events = list(client.responses.retrieve(made.id, stream=True, starting_after=1))
    assert events[0].sequence_number == 2 and events[-1].type == "response.completed"


def test_what_is_not_kept_cannot_be_found_and_what_is_cancelled_has_no_use(client: openai.OpenAI) -> None:
    gone = client.responses.create(model="lab-small", input="hello", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(gone.id)
    made = client.responses.create(model="lab-small", input="hello", background=True)
    cancelled = client.responses.cancel(made.id)
    assert (cancelled.status, cancelled.usage) == ("cancelled", None)
    assert client.responses.retrieve(made.id).status == "cancelled"


def test_a_limit_makes_it_incomplete_with_its_reason(client: openai.OpenAI) -> None:
    cut = client.responses.create(model="lab-small", input="hello", max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("given", [{"input": 7}, {"input": []}, {"input": "x", "max_output_tokens": 0}, {"model": 7}])
def test_what_cannot_be_read_is_a_400(client: openai.OpenAI, given: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="lab-small", extra_body=given)
