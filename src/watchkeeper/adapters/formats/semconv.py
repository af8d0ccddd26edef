"""The rename table: what each telemetry dialect calls the things that a span records.

One field has many names: the OpenTelemetry GenAI conventions of three ages (v1.36, v1.41, and what replaced it),
OpenInference, Traceloop's OpenLLMetry, Vercel's AI SDK, and our own. `NAMES` lists them in order of
precedence; everything else in this module turns the values found under those names into the closed forms of a `Span`.

Limits: the GenAI conventions are read whole; of the other dialects models, tokens, finish reasons, tools, agents and
sessions. Where two names disagree within one span the first in the table wins and nothing is added up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from watchkeeper.adapters.formats.conversation import decode_json
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.span import Operation, Usage

NAMES: Mapping[str, tuple[str, ...]] = {
    "operation": ("gen_ai.operation.name",),
    "kind_openinference": ("openinference.span.kind",),
    "kind_traceloop": ("traceloop.span.kind",),
    "kind_vercel": ("ai.operationId",),
    "kind_langfuse": ("langfuse.observation.type",),
    "request_type": ("llm.request.type",),
    "kind_langsmith": ("langsmith.span.kind", "ls_run_type"),
    "agent_model": ("model_name",),
    "target": ("target",),
    "provider": (
        "gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider", "ls_provider",
        "metadata.ls_provider",
    ),
    "request_model": (
        "gen_ai.request.model", "llm.request.model", "llm.model_name", "embedding.model_name", "reranker.model_name",
        "ai.model.id", "langfuse.observation.model.name", "ls_model_name", "metadata.ls_model_name", "llm.model",
    ),
    "response_model": ("gen_ai.response.model", "llm.response.model", "ai.response.model"),
    "response_id": ("gen_ai.response.id", "ai.response.id", "llm.response.id", "gen_ai.openai.response.id"),
    "fingerprint": (
        "openai.response.system_fingerprint", "gen_ai.openai.response.system_fingerprint",
        "gen_ai.response.system_fingerprint",
    ),
    "finish_reasons": (
        "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "gen_ai.completion.0.finish_reason",
        "ai.response.finishReason", "llm.response.finish_reason", "llm.finish_reason", "gen_ai.response.stop_reason",
        "llm.response.stop_reason", "anthropic.message.stop_reason",
    ),
    "stream": ("gen_ai.request.stream", "llm.is_streaming", "gen_ai.is_streaming"),
    "first_chunk_s": ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"),
    "first_chunk_ms": ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt",
        "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens", "gen_ai.usage.details.input_tokens",
        "embedding.token_count",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
        "llm.token_count.completion", "ai.usage.outputTokens", "ai.usage.completionTokens",
        "gen_ai.usage.details.output_tokens",
    ),
    "cache_read_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens", "llm.token_count.prompt_details.cache_read",
        "llm.usage.cache_read_input_tokens", "ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens",
        "gen_ai.usage.input_tokens.cached", "gen_ai.usage.input_token_details.cache_read",
        "gen_ai.usage.details.cached_tokens", "gen_ai.usage.cached_input_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.details.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write", "llm.usage.cache_creation_input_tokens",
        "ai.usage.inputTokenDetails.cacheWriteTokens", "gen_ai.usage.input_token_details.cache_creation",
        "gen_ai.usage.details.cache_creation_tokens", "gen_ai.usage.cache_write_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.token_count.completion_details.reasoning", "llm.usage.reasoning_tokens", "ai.usage.reasoningTokens",
        "ai.usage.outputTokenDetails.reasoningTokens", "gen_ai.usage.output_token_details.reasoning",
        "gen_ai.usage.output_tokens.reasoning", "gen_ai.usage.reasoning_output_tokens",
    ),
    "usage_details": ("langfuse.observation.usage_details",),
    "cost_usd": ("watchkeeper.cost.usd",),
    "cost_source": ("watchkeeper.cost.source",),
    "own_status": ("watchkeeper.status",),
    "tool": ("gen_ai.tool.name", "tool.name", "ai.toolCall.name"),
    "tool_call_id": ("gen_ai.tool.call.id", "tool_call.id", "ai.toolCall.id", "tool_call_id", "tool.call_id"),
    "agent": (
        "watchkeeper.agent", "gen_ai.agent.name", "agent.name", "agent_name", "traceloop.agent.name", "gen_ai.agent.id",
        "ai.telemetry.functionId",
    ),
    "entity": ("traceloop.entity.name",),
    "session": (
        "watchkeeper.session", "session.id", "gen_ai.conversation.id", "langfuse.session.id",
        "traceloop.association.properties.session_id", "traceloop.association.properties.thread_id",
        "ai.telemetry.metadata.sessionId", "gcp.vertex.agent.session_id", "thread_id", "metadata.thread_id",
        "langfuse.trace.metadata.thread_id", "ls_thread_id",
    ),
    "run": ("watchkeeper.run", "gen_ai.run.id"),
    "user": (
        "watchkeeper.user", "user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id",
        "ai.telemetry.metadata.userId", "gcp.vertex.agent.user_id",
    ),
    "error_type": ("error.type", "exception.type"),
    "http_status": ("http.response.status_code", "http.status_code"),
}  # fmt: skip

PREVIEW = "watchkeeper.preview"
"""The preview of a span whose content was taken out of its export since."""

CONTENT = frozenset(
    (
        PREVIEW,
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions",
        "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.retrieval.documents",
        "gen_ai.retrieval.query.text", "gen_ai.prompt", "gen_ai.completion", "input.value", "output.value",
        "traceloop.entity.input", "traceloop.entity.output", "ai.prompt", "ai.prompt.messages", "ai.prompt.tools",
        "ai.response.text", "ai.response.object", "ai.response.toolCalls", "ai.toolCall.args", "ai.toolCall.result",
        "ai.value", "ai.values", "langfuse.observation.input", "langfuse.observation.output", "langfuse.trace.input",
        "langfuse.trace.output", "tool.parameters", "tool_arguments", "tool_response", "all_messages_events",
        "pydantic_ai.all_messages", "events", "final_result", "exception.stacktrace", "db.query.text", "db.statement",
        "gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_call_args",
        "gcp.vertex.agent.tool_response", "gcp.vertex.agent.data", "ai.response.reasoning", "ai.prompt.system",
        "gen_ai.tool.arguments", "gen_ai.tool.output", "gen_ai.content.prompt", "gen_ai.content.completion", "thought",
        "gen_ai.input.message", "gen_ai.output.message", "request_data", "response_data", "ai.response.toolResults",
    )
)  # fmt: skip
"""Attributes that hold what was said: they stay in the frame and never enter the attribute map."""

CONTENT_PREFIXES = (
    "llm.input_messages.", "llm.output_messages.", "llm.prompts.", "llm.completions.", "llm.tools.",
    "llm.prompt_template.", "gen_ai.prompt.", "gen_ai.completion.", "llm.request.functions.", "retrieval.documents.",
    "reranker.", "embedding.embeddings.", "ai.embedding", "message.",
)  # fmt: skip

MODEL_OPERATIONS = frozenset((Operation.CHAT.value, Operation.COMPLETION.value, Operation.EMBEDDINGS.value))
"""The operations that are one call of a model; tokens on any other internal span are sums of its children."""

_OPERATIONS = {
    "chat": "chat", "generate_content": "chat", "text_completion": "text_completion", "embeddings": "embeddings",
    "retrieval": "retrieval", "create_agent": "create_agent", "invoke_agent": "invoke_agent",
    "execute_tool": "execute_tool", "invoke_workflow": "invoke_workflow", "plan": "plan",
    "completion": "text_completion", "passthrough": "passthrough",
    "embedding": "embeddings", "rerank": "other", "responses": "chat", "message": "chat",
}  # fmt: skip
_OPENINFERENCE = {
    "LLM": "chat", "EMBEDDING": "embeddings", "RETRIEVER": "retrieval", "TOOL": "execute_tool", "AGENT": "invoke_agent",
}  # fmt: skip
_TRACELOOP = {"workflow": "invoke_workflow", "agent": "invoke_agent", "tool": "execute_tool"}
_LANGFUSE = {
    "GENERATION": "chat", "EMBEDDING": "embeddings", "RETRIEVER": "retrieval", "TOOL": "execute_tool",
    "AGENT": "invoke_agent", "CHAIN": "other",
}  # fmt: skip
_LANGSMITH = {
    "llm": "chat", "chain": "other", "tool": "execute_tool", "retriever": "retrieval", "embedding": "embeddings",
}  # fmt: skip
_BEEAI_TOOL = re.compile(r"tool\.(?:[\w-]+\.)*(?P<name>[\w-]+)\.(?:start|success|error|retry|finish)")
_PROVIDERS = {
    "az.ai.openai": "azure.ai.openai", "azure": "azure.ai.openai", "azure_openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference", "vertex_ai": "gcp.vertex_ai", "vertexai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai", "gemini": "gcp.gemini", "google": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "gcp.gen_ai": "gcp.gen_ai", "aws": "aws.bedrock", "bedrock": "aws.bedrock", "amazon-bedrock": "aws.bedrock",
    "xai": "x_ai", "mistralai": "mistral_ai", "mistral": "mistral_ai", "watsonx": "ibm.watsonx.ai",
    "watson": "ibm.watsonx.ai", "moonshot": "moonshot_ai", "gcp.vertex.agent": "gcp.vertex_ai",
    "google_genai": "gcp.gemini", "google_vertexai": "gcp.vertex_ai", "azure-openai": "azure.ai.openai",
    "amazon_bedrock": "aws.bedrock", "bedrock_converse": "aws.bedrock",
}  # fmt: skip
_FINISH = {
    "tool_call": "tool_calls", "tool_use": "tool_calls", "tool-calls": "tool_calls", "function_call": "tool_calls",
    "tool_call_required": "tool_calls", "end_turn": "stop", "stop_sequence": "stop", "complete": "stop",
    "completed": "stop", "eos": "stop", "eos_token": "stop", "end_of_text": "stop", "max_tokens": "length",
    "max_output_tokens": "length", "model_length": "length", "model_context_window_exceeded": "length",
    "content-filter": "content_filter", "content_filtered": "content_filter", "safety": "content_filter",
    "recitation": "content_filter", "prohibited_content": "content_filter", "blocklist": "content_filter",
    "guardrail_intervened": "content_filter", "refusal": "content_filter", "malformed_function_call": "error",
}  # fmt: skip


class Place(NamedTuple):
    """Where an attribute goes: the field it fills (None: none), its precedence there, whether the map keeps it."""

    field: str | None
    rank: int
    kept: bool
    content: bool


PLAIN = Place(None, 0, True, False)
"""The place of an attribute that fills no field and is kept in the map."""
_UNKEPT = Place(None, 0, False, False)
_LONGEST_KEY = 256
_CONTENT_ONLY = Place(None, 0, False, True)
_REMEMBERED_KEYS = 8192
PLACES: dict[str, Place] = {
    name: Place(field, rank, True, False) for field, names in NAMES.items() for rank, name in enumerate(names)
} | dict.fromkeys(CONTENT, _CONTENT_ONLY)
"""Every attribute name seen so far with its place; `place_of` fills it up to a limit."""


def place_of(key: str) -> Place:
    """The place of an attribute; one that is new is remembered in `PLACES`, up to a number of names."""
    known = PLACES.get(key)
    if known is not None:
        return known
    place = _CONTENT_ONLY if key.startswith(CONTENT_PREFIXES) else PLAIN
    if len(key) > _LONGEST_KEY:
        return _UNKEPT
    if len(PLACES) < _REMEMBERED_KEYS:
        PLACES[key] = place
    return place


def fields_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The raw values of the fields that some attributes fill, each under the name that wins."""
    found: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for key, value in attributes.items():
        place = PLACES.get(key) or place_of(key)
        if place.field is not None and place.rank < ranks.get(place.field, 99) and value is not None:
            ranks[place.field] = place.rank
            found[place.field] = value
    return found


