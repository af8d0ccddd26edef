"""Reads the usage object of any provider to one meaning: input includes cached, output includes reasoning.

What a provider does not say stays unknown and is never zero; a count is worked out only where a stated total leaves no
choice. The shapes are told apart by their field names, never by who is said to have sent them, because gateways
and SDKs pass the shape of one provider on under the name of another.

Source: the providers' references for chat completions, Responses, Messages, generateContent and Converse, and the
recorded replies that `tests/unit/analysis/test_usage.py` holds them against.

Limits: tokens that a provider neither counts nor bills are not here (the template tokens of Cohere). A count above
2^53, below zero or not whole is taken as not said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from watchkeeper.records.record import Record
from watchkeeper.records.span import Usage

_MOST = 1 << 53
_MODALITIES = {"TEXT": "text", "AUDIO": "audio", "IMAGE": "image", "VIDEO": "video", "DOCUMENT": "image"}
_KEPT_APART = (
    "cache_write_5m_tokens", "cache_write_1h_tokens", "input_audio_tokens", "input_image_tokens", "input_video_tokens",
    "output_audio_tokens", "output_image_tokens", "output_video_tokens", "cache_audio_read_tokens",
    "cache_image_read_tokens", "output_citation_tokens", "web_searches", "audio_seconds", "input_document_pages",
    "input_annotated_document_pages",
)  # fmt: skip
"""What a price table may know besides the five counts of `Usage`."""

Object = Mapping[str, Any]


class Beside(Record):
    """Tokens that are billed besides those of the reply: another pass over the context, or another model's advice."""

    kind: str
    units: dict[str, int]
    model: str | None = None


class Counts(Record):
    """What a usage object says, by unit: `input_tokens`, `cache_write_1h_tokens`, `output_audio_tokens`, ...

    A unit that is not there is unknown. `tier` and `speed` are the service tier and speed that the usage names,
    `billed_usd` what the provider itself says the call cost, as it wrote it.
    """

    units: dict[str, int] = {}
    besides: tuple[Beside, ...] = ()
    tier: str | None = None
    speed: str | None = None
    billed_usd: str | None = None

    def usage(self) -> Usage:
        """The counts as spans keep them: what was billed besides at the same model is in input and output."""
        of = self.units.get
        more = [each.units for each in self.besides if each.model is None]
        return Usage(
            input_tokens=_plus(of("input_tokens"), [units.get("input_tokens", 0) for units in more]),
            output_tokens=_plus(of("output_tokens"), [units.get("output_tokens", 0) for units in more]),
            cache_read_tokens=_plus(of("cache_read_tokens"), [units.get("cache_read_tokens", 0) for units in more]),
            cache_write_tokens=_plus(of("cache_write_tokens"), [units.get("cache_write_tokens", 0) for units in more]),
            reasoning_tokens=of("output_reasoning_tokens"),
            parts={name: self.units[name] for name in _KEPT_APART if self.units.get(name)},
        )


def counts_of(usage: Usage) -> dict[str, int]:
    """The units of a span's usage, as a price table reads them."""
    whole = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in whole.items() if count is not None} | usage.parts


def find(body: Object) -> Object | None:
    """The usage object in a whole reply, in an event of a stream, or bare; None when none is there."""
    for place in ("usage", "usageMetadata", "usage_info", "amazon-bedrock-invocationMetrics"):
        if isinstance(body.get(place), Mapping):
            return _object(body, place)
    for wrapper in ("response", "message", "result", "x_groq", "meta"):
        inner = body.get(wrapper)
        if isinstance(inner, Mapping):
            found = inner if "billed_units" in inner else find(inner)
            if found is not None:
                return found
    return body if _shape(body) is not None else None


def read(usage: Object, api: str | None = None) -> Counts:
    """The counts of a usage object.

    `api` names the interface that wrote it where the caller knows: "responses", "anthropic" or "chat" are read as such
    even when fields of another are there as well; "embeddings" says that there is no output to count.
    """
    shape = _shape(usage)
    told = _TOLD.get(api or "")
    if told is not None and any(name in usage for name in told[0]):
        shape = told[1]
    units = {} if shape is None else shape(usage)
    if api == "embeddings":
        units = {name: count for name, count in units.items() if name == "input_tokens"} | {"output_tokens": 0}
    searches = _count(_object(usage, "server_tool_use"), "web_search_requests")
    searches = _first(searches, _count(_object(usage, "server_tool_use_details"), "web_search_requests"))
    searches = _first(searches, _count(usage, "num_search_queries"))
    if searches is not None:
        units["web_searches"] = searches
    return Counts(
        units=units,
        besides=_besides(usage),
        tier=_word(usage, "service_tier") or _word(usage, "serviceTier") or _word(usage, "trafficType"),
        speed=_word(usage, "speed"),
        billed_usd=_dollars(usage.get("cost")),
    )


def _shape(usage: Object) -> Callable[[Object], dict[str, int]] | None:
    for names, shape in _SHAPES:
        if any(name in usage for name in names):
            return shape
    return None


