"""Every dialect with its own real client: openai and anthropic SDK, gateway, lab provider, journal and SQLite cells."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest

from tests.doors.test_gateway import House, house
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.link import Link
from watchkeeper.lab.script import Rule, ScriptedCall, When
from watchkeeper.records.span import Operation, Status

pytestmark = [pytest.mark.anyio, pytest.mark.door]

CALM = Rule(name="calm", answer="All is well.")
LOOK = Rule(name="look", when=When(tool="look"), calls=(ScriptedCall(tool="look", arguments={"at": "harbour"}),))
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
MESSAGES = [{"role": "user", "content": "How is the ship?"}]


def cap(dollars: float) -> Link:
    return Link(policy=Budget(per="key", usd=dollars), instance="cap")


def anthropic_client(at: House) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=at.client.api_key, base_url=at.url, max_retries=0)


async def spent(at: House) -> int:
    """Whole dollars on the key's meter; a token that is written costs one."""
    await asyncio.sleep(0.3)
    page = await at.cells.scan("meter/")
    return sum(value for key, value in page.items if key.endswith("nano_usd") and isinstance(value, int)) // 10**9


async def reserved(at: House) -> int:
    return len((await at.cells.scan("reservation/")).items)


async def test_responses_plain_and_streamed_are_the_same_and_recorded_whole(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        plain = await at.client.responses.create(model="fast", input="How is the ship?", max_output_tokens=50)
        stream = await at.client.responses.create(
            model="fast", input="How is the ship?", max_output_tokens=50, stream=True
        )
        events = [event async for event in stream]
        assert plain.output_text == "All is well."
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "All is well."
        assert events[-1].type == "response.completed"
        first, second = at.spans()
        assert (first.status, first.operation, first.stream) == (Status.OK, Operation.CHAT, False)
        assert (second.status, second.stream) == (Status.OK, True)
        assert first.usage == second.usage and first.usage.output_tokens == plain.usage.output_tokens
        assert first.finish_reasons == second.finish_reasons == ("completed",)
        assert first.preview == second.preview == "How is the ship?\nAll is well."
        assert second.first_token_ns is not None and first.manifest == second.manifest is not None
        assert at.body(first, "request").replace(b'"fast"', b'"lab-small"') == at.body(first, "sent")


async def test_a_response_that_is_cut_short_says_why(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        cut = await at.client.responses.create(model="fast", input="How is the ship?", max_output_tokens=1)
        assert cut.status == "incomplete"
        assert at.spans()[0].finish_reasons == ("max_output_tokens",)


async def test_a_background_response_stays_reserved_until_a_retrieval_settles_it_once(tmp_path: Path) -> None:
    async with house(tmp_path, cap(100.0)) as at:
        made = await at.client.responses.create(model="fast", input="Go.", max_output_tokens=40, background=True)
        assert (made.status, await spent(at), await reserved(at)) == ("queued", 40, 1)
        assert (await at.client.responses.retrieve(made.id)).status == "in_progress"
        assert (await spent(at), await reserved(at)) == (40, 1)
        done = await at.client.responses.retrieve(made.id)
        assert done.status == "completed" and done.usage is not None
        assert (await spent(at), await reserved(at)) == (done.usage.output_tokens, 0)
        await at.client.responses.retrieve(made.id)
        assert (await spent(at), await reserved(at)) == (done.usage.output_tokens, 0)
        assert [span.usage.output_tokens for span in at.spans()] == [None, None, done.usage.output_tokens, None]
        assert at.spans()[2].attributes["watchkeeper.response.span"] == at.spans()[0].span_id


async def test_two_retrievals_at_once_settle_only_once(tmp_path: Path) -> None:
    async with house(tmp_path, cap(100.0)) as at:
        made = await at.client.responses.create(model="fast", input="Go.", max_output_tokens=40, background=True)
        await at.client.responses.retrieve(made.id)
        replies = await asyncio.gather(*(at.client.responses.retrieve(made.id) for _ in range(10)))
        assert {reply.status for reply in replies} == {"completed"}
        assert await spent(at) == replies[0].usage.output_tokens
        assert sum(span.usage.output_tokens is not None for span in at.spans()) == 1


async def test_a_cancelled_response_stays_charged_for_nobody_says_what_it_used(tmp_path: Path) -> None:
    async with house(tmp_path, cap(100.0)) as at:
        made = await at.client.responses.create(model="fast", input="Go.", max_output_tokens=40, background=True)
        assert (await at.client.responses.cancel(made.id)).status == "cancelled"
        assert (await spent(at), await reserved(at)) == (40, 1)


async def test_a_response_is_continued_within_a_budget_when_its_length_is_known(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Budget(per="key", tokens=100_000), instance="cap")) as at:
        first = await at.client.responses.create(model="fast", input="One.", max_output_tokens=40)
        second = await at.client.responses.create(
            model="fast", input="Two.", previous_response_id=first.id, max_output_tokens=40
        )
        assert second.output_text == "All is well."
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await at.client.responses.create(
                model="fast", input="x", previous_response_id="resp_0", max_output_tokens=4
            )
        assert caught.value.code == "cannot_be_bounded"
        one, two, _ = at.spans()
        assert (one.identity.session, two.identity.session) == (None, first.id)


async def test_kept_responses_are_listed_and_deleted_for_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, cap(100.0)) as at:
        made = await at.client.responses.create(model="fast", input="One.", max_output_tokens=40)
        before = await spent(at)
        items = await at.client.responses.input_items.list(made.id)
        assert [item.type for item in items.data] == ["message"]
        counted = await at.client.responses.input_tokens.count(model="fast", input="One.")
        assert counted.input_tokens == made.usage.input_tokens
        await at.client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await at.client.responses.retrieve(made.id)
        assert (await spent(at), await reserved(at)) == (before, 0)