def operation_of(fields: Mapping[str, Any]) -> str:
    """What the span did, from whichever dialect says so; "other" when none does."""
    said = fields.get("operation")
    if said is not None:
        return _OPERATIONS.get(str(said), Operation.OTHER.value)
    if (kind := fields.get("kind_openinference")) is not None:
        return _OPENINFERENCE.get(str(kind).upper(), Operation.OTHER.value)
    if (kind := fields.get("request_type")) is not None:
        return _OPERATIONS.get(str(kind), Operation.OTHER.value)
    if (kind := fields.get("kind_langsmith")) is not None:
        return _LANGSMITH.get(str(kind).lower(), Operation.OTHER.value)
    if (kind := fields.get("kind_traceloop")) is not None:
        return _TRACELOOP.get(str(kind), Operation.OTHER.value)
    if (kind := fields.get("kind_vercel")) is not None:
        return _vercel_operation(str(kind))
    kind = _LANGFUSE.get(str(fields.get("kind_langfuse")).upper())
    if kind is not None and ("tool" not in fields or kind != Operation.OTHER.value):
        return kind
    if "agent_model" in fields and "agent" in fields and "tool" not in fields:
        return Operation.AGENT.value  # a run of a Pydantic AI agent before it named its operation
    if (
        "input_tokens" in fields
        and "output_tokens" in fields
        and ("request_model" in fields or "response_model" in fields)
    ):
        return Operation.CHAT.value
    return Operation.TOOL.value if "tool" in fields else Operation.OTHER.value


