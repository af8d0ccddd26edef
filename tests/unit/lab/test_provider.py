"""The lab provider as the real OpenAI client and a bare HTTP client meet it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from watchkeeper.lab.faults import PlannedFault
from watchkeeper.lab.provider import LabConfig, sample_config
from watchkeeper.lab.runs import RecordedRun
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.shapes import fingerprint, lab_tokens

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
LOOK_UP: list[Any] = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
WEATHER: list[Any] = [{"role": "user", "content": "How is the weather?"}]


def say(client: openai.OpenAI, fault: str = "", **more: Any) -> Any:
    return client.chat.completions.create(
        model="lab-small", messages=more.pop("messages", HELLO), extra_headers={"x-lab-fault": fault}, **more
    )


def get(url: str) -> tuple[Any, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer), answer.headers


def post(lab: LabServer, data: bytes, path: str = "/v1/chat/completions") -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(lab.root_url + path, data=data), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class TestReplies:
    def test_a_plain_reply_has_text_usage_and_a_stop(self, client: openai.OpenAI) -> None:
        answer = say(client)
        text = answer.choices[0].message.content
        assert text.startswith("Good day")
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.prompt_tokens == lab_tokens("hello")
        assert answer.usage.completion_tokens == lab_tokens(text)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    def test_a_streamed_reply_is_the_plain_one_in_pieces(self, client: openai.OpenAI) -> None:
        chunks = list(say(client, stream=True, stream_options={"include_usage": True}))
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        plain = say(client)
        assert len([piece for piece in pieces if piece]) > 3
        assert "".join(pieces) == plain.choices[0].message.content
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage == plain.usage

    def test_tool_calls_come_plain(self, client: openai.OpenAI) -> None:
        message = say(client, messages=WEATHER, tools=LOOK_UP).choices[0].message
        assert message.content == "I will look."
        assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
            {"place": "Ålesund", "days": 2},
            {"place": "Bergen"},
        ]

    def test_tool_calls_come_streamed_with_the_sdks_own_gathering(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(model="lab-small", messages=WEATHER, tools=LOOK_UP) as stream:
            choice = stream.get_final_completion().choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        assert [json.loads(c.function.arguments)["place"] for c in choice.message.tool_calls] == ["Ålesund", "Bergen"]

    def test_a_token_limit_ends_the_text_and_says_so(self, client: openai.OpenAI) -> None:
        answer = say(client, max_completion_tokens=3)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 3

    @pytest.mark.anyio
    async def test_the_asynchronous_client_works_as_well(self, lab: LabServer) -> None:
        async with openai.AsyncOpenAI(base_url=lab.base_url, api_key="lab") as client:
            stream = await client.chat.completions.create(model="lab-small", messages=HELLO, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text.startswith("Good day")

    @pytest.mark.anyio
    async def test_a_server_can_be_held_in_an_asynchronous_block(self) -> None:
        config = LabConfig(rules=(Rule(name="r", answer="yes"),))
        async with LabServer(config) as lab, openai.AsyncOpenAI(base_url=lab.base_url, api_key="lab") as client:
            answer = await client.chat.completions.create(model="lab-small", messages=HELLO)
        assert answer.choices[0].message.content == "yes"


class TestHonesty:
    def test_every_answer_says_that_it_is_not_a_model(self, client: openai.OpenAI) -> None:
        raw = client.chat.completions.with_raw_response.create(model="lab-small", messages=HELLO)
        assert raw.headers["x-watchkeeper-lab"] == "not-a-model"
        assert raw.parse().system_fingerprint == fingerprint("lab-small")

    def test_an_error_says_so_too(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            say(client, messages=[{"role": "user", "content": "unheard of"}])
        assert caught.value.response.headers["x-watchkeeper-lab"] == "not-a-model"

    def test_all_models_belong_to_the_lab(self, client: openai.OpenAI) -> None:
        models = list(client.models.list())
        assert {"lab-small", "lab-large", "gpt-4o"} <= {model.id for model in models}
        assert {model.owned_by for model in models} == {"watchkeeper-lab (not a model)"}

    def test_the_price_table_says_that_it_is_invented(self, lab: LabServer) -> None:
        table, headers = get(f"{lab.root_url}/lab/price-table")
        assert "invented" in table["source"]
        assert headers["x-watchkeeper-lab"] == "not-a-model"

    def test_health_is_answered(self, lab: LabServer) -> None:
        assert get(f"{lab.root_url}/healthz")[0]["status"] == "ok"


class TestUnknownRequests:
    def test_a_request_off_the_recording_names_the_message(
        self, client: openai.OpenAI, sample: list[RecordedRun]
    ) -> None:
        messages = [*sample[0].messages[:3], {"role": "tool", "tool_call_id": "x", "content": "changed"}]
        with pytest.raises(openai.NotFoundError) as caught:
            say(client, messages=messages)
        assert caught.value.code == "lab_unknown_request"
        assert caught.value.param == "messages[3]"
        assert "index 3 (role tool)" in str(caught.value)

    def test_the_order_of_asking_does_not_matter(self, client: openai.OpenAI, sample: list[RecordedRun]) -> None:
        run = sample[0]
        replies = [i for i, message in enumerate(run.messages) if message["role"] == "assistant"]
        for position in reversed(replies):
            message = say(client, messages=list(run.messages[:position])).choices[0].message
            assert (message.content or "") == (run.messages[position]["content"] or "")

    def test_metadata_can_name_the_run(self) -> None:
        def run(name: str, reply: str) -> RecordedRun:
            said = {"role": "assistant", "content": reply}
            return RecordedRun(run=name, source="s", suite="x", user_task="t", model="m", messages=(HELLO[0], said))

        config = LabConfig(recordings=(run("a", "one"), run("b", "two")))
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="lab") as client:
            assert say(client, metadata={"run": "b"}).choices[0].message.content == "two"
            assert say(client).choices[0].message.content == "one"

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (b"{", None),
            (b"[]", None),
            (b"\xff\xfe", None),
            (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
            (b'{"model": "m"}', "messages"),
            (b'{"model": "m", "messages": []}', "messages"),
            (b'{"model": "m", "messages": ["x"]}', "messages"),
            (b'{"model": 5, "messages": [{"role": "user", "content": "x"}]}', "model"),
            (b'{"model": "m", "n": 2, "messages": [{"role": "user", "content": "x"}]}', "n"),
            (b'{"model": "m", "max_tokens": 0, "messages": [{"role": "user"}]}', "max_completion_tokens"),
            (b'{"model": "m", "tools": {}, "messages": [{"role": "user"}]}', "tools"),
        ],
    )
    def test_a_bad_request_is_a_400_that_names_the_field(self, lab: LabServer, body: bytes, param: str | None) -> None:
        status, answer = post(lab, body)
        assert status == 400
        assert answer["error"]["param"] == param
        assert answer["error"]["message"]

    def test_another_path_is_a_404_that_lists_the_paths(self, lab: LabServer) -> None:
        status, answer = post(lab, b"{}", "/v1/audio/speech")
        assert status == 404
        assert "/v1/chat/completions" in answer["error"]["message"]


class TestFaults:
    def test_an_error_has_its_status_and_the_openai_shape(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            say(client, "error:503")
        assert caught.value.status_code == 503
        assert caught.value.code == "lab_fault"

    def test_a_rate_limit_says_when_to_come_back(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            say(client, "error:429:0.25")
        assert caught.value.response.headers["retry-after"] == "0.25"

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_refused_connection_has_no_answer(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(openai.APIConnectionError):
            say(client, "refuse", stream=stream)

    def test_a_hanging_provider_never_answers(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.APITimeoutError):
            say(client.with_options(timeout=0.3), "hang")

    def test_a_cut_stream_dies_after_its_chunks(self, client: openai.OpenAI) -> None:
        chunks = []
        with pytest.raises(openai.APIConnectionError):
            for chunk in say(client, "cut:3", stream=True):
                chunks.append(chunk)  # noqa: PERF402 - what came before the error is the point
        assert len(chunks) == 3
        assert all(chunk.choices[0].finish_reason is None for chunk in chunks)

    def test_a_cut_beyond_the_end_cuts_nothing(self, client: openai.OpenAI) -> None:
        assert list(say(client, "cut:1000", stream=True))[-1].choices[0].finish_reason == "stop"

    def test_a_stalled_stream_goes_silent(self, client: openai.OpenAI) -> None:
        chunks = []
        with pytest.raises(openai.APITimeoutError):
            for chunk in say(client.with_options(timeout=0.3), "stall:2", stream=True):
                chunks.append(chunk)  # noqa: PERF402 - what came before the error is the point
        assert len(chunks) == 2

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_malformed_body_is_no_json(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(json.JSONDecodeError):
            answer = say(client, "malformed", stream=stream)
            list(answer)

    def test_a_swapped_model_shows_only_in_model_and_fingerprint(self, client: openai.OpenAI) -> None:
        honest, swapped = say(client), say(client, "swap:lab-large")
        assert swapped.model == "lab-large"
        assert swapped.system_fingerprint == fingerprint("lab-large") != honest.system_fingerprint
        assert swapped.choices == honest.choices

    def test_a_script_can_answer_otherwise_for_the_swapped_model(self, client: openai.OpenAI) -> None:
        who: list[Any] = [{"role": "user", "content": "Who are you?"}]
        assert say(client, messages=who).choices[0].message.content == "small"
        assert say(client, "swap:lab-large", messages=who).choices[0].message.content == "large"

    def test_a_verbose_model_says_it_all_again(self, client: openai.OpenAI) -> None:
        once, thrice = say(client), say(client, "verbose:3")
        text = once.choices[0].message.content
        assert thrice.choices[0].message.content == " ".join([text] * 3)
        assert thrice.usage.completion_tokens >= 3 * once.usage.completion_tokens - 3

    def test_usage_can_be_left_out(self, client: openai.OpenAI) -> None:
        assert say(client, "no_usage").usage is None
        chunks = list(say(client, "no_usage", stream=True, stream_options={"include_usage": True}))
        assert all(chunk.usage is None for chunk in chunks)

    def test_a_slow_provider_answers_after_the_client_has_lost_patience(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.APITimeoutError):
            say(client.with_options(timeout=0.2), "slow:5")
        assert say(client, "slow:0.01").choices

    def test_a_fault_can_stand_in_the_models_name(self, lab: LabServer, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model="lab-small!no_usage", messages=HELLO)
        assert answer.usage is None
        assert answer.model == "lab-small"
        assert lab.calls[-1].faults == ("no_usage",)

    def test_an_unknown_fault_is_refused(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="does not know the fault"):
            say(client, "explode")

    def test_planned_faults_hit_the_calls_they_were_planned_for(self) -> None:
        plan = PlannedFault(faults="swap:lab-large", model="lab-s*", from_call=2, until_call=4)
        config = LabConfig(rules=(Rule(name="r", answer="x"),), faults=(plan,))
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="lab") as client:
            client.chat.completions.create(model="another", messages=HELLO)
            models = [say(client).model for _ in range(5)]
        assert models == ["lab-small", "lab-small", "lab-large", "lab-large", "lab-small"]


class TestConfig:
    def test_cached_and_reasoning_tokens_are_reported_inside_their_totals(self) -> None:
        config = LabConfig(rules=(Rule(name="r", answer="abcd"),), cached_share=0.5, reasoning_tokens=10)
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="lab") as client:
            usage = say(client).usage
        assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (2, 1)
        assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (11, 10)

    def test_another_key_than_the_configured_one_is_refused(self) -> None:
        config = LabConfig(rules=(Rule(name="r", answer="x"),), api_key="right")
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                say(client)
            assert say(client.with_options(api_key="right")).choices
            assert "right" not in json.dumps(get(f"{lab.root_url}/lab/log")[0])

    def test_a_strict_lab_serves_only_its_models(self) -> None:
        config = LabConfig(rules=(Rule(name="r", answer="x"),), only_listed_models=True)
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="lab") as client:
            assert say(client).choices
            with pytest.raises(openai.NotFoundError) as caught:
                client.chat.completions.create(model="gpt-9", messages=HELLO)
        assert caught.value.code == "model_not_found"

    def test_the_sample_config_has_recordings_and_the_sandbox_script(self) -> None:
        config = sample_config()
        assert len(config.recordings) >= 36
        assert config.rules


class TestLog:
    def test_the_log_tells_what_was_served_and_no_text(self, lab: LabServer, client: openai.OpenAI) -> None:
        say(client)
        last = get(f"{lab.root_url}/lab/log")[0]["calls"][-1]
        assert (last["model"], last["answered_by"], last["answer_name"]) == ("lab-small", "script", "hello")
        assert (last["status"], last["outcome"]) == (200, "served")
        assert "Good day" not in json.dumps(last)
        assert "authorization" in last["header_names"]

    def test_equal_conversations_have_equal_digests_in_the_log(self, lab: LabServer, client: openai.OpenAI) -> None:
        say(client)
        client.chat.completions.create(model="lab-large", messages=HELLO)
        one, two = lab.calls[-2:]
        assert one.digest == two.digest
        assert one.body_sha256 != two.body_sha256

    def test_the_log_keeps_the_last_calls_only(self) -> None:
        config = LabConfig(rules=(Rule(name="r", answer="x"),), log_calls=2)
        with LabServer(config) as lab, openai.OpenAI(base_url=lab.base_url, api_key="lab") as client:
            for _ in range(3):
                say(client)
            assert [call.number for call in lab.calls] == [1, 2]
