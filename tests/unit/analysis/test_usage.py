"""What providers' usage objects mean: one meaning, and unknown where nothing was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.usage import counts_of, find, read
from watchkeeper.records.span import Usage

ROWS: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "Messages: what a cache gave and took is input besides input_tokens",
        {
            "input_tokens": 6,
            "cache_creation_input_tokens": 574,
            "cache_read_input_tokens": 20_443,
            "cache_creation": {"ephemeral_5m_input_tokens": 74, "ephemeral_1h_input_tokens": 500},
            "output_tokens": 489,
            "output_tokens_details": {"thinking_tokens": 77},
            "server_tool_use": {"web_search_requests": 2},
        },
        Usage(
            input_tokens=21_023,
            output_tokens=489,
            cache_read_tokens=20_443,
            cache_write_tokens=574,
            reasoning_tokens=77,
            parts={"cache_write_5m_tokens": 74, "cache_write_1h_tokens": 500, "web_searches": 2},
        ),
    ),
    (
        "Messages: a compaction is billed and left out of the counts above it",
        {
            "input_tokens": 220,
            "cache_read_input_tokens": 0,
            "output_tokens": 8,
            "iterations": [
                {"type": "compaction", "input_tokens": 55_196, "output_tokens": 125},
                {"type": "message", "input_tokens": 220, "output_tokens": 8},
            ],
        },
        Usage(input_tokens=55_416, output_tokens=133, cache_read_tokens=0, cache_write_tokens=None),
    ),
    (
        "Gemini: thoughts are output and tool results input",
        {
            "promptTokenCount": 17,
            "candidatesTokenCount": 201,
            "thoughtsTokenCount": 213,
            "toolUsePromptTokenCount": 119,
            "totalTokenCount": 550,
        },
        Usage(input_tokens=136, output_tokens=414, reasoning_tokens=213),
    ),
    (
        "Gemini: candidates that are not counted are what the total leaves",
        {"promptTokenCount": 417, "thoughtsTokenCount": 71, "totalTokenCount": 488},
        Usage(input_tokens=417, output_tokens=71, reasoning_tokens=71),
    ),
    (
        "Gemini: without a total they are unknown",
        {"promptTokenCount": 7, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}]},
        Usage(input_tokens=7, parts={"input_audio_tokens": 5}),
    ),
    (
        "Converse: cached tokens are input besides inputTokens",
        {
            "inputTokens": 3,
            "outputTokens": 227,
            "cacheReadInputTokens": 10,
            "cacheWriteInputTokens": 1712,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 1712}],
            "totalTokens": 1952,
        },
        Usage(
            input_tokens=1725,
            output_tokens=227,
            cache_read_tokens=10,
            cache_write_tokens=1712,
            parts={"cache_write_5m_tokens": 1712},
        ),
    ),
    (
        "Bedrock's metrics of a streamed invocation",
        {"inputTokenCount": 5, "outputTokenCount": 7, "cacheReadInputTokenCount": 2},
        Usage(input_tokens=7, output_tokens=7, cache_read_tokens=2),
    ),
    (
        "Cohere bills other counts than it uses",
        {"billed_units": {"input_tokens": 431, "output_tokens": 661}, "tokens": {"input_tokens": 2190}},
        Usage(input_tokens=431, output_tokens=661),
    ),
    (
        "DeepSeek: hits are input already",
        {"prompt_tokens": 563, "completion_tokens": 116, "prompt_cache_hit_tokens": 512, "total_tokens": 679},
        Usage(input_tokens=563, output_tokens=116, cache_read_tokens=512),
    ),
    (
        "reasoning beside the completion is told by the total",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 100},
            "total_tokens": 115,
        },
        Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100),
    ),
    (
        "reasoning within the completion is told by the total",
        {
            "prompt_tokens": 254,
            "completion_tokens": 174,
            "completion_tokens_details": {"reasoning_tokens": 147},
            "total_tokens": 428,
        },
        Usage(input_tokens=254, output_tokens=174, reasoning_tokens=147),
    ),
    (
        "Perplexity counts reasoning, citations and searches apart",
        {
            "prompt_tokens": 33,
            "completion_tokens": 7163,
            "citation_tokens": 20_016,
            "reasoning_tokens": 73_997,
            "num_search_queries": 18,
        },
        Usage(
            input_tokens=33,
            output_tokens=101_176,
            reasoning_tokens=73_997,
            parts={"output_citation_tokens": 20_016, "web_searches": 18},
        ),
    ),
    ("an embedding has no output", {"prompt_tokens": 4, "total_tokens": 4}, Usage(input_tokens=4, output_tokens=0)),
    ("no total, no output", {"prompt_tokens": 4}, Usage(input_tokens=4)),
    ("Ollama", {"prompt_eval_count": 26, "eval_count": 9}, Usage(input_tokens=26, output_tokens=9)),
    ("what is no usage", {"tokens_left": 5}, Usage()),
]


@pytest.mark.parametrize(("usage", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_shape_comes_to_one_meaning(usage: dict[str, Any], expected: Usage) -> None:
    assert read(usage).usage() == expected


def test_counts_go_into_a_span_and_back() -> None:
    counts = read(ROWS[0][1])
    back = counts_of(counts.usage())
    assert back == {name: count for name, count in counts.units.items() if count or name in back}


def test_the_caller_may_say_which_interface_wrote_it() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 1}
    assert read(usage).units["input_tokens"] == 12
    assert read(usage, "responses").units["input_tokens"] == 3
    assert read({"prompt_tokens": 3, "completion_tokens": 9}, "embeddings").units == {
        "input_tokens": 3,
        "output_tokens": 0,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"usage": {"prompt_tokens": 1}},
        {"usageMetadata": {"promptTokenCount": 1}},
        {"response": {"usage": {"input_tokens": 1}}},
        {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
        {"x_groq": {"usage": {"prompt_tokens": 1}}},
        {"meta": {"billed_units": {"input_tokens": 1}}},
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}},
        {"input_tokens": 1},
    ],
)
def test_usage_is_found_where_providers_put_it(body: dict[str, Any]) -> None:
    found = find(body)
    assert found is not None and read(found).units["input_tokens"] == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        "usage", "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "iterations",
        "prompt_tokens_details", "cache_creation", "cache_read_input_tokens", "promptTokenCount", "thoughtsTokenCount",
        "promptTokensDetails", "inputTokens", "cacheDetails", "billed_units", "tokens", "cost", "service_tier", "meta",
    ]
)  # fmt: skip


@given(st.dictionaries(_NAMES, _JSON, max_size=8))
def test_whatever_stands_in_it_nothing_is_negative_and_nothing_breaks(usage: dict[str, Any]) -> None:
    counts = read(find(usage) or usage)
    assert all(count >= 0 for count in counts.units.values())
    counts.usage()
