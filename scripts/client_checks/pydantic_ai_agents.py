"""Pydantic AI over chat completions, Responses and Anthropic's Messages."""

from __future__ import annotations

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from telling import GATEWAY, KEY, SAID, SEEN, TOO_MUCH, tell


def models() -> list[object]:
    """One model of each dialect, each with a client of its own."""
    openai = OpenAIProvider(openai_client=AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0))
    anthropic = AnthropicProvider(anthropic_client=AsyncAnthropic(base_url=GATEWAY, api_key=KEY, max_retries=0))
    return [
        OpenAIChatModel("lab-small", provider=openai),
        OpenAIResponsesModel("lab-small", provider=openai),
        AnthropicModel("claude-lab", provider=anthropic),
    ]


async def plain(place: int) -> None:
    result = await Agent(models()[place], system_prompt="Be brief.").run("How is the ship?")
    assert result.output == SAID and (result.usage() if callable(result.usage) else result.usage).output_tokens > 0


async def stream(place: int) -> None:
    async with Agent(models()[place]).run_stream("How is the ship?") as result:
        assert [text async for text in result.stream_text()][-1] == SAID


async def tools(place: int) -> None:
    agent = Agent(models()[place])

    @agent.tool_plain
    def look(at: str) -> str:
        """Look at a place."""
        assert at == "harbour"
        return "calm"

    assert (await agent.run("Look.")).output == SEEN


async def refusal(place: int) -> None:
    try:
        await Agent(models()[place], model_settings={"max_tokens": TOO_MUCH, "timeout": 60}).run("x")
    except ModelHTTPError as error:
        assert error.status_code == 403 and "budget" in str(error.body)
        return
    raise AssertionError("nothing was raised")


tell(
    {
        "plain": lambda: plain(0), "stream": lambda: stream(0), "tools": lambda: tools(0),
        "responses": lambda: plain(1), "responses, streamed": lambda: stream(1),
        "responses, tools continued": lambda: tools(1),
        "messages": lambda: plain(2), "messages, streamed": lambda: stream(2), "messages, tools": lambda: tools(2),
        "a refusal by limit": lambda: refusal(0), "a refusal by limit, responses": lambda: refusal(1),
        "a refusal by limit, messages": lambda: refusal(2),
    }
)  # fmt: skip