def _vercel_operation(kind: str) -> str:
    """The AI SDK's outer span ("ai.generateText") repeats the tokens of its inner ones ("....doGenerate")."""
    if kind == "ai.toolCall":
        return Operation.TOOL.value
    if kind.endswith((".doGenerate", ".doStream")):
        return Operation.CHAT.value
    if kind.endswith(".doEmbed"):
        return Operation.EMBEDDINGS.value
    return Operation.WORKFLOW.value


def provider_of(value: Any) -> str | None:
    """A provider in the words of the GenAI conventions: "AWS" is "aws.bedrock", "openai.chat" is "openai"."""
    if value is None or value == "":
        return None
    name = str(value).strip().lower()
    known = _PROVIDERS.get(name)
    if known is not None:
        return known
    head, _, tail = name.partition(".")
    if tail in ("chat", "responses", "completion", "embedding", "messages", "image", "generative-ai"):
        return _PROVIDERS.get(head, head)
    return name


def finish_reasons_of(value: Any) -> tuple[str, ...]:
    """Why each choice ended, in OpenAI's words (stop, length, tool_calls, content_filter, error), or in its own."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        # A list that was turned into text on its way: '["stop"]' or "['stop']".
        value = [word.strip("\"' ") for word in value.strip("[] ").split(",")]
    elif not isinstance(value, list | tuple):
        value = (value,)
    return tuple(finish_reason_of(each) for each in value if each is not None and each != "")


def finish_reason_of(value: Any) -> str:
    """One finish reason, normalised."""
    word = str(value).rsplit(".", 1)[-1].lower()
    return _FINISH.get(word, word)


def count_of(value: Any) -> int | None:
    """A token count, or None when the value is no whole number of at least zero."""
    if type(value) is int:
        return value if 0 <= value < 1 << 53 else None
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if 0 <= number < 1 << 53 and number == int(number) else None


_RESPONSE_ID = re.compile(r'\s*\{\s*"id"\s*:\s*"((?:chatcmpl|cmpl|resp|msg|gen)[-_][\w-]{6,120})"')


def response_id_in(reply: Any) -> str | None:
    """The id at the head of a provider's reply that was kept as JSON text, for emitters that give it nowhere else."""
    found = _RESPONSE_ID.match(reply) if isinstance(reply, str) else None
    return found[1] if found else None


