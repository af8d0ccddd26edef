"""Posting: each failure has words, and says whether and when the same request may go better."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.adapters.models.answering import answering
from watchkeeper.adapters.models.openai_http import OpenAIHttp
from watchkeeper.adapters.models.posting import retry_after
from watchkeeper.engines.gateway.transport.client import Client

pytestmark = pytest.mark.anyio
GOOD = {
    "model": "m-1",
    "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


async def asked(**given: Any) -> Any:
    async with answering(**given) as at, OpenAIHttp(Client, at.url, "secret-key", timeout_s=5) as provider:
        return await provider.complete('[{"role":"user","content":"x"}]', {"model": "m"})


async def test_a_good_answer_is_read_and_the_key_goes_into_one_header() -> None:
    async with answering(reply=GOOD) as at, OpenAIHttp(Client, at.url, "secret-key") as provider:
        answer = await provider.complete('[{"role":"user","content":"x"}]', {"model": "m", "seed": 7})
        path, headers, body = at.asked[0]
    assert (answer.output, answer.model, answer.input_tokens, answer.output_tokens) == ("Hi", "m-1", 3, 2)
    assert path == "/v1/chat/completions" and body["seed"] == 7
    assert [name for name, value in headers.items() if "secret-key" in value] == ["authorization"]


@pytest.mark.parametrize(
    ("status", "headers", "retriable", "hint"),
    [
        (429, {"retry-after": "7"}, True, 7.0),
        (429, {"retry-after-ms": "1500", "retry-after": "7"}, True, 1.5),
        (429, {"x-should-retry": "false"}, False, None),
        (400, {"x-should-retry": "true"}, True, None),
        (503, {"retry-after": "tomorrow"}, True, None),
        (400, {}, False, None),
        (401, {}, False, None),
        (500, {}, True, None),
    ],
)
async def test_the_provider_s_hints_are_told(
    status: int, headers: dict[str, str], retriable: bool, hint: float | None
) -> None:
    answer = await asked(status=status, headers=headers, reply={"error": {"message": "busy now"}})
    assert answer.error == f"HTTP {status}: busy now" and answer.status == status
    assert (answer.retriable, answer.retry_after_s) == (retriable, hint)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"text": "<html>"}, "no chat completion: '<html>'"),
        ({"text": ""}, "an empty reply"),
        ({"reply": {"choices": []}}, "no chat completion"),
        ({"reply": []}, "no chat completion"),
        ({"status": 302, "text": "", "headers": {"location": "http://127.0.0.1:1/"}}, "HTTP 302"),
    ],
)
async def test_what_is_no_answer_is_an_error_in_words(given: dict[str, Any], says: str) -> None:
    answer = await asked(**given)
    assert answer.output is None and answer.error is not None and says in answer.error


async def test_an_endpoint_that_is_not_there_may_be_there_later() -> None:
    async with OpenAIHttp(Client, "http://127.0.0.1:9/v1", timeout_s=5) as provider:
        answer = await provider.complete("[]", {"model": "m"})
    assert answer.error is not None and answer.retriable and answer.status is None


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
async def test_a_reply_that_is_compressed_unasked_is_read(packed: Callable[[bytes], bytes]) -> None:
    coding = "gzip" if packed is gzip.compress else "deflate"
    answer = await asked(data=packed(json.dumps(GOOD).encode()), headers={"content-encoding": coding})
    assert (answer.output, answer.error) == ("Hi", None)


async def test_a_reply_that_only_says_it_is_compressed_is_a_failure_in_words() -> None:
    answer = await asked(data=b"\x00not packed", headers={"content-encoding": "gzip"})
    assert answer.output is None and "cannot be unpacked" in (answer.error or "")


@pytest.mark.parametrize("told", ["-1", "nan", "inf", "", "soon"])
def test_a_hint_that_means_nothing_is_none(told: str) -> None:
    assert retry_after({"retry-after": told}) is None