def _chat(usage: Object) -> dict[str, int]:
    """Chat completions: OpenAI, Azure, Groq, Mistral, DeepSeek, xAI, Together, OpenRouter, Perplexity and others."""
    into, out = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    reasoning = _first(_count(out, "reasoning_tokens"), _count(usage, "reasoning_tokens"))
    citation = _count(usage, "citation_tokens")
    total = _count(usage, "total_tokens")
    if completion is None:
        completion = _rest(total, prompt)
    if completion is not None and reasoning and _apart(usage, total, prompt, completion, reasoning):
        completion += reasoning
    if completion is not None and citation:
        completion += citation
    cached = _first(_count(into, "cached_tokens"), _count(usage, "prompt_cache_hit_tokens"))
    cached = _first(cached, _first(_count(usage, "cached_tokens"), _count(usage, "cached_prompt_text_tokens")))
    return _known(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=cached,
        cache_write_tokens=_first(_count(into, "cache_write_tokens"), _count(into, "cache_creation_tokens")),
        output_reasoning_tokens=reasoning,
        output_citation_tokens=citation,
        input_audio_tokens=_count(into, "audio_tokens"),
        output_audio_tokens=_count(out, "audio_tokens"),
    )


def _apart(usage: Object, total: int | None, prompt: int | None, completion: int, reasoning: int) -> bool:
    """Whether the reasoning tokens are counted beside the completion (xAI, Perplexity) and not within it."""
    if reasoning > completion or "num_search_queries" in usage:
        return True
    return total is not None and prompt is not None and total == prompt + completion + reasoning


def _responses(usage: Object) -> dict[str, int]:
    """OpenAI Responses, images and realtime, whose details have the singular name."""
    into = _object(usage, "input_tokens_details") or _object(usage, "input_token_details")
    out = _object(usage, "output_tokens_details") or _object(usage, "output_token_details")
    cached = _object(into, "cached_tokens_details")
    spent, written = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    total = _count(usage, "total_tokens")
    units = _known(
        input_tokens=_rest(total, written) if spent is None else spent,
        output_tokens=_rest(total, spent) if written is None else written,
        cache_read_tokens=_first(_count(into, "cached_tokens"), _count(into, "cache_read_input_tokens")),
        cache_write_tokens=_first(_count(into, "cache_write_tokens"), _count(into, "cache_creation_input_tokens")),
        output_reasoning_tokens=_first(_count(out, "reasoning_tokens"), _count(out, "thinking_tokens")),
    )
    for modality in ("text", "audio", "image", "video"):
        units |= _known(**{f"input_{modality}_tokens": _count(into, f"{modality}_tokens")})
        units |= _known(**{f"output_{modality}_tokens": _count(out, f"{modality}_tokens")})
        units |= _known(**{f"cache_{modality}_read_tokens": _count(cached, f"{modality}_tokens")})
    return units


def _messages(usage: Object) -> dict[str, int]:
    """Anthropic Messages, whoever serves them: `input_tokens` holds neither what was read from a cache nor written."""
    made = _object(usage, "cache_creation")
    five, hour = _count(made, "ephemeral_5m_input_tokens"), _count(made, "ephemeral_1h_input_tokens")
    write, read_ = _count(usage, "cache_creation_input_tokens"), _count(usage, "cache_read_input_tokens")
    if write is None and (five is not None or hour is not None):
        write = (five or 0) + (hour or 0)
    out = _object(usage, "output_tokens_details")
    return _known(
        input_tokens=_plus(_count(usage, "input_tokens"), [write or 0, read_ or 0]),
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=read_,
        cache_write_tokens=write,
        cache_write_5m_tokens=five,
        cache_write_1h_tokens=hour,
        output_reasoning_tokens=_first(_count(out, "thinking_tokens"), _count(out, "reasoning_tokens")),
    )


def _gemini(usage: Object) -> dict[str, int]:
    """Gemini and Vertex: thoughts stand beside the candidates, the tokens of tool results beside the prompt."""
    prompt, tools = _count(usage, "promptTokenCount"), _count(usage, "toolUsePromptTokenCount")
    thoughts, candidates = _count(usage, "thoughtsTokenCount"), _count(usage, "candidatesTokenCount")
    spent = _plus(prompt, [tools or 0])
    if candidates is None:
        candidates = _rest(_count(usage, "totalTokenCount"), _plus(spent, [thoughts or 0]))
    units = _known(
        input_tokens=spent,
        output_tokens=_plus(candidates, [thoughts or 0]),
        cache_read_tokens=_count(usage, "cachedContentTokenCount"),
        output_reasoning_tokens=thoughts,
    )
    for place, name in (
        ("promptTokensDetails", "input_{}_tokens"),
        ("toolUsePromptTokensDetails", "input_{}_tokens"),
        ("cacheTokensDetails", "cache_{}_read_tokens"),
        ("candidatesTokensDetails", "output_{}_tokens"),
    ):
        for part in _list(usage.get(place)):
            modality = _MODALITIES.get(str(_object({"part": part}, "part").get("modality")).upper())
            count = _count(part, "tokenCount") if modality is not None else None
            if modality is not None and count is not None:
                unit = name.format(modality)
                units[unit] = units.get(unit, 0) + count
    return units