def usage_in_details(given: Mapping[str, Any]) -> Usage:
    """Tokens from Langfuse's usage details, which name each part in its own way and may leave cached ones out."""
    counts = {str(key): count for key, value in given.items() if (count := count_of(value)) is not None}
    input_tokens = _named(counts, "input", "promptTokens", "prompt_tokens", "input_tokens")
    output_tokens = _named(counts, "output", "completionTokens", "completion_tokens", "output_tokens")
    total = _named(counts, "total", "totalTokens", "total_tokens")
    read, written = _holding(counts, "cache_read", "cached"), _holding(counts, "cache_creation", "cache_write")
    cached, reasoning = (read or 0) + (written or 0), _holding(counts, "reasoning")
    if input_tokens is not None and cached:
        apart = total is not None and total == input_tokens + (output_tokens or 0) + cached
        if apart or cached > input_tokens:
            input_tokens += cached
    if output_tokens is not None and reasoning is not None and reasoning > output_tokens:
        output_tokens += reasoning
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def _named(counts: Mapping[str, int], *names: str) -> int | None:
    return next((counts[name] for name in names if name in counts), None)


def _holding(counts: Mapping[str, int], *words: str) -> int | None:
    return next((count for key, count in counts.items() for word in words if word in key), None)


def usage_of(fields: Mapping[str, Any]) -> Usage:
    """Tokens with input including cached and output including reasoning; what was not sent stays unknown.

    The conventions define the totals as inclusive. Some emitters send them without their parts; that is only
    certain, and only then corrected, when a part is larger than its total.
    """
    input_tokens, output_tokens = count_of(fields.get("input_tokens")), count_of(fields.get("output_tokens"))
    cache_read, cache_write = count_of(fields.get("cache_read_tokens")), count_of(fields.get("cache_write_tokens"))
    reasoning = count_of(fields.get("reasoning_tokens"))
    if input_tokens is None and output_tokens is None and "usage_details" in fields:
        details = decode_json(str(fields["usage_details"]))
        return usage_in_details(details) if isinstance(details, dict) else _NO_USAGE
    cached = (cache_read or 0) + (cache_write or 0)
    if input_tokens is not None and cached > input_tokens:
        input_tokens += cached
    if output_tokens is not None and reasoning is not None and reasoning > output_tokens:
        output_tokens += reasoning
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
    )


