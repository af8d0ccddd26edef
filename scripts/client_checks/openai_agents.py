"""The OpenAI Agents SDK over Responses and chat completions."""

from __future__ import annotations

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from telling import GATEWAY, KEY, SAID, SEEN, TOO_MUCH, tell

QUIET = RunConfig(tracing_disabled=True)


def agent(kind: type, *tools: object, **settings: object) -> Agent:
    """An agent over one of the SDK's two models."""
    client = openai.AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0)
    model = kind(model="lab-small", openai_client=client)
    return Agent(name="sailor", model=model, tools=list(tools), model_settings=ModelSettings(**settings))


async def plain(kind: type) -> None:
    assert (await Runner.run(agent(kind), "How is the ship?", run_config=QUIET)).final_output == SAID


async def stream(kind: type) -> None:
    result = Runner.run_streamed(agent(kind), "How is the ship?", run_config=QUIET)
    assert [event async for event in result.stream_events()]
    assert result.final_output == SAID


async def tools(kind: type) -> None:
    @function_tool
    def look(at: str) -> str:
        """Look at a place."""
        return "calm"

    assert (await Runner.run(agent(kind, look), "Look.", run_config=QUIET)).final_output == SEEN


async def refusal(kind: type) -> None:
    try:
        await Runner.run(agent(kind, max_tokens=TOO_MUCH), "x", run_config=QUIET)
    except openai.PermissionDeniedError as error:
        assert error.code == "budget_exceeded"
        return
    raise AssertionError("nothing was raised")


CHAT, RESPONSES = OpenAIChatCompletionsModel, OpenAIResponsesModel
tell(
    {
        "plain": lambda: plain(CHAT), "stream": lambda: stream(CHAT), "tools": lambda: tools(CHAT),
        "responses": lambda: plain(RESPONSES), "responses, streamed": lambda: stream(RESPONSES),
        "responses, tools continued": lambda: tools(RESPONSES), "a refusal by limit": lambda: refusal(CHAT),
        "a refusal by limit, responses": lambda: refusal(RESPONSES),
    }
)  # fmt: skip