async def test_a_response_is_seen_by_its_own_tenant_only(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        made = await at.client.responses.create(model="fast", input="One.", max_output_tokens=40)
        other = await at.keys.create("other", tenant="elsewhere")
        theirs = at.client.with_options(api_key=other.secret)
        for attempt in (
            theirs.responses.retrieve(made.id),
            theirs.responses.delete(made.id),
            theirs.responses.input_items.list(made.id),
            theirs.responses.create(model="fast", input="And?", previous_response_id=made.id),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                await attempt
            assert caught.value.code == "response_not_found"
        assert (await at.client.responses.retrieve(made.id)).id == made.id


async def test_a_loop_over_continued_responses_is_stopped_without_any_header(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Loop(action="stop"), instance="loop"), rules=(LOOK, CALM)) as at:
        reply = await at.client.responses.create(model="fast", input="Look.", tools=[TOOL])  # type: ignore[list-item]
        stopped = None
        for turn in range(12):
            call = next(item for item in reply.output if item.type == "function_call")
            answer = {"type": "function_call_output", "call_id": call.call_id, "output": "nothing"}
            try:
                reply = await at.client.responses.create(
                    model="fast",
                    input=[answer],
                    previous_response_id=reply.id,
                    tools=[TOOL],  # type: ignore[list-item]
                )
            except openai.PermissionDeniedError as error:
                stopped = (turn, error.code)
                break
        assert stopped is not None and stopped[1] == "loop_repeat" and 3 <= stopped[0] <= 8
        kept = [value for _, value in (await at.cells.scan("response/")).items]
        assert kept and not any(b"harbour" in value or b"ada" in value for value in kept if isinstance(value, bytes))


async def test_messages_plain_and_streamed_are_the_same_and_recorded_whole(tmp_path: Path) -> None:
    async with house(tmp_path) as at, anthropic_client(at) as client:
        plain = await client.messages.create(
            model="fast", max_tokens=50, system="Be brief.", messages=MESSAGES, metadata={"user_id": "u1"}
        )
        async with client.messages.stream(model="fast", max_tokens=50, messages=MESSAGES) as stream:
            said = "".join([text async for text in stream.text_stream])
        assert plain.content[0].text == said == "All is well."
        first, second = at.spans()
        assert (first.status, first.stream, second.status, second.stream) == (Status.OK, False, Status.OK, True)
        assert first.usage.output_tokens == second.usage.output_tokens == plain.usage.output_tokens
        assert second.usage.input_tokens is not None and second.first_token_ns is not None
        assert first.finish_reasons == second.finish_reasons == ("end_turn",)
        assert first.preview == "How is the ship?\nAll is well."
        assert first.identity.user == "ada"  # the key is bound, so that the body's own name does not count
        assert at.body(first, "request").replace(b'"fast"', b'"lab-small"') == at.body(first, "sent")


async def test_messages_have_tools_counts_and_a_loop_breaker(tmp_path: Path) -> None:
    tool = {"name": "look", "input_schema": {"type": "object"}}
    messages: list[object] = [*MESSAGES]
    async with (
        house(tmp_path, Link(policy=Loop(action="stop"), instance="loop"), rules=(LOOK, CALM)) as at,
        anthropic_client(at) as client,
    ):
        counted = await client.messages.count_tokens(model="fast", messages=MESSAGES)
        assert counted.input_tokens > 0
        stopped = None
        for turn in range(12):
            try:
                reply = await client.messages.create(
                    model="fast",
                    max_tokens=50,
                    messages=messages,
                    tools=[tool],
                    extra_headers={"x-watchkeeper-run": "r"},
                )
            except anthropic.PermissionDeniedError as error:
                stopped = (turn, error.body["error"]["code"])
                break
            use = reply.content[-1]
            assert (use.type, use.input) == ("tool_use", {"at": "harbour"})
            again = {"type": "tool_result", "tool_use_id": use.id, "content": "nothing"}
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": [again]}]
        assert stopped is not None and stopped[1] == "loop_repeat" and 2 <= stopped[0] <= 8
        assert at.spans()[0].usage.input_tokens is None  # a count is no use


async def test_an_anthropic_client_is_told_in_its_own_words(tmp_path: Path) -> None:
    async with house(tmp_path, cap(100.0)) as at, anthropic_client(at) as client:
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            await client.messages.create(model="fast", max_tokens=101, messages=MESSAGES)
        assert caught.value.body == {
            "type": "error",
            "error": {
                "type": "permission_error",
                "message": caught.value.body["error"]["message"],
                "code": "budget_exceeded",
            },
        }
        with pytest.raises(anthropic.AuthenticationError) as unknown:
            await client.with_options(api_key="wk-0123456789-" + "0" * 48).messages.create(
                model="fast", max_tokens=1, messages=MESSAGES
            )
        assert unknown.value.body["error"]["type"] == "authentication_error"
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model="fast", messages=MESSAGES, max_tokens=-5)
        assert not at.lab.calls