_NO_USAGE = Usage()


def usage_for(operation: str, remote: bool, fields: Mapping[str, Any]) -> Usage:
    """The usage that counts for a span.

    An agent's or workflow's own span repeats the sum over the calls below it. Counting it would bill each call twice,
    so it stays in the attributes only, unless the span is a call to a remote agent, which has nothing below it here.
    """
    if operation in MODEL_OPERATIONS or remote:
        return usage_of(fields)
    return _NO_USAGE


def tool_of(operation: str, fields: Mapping[str, Any]) -> str | None:
    """The tool's name; Traceloop names it as the span's entity, BeeAI within its event's target."""
    if (name := fields.get("tool")) is not None:
        return str(name)
    if operation == Operation.TOOL and (found := _BEEAI_TOOL.fullmatch(str(fields.get("target")))):
        return found["name"]
    return str(fields["entity"]) if operation == Operation.TOOL and "entity" in fields else None


_IDENTITY_FIELDS = ("user", "session", "run", "agent")


def identity_of(fields: Mapping[str, Any], operation: str, bound: Identity) -> Identity:
    """Who a span belongs to: what the key or headers bound stays; the attributes fill the rest."""
    found: dict[str, str] = {}
    for name in _IDENTITY_FIELDS:
        if name in fields and getattr(bound, name) is None and fields[name] not in ("", None):
            found[name] = str(fields[name])
    if operation == Operation.AGENT and "agent" not in found and bound.agent is None and "entity" in fields:
        found["agent"] = str(fields["entity"])
    if not found:
        return bound
    return Identity(
        tenant=bound.tenant,
        key=bound.key,
        user=found.get("user", bound.user),
        session=found.get("session", bound.session),
        run=found.get("run", bound.run),
        agent=found.get("agent", bound.agent),
        sources=bound.sources | dict.fromkeys(found, Source.ATTRIBUTE.value),
    )
