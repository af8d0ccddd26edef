"""LangGraph with LangChain's OpenAI and Anthropic models."""

from __future__ import annotations

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from telling import GATEWAY, KEY, SAID, SEEN, TOO_MUCH, raises, tell

CHAT = {"model": "lab-small", "base_url": f"{GATEWAY}/v1", "api_key": KEY, "max_retries": 0}
MESSAGES = {"model": "claude-lab", "base_url": GATEWAY, "api_key": KEY, "max_retries": 0, "timeout": 60}


@tool
def look(at: str) -> str:
    """Look at a place."""
    return "calm"


def graph(model: object) -> object:
    """An agent that calls its tool until the model has no more calls."""
    bound = model.bind_tools([look])
    built = StateGraph(MessagesState)
    built.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    built.add_node("tools", ToolNode([look]))
    built.add_edge(START, "model")
    built.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
    built.add_edge("tools", "model")
    return built.compile()


def text(message: object) -> str:
    """A message's text, whatever shape its content has."""
    content = message.content
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def plain(model: object) -> None:
    assert text(model.invoke("How is the ship?")) == SAID


def stream(model: object) -> None:
    assert "".join(text(piece) for piece in model.stream("How is the ship?")) == SAID


def tools(model: object) -> None:
    assert text(graph(model).invoke({"messages": [("user", "Look.")]})["messages"][-1]) == SEEN


def embeddings() -> None:
    made = OpenAIEmbeddings(**{**CHAT, "check_embedding_ctx_length": False}).embed_documents(["one"])
    assert len(made[0]) == 8


def refusal(kind: type, given: dict[str, object], **more: object) -> None:
    raises(Exception, "budget", lambda: kind(**given, max_tokens=TOO_MUCH, **more).invoke("x"))


RESPONSES = {**CHAT, "use_responses_api": True}
tell(
    {
        "plain": lambda: plain(ChatOpenAI(**CHAT)), "stream": lambda: stream(ChatOpenAI(**CHAT)),
        "tools": lambda: tools(ChatOpenAI(**CHAT)), "responses": lambda: plain(ChatOpenAI(**RESPONSES)),
        "responses, streamed": lambda: stream(ChatOpenAI(**RESPONSES)),
        "responses, tools continued": lambda: tools(ChatOpenAI(**RESPONSES)),
        "messages": lambda: plain(ChatAnthropic(**MESSAGES)),
        "messages, streamed": lambda: stream(ChatAnthropic(**MESSAGES)),
        "messages, tools": lambda: tools(ChatAnthropic(**MESSAGES)), "embeddings": embeddings,
        "a refusal by limit": lambda: refusal(ChatOpenAI, CHAT),
        "a refusal by limit, responses": lambda: refusal(ChatOpenAI, RESPONSES),
        "a refusal by limit, messages": lambda: refusal(ChatAnthropic, MESSAGES),
    }
)  # fmt: skip