async def test_a_stream_that_breaks_makes_each_client_raise(tmp_path: Path) -> None:
    async with house(tmp_path) as at, anthropic_client(at) as client:
        headers = {"x-lab-fault": "cut:3"}
        with pytest.raises(anthropic.APIStatusError) as ours:
            async with client.messages.stream(
                model="fast", max_tokens=50, messages=MESSAGES, extra_headers=headers
            ) as stream:
                await stream.get_final_message()
        with pytest.raises(openai.APIError) as theirs:
            stream_ = await at.client.responses.create(model="fast", input="x", stream=True, extra_headers=headers)
            async for _ in stream_:
                pass
        assert "upstream" in str(ours.value) and "upstream" in str(theirs.value)
        assert [span.status for span in at.spans()] == [Status.ERROR, Status.ERROR]


async def test_embeddings_are_bounded_counted_and_passed_as_they_are(tmp_path: Path) -> None:
    async with house(tmp_path, Link(policy=Budget(per="key", tokens=1000), instance="cap")) as at:
        made = await at.client.embeddings.create(model="fast", input=["one", "two"])
        assert len(made.data) == 2 and len(made.data[0].embedding) == 8
        span = at.spans()[0]
        assert (span.operation, span.usage.output_tokens) == (Operation.EMBEDDINGS, 0)
        assert span.usage.input_tokens == made.usage.prompt_tokens and span.preview == "one"
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await at.client.embeddings.create(model="fast", input="x" * 1000)
        assert caught.value.code == "budget_exceeded"


async def test_azures_client_comes_in_by_its_own_paths_and_key_header(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=at.url, api_key=at.client.api_key, api_version="2024-10-21", max_retries=0
        )
        async with client:
            chat = await client.chat.completions.create(model="fast", messages=MESSAGES)  # type: ignore[arg-type]
            response = await client.responses.create(model="fast", input="Hi.")
            await client.embeddings.create(model="fast", input="one")
        assert chat.choices[0].message.content == response.output_text == "All is well."
        assert [span.request_model for span in at.spans()] == ["fast"] * 3
        assert [call.model for call in at.lab.calls] == ["lab-small"] * 2


async def test_models_are_listed_in_the_shape_of_each_client(tmp_path: Path) -> None:
    async with house(tmp_path) as at, anthropic_client(at) as client:
        assert [model.id for model in (await at.client.models.list()).data] == ["fast"]
        listed = await client.models.list()
        assert [model.id for model in listed.data] == ["fast"] and not listed.has_more
        assert (await client.models.retrieve("fast")).display_name == "fast"


DETOURS = (
    "/v1/chat/completions/",
    "//v1//chat/./completions",
    "/v1/chat/completions;x=1",
    "/v1/Chat/Completions",
    "/openai/v1/chat/completions",
    "/openai/deployments/fast/chat/completions",
    "/v1/completions",
    "/v1/threads/runs",
    "/v1/responses/x/y/z",
    "/v1/responses/x",
    "/v1/messages/batches",
)


async def test_no_other_writing_of_a_path_goes_round_a_budget(tmp_path: Path) -> None:
    body = json.dumps({"model": "fast", "messages": MESSAGES, "max_tokens": 101, "prompt": "x"}).encode()
    headers = {"content-type": "application/json", "x-http-method-override": "POST"}
    async with house(tmp_path, cap(100.0)) as at, httpx2.AsyncClient() as client:
        headers["authorization"] = f"Bearer {at.client.api_key}"
        for path in DETOURS:
            request = client.build_request("POST", at.url, content=body, headers=headers)
            request.url = request.url.copy_with(raw_path=path.encode())
            assert (await client.send(request)).status_code == 403, path
        assert not at.lab.calls