def _converse(usage: Object) -> dict[str, int]:
    """Bedrock Converse: `inputTokens` holds neither what was read from a cache nor what was written to it."""
    read_, write = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    kept: dict[str, int] = {}
    for detail in _list(usage.get("cacheDetails")):
        if isinstance(detail, Mapping) and detail.get("ttl") in ("5m", "1h"):
            kept |= _known(**{f"cache_write_{detail['ttl']}_tokens": _count(detail, "inputTokens")})
    return kept | _known(
        input_tokens=_plus(_count(usage, "inputTokens"), [read_ or 0, write or 0]),
        output_tokens=_count(usage, "outputTokens"),
        cache_read_tokens=read_,
        cache_write_tokens=write,
    )


def _invocation(usage: Object) -> dict[str, int]:
    """The metrics that Bedrock adds to the last event of a streamed invocation."""
    read_, write = _count(usage, "cacheReadInputTokenCount"), _count(usage, "cacheWriteInputTokenCount")
    spent = _first(_count(usage, "inputTokenCount"), _count(usage, "inputTextTokenCount"))
    return _known(
        input_tokens=_plus(spent, [read_ or 0, write or 0]),
        output_tokens=_first(_count(usage, "outputTokenCount"), _count(usage, "totalOutputTextTokenCount")),
        cache_read_tokens=read_,
        cache_write_tokens=write,
    )


def _cohere(usage: Object) -> dict[str, int]:
    """Cohere bills `billed_units`; `tokens` holds its own template besides and counts where nothing was billed."""
    billed, tokens = _object(usage, "billed_units"), _object(usage, "tokens")
    if billed:
        images = _count(billed, "image_tokens")
        spent, written = _count(billed, "input_tokens"), _count(billed, "output_tokens")
        return _known(input_tokens=spent, output_tokens=written, input_image_tokens=images or None)
    return _known(
        input_tokens=_count(tokens, "input_tokens"),
        output_tokens=_count(tokens, "output_tokens"),
        cache_read_tokens=_count(usage, "cached_tokens"),
    )


def _ollama(usage: Object) -> dict[str, int]:
    return _known(input_tokens=_count(usage, "prompt_eval_count"), output_tokens=_count(usage, "eval_count"))


def _pages(usage: Object) -> dict[str, int]:
    return _known(input_document_pages=_count(usage, "pages_processed"))


_SHAPES: tuple[tuple[tuple[str, ...], Callable[[Object], dict[str, int]]], ...] = (
    (("promptTokenCount", "candidatesTokenCount", "totalTokenCount"), _gemini),
    (("inputTokens", "outputTokens"), _converse),
    (("inputTokenCount", "outputTokenCount", "inputTextTokenCount"), _invocation),
    (("billed_units", "tokens"), _cohere),
    (("prompt_tokens", "completion_tokens"), _chat),
    (("cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"), _messages),
    (("input_tokens", "output_tokens"), _responses),
    (("prompt_eval_count", "eval_count"), _ollama),
    (("pages_processed",), _pages),
)
"""The first shape of which a field is there; a mixture is read by the more telling half."""

_TOLD: dict[str, tuple[tuple[str, ...], Callable[[Object], dict[str, int]]]] = {
    "chat": (("prompt_tokens",), _chat),
    "responses": (("input_tokens",), _responses),
    "anthropic": (("input_tokens",), _messages),
}


def _besides(usage: Object) -> tuple[Beside, ...]:
    """The passes that an Anthropic reply lists and leaves out of its own counts: compactions and advice."""
    found = []
    for each in _list(usage.get("iterations")):
        kind = each.get("type") if isinstance(each, Mapping) else None
        if isinstance(kind, str) and kind != "message":
            found.append(Beside(kind=kind[:100], units=_messages(each), model=_word(each, "model")))
    return tuple(found)


def _known(**counts: int | None) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count is not None}


def _object(value: Object, name: str) -> Object:
    inner = value.get(name)
    return inner if type(inner) is dict or isinstance(inner, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any, name: str) -> int | None:
    count = value.get(name) if type(value) is dict or isinstance(value, Mapping) else None
    if count is None:
        return None
    if type(count) is int:  # nearly always
        return count if 0 <= count < _MOST else None
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < _MOST:
        return count
    return None


def _word(value: Object, name: str) -> str | None:
    word = value.get(name)
    return word[:100] if isinstance(word, str) and word else None


def _dollars(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return repr(value) if 0 <= value < _MOST else None


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _plus(count: int | None, more: list[int]) -> int | None:
    return None if count is None else count + sum(more)


def _rest(total: int | None, known: int | None) -> int | None:
    """What a stated total leaves, where it leaves anything that can be."""
    return None if total is None or known is None or total < known else total - known
