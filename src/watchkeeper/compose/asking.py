"""Builds what evals ask with: a provider for each interface, prices, kept answers, and an `Asker` around them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from watchkeeper.config import Config
from watchkeeper.engines.experiments.asking import Asker, Restraint
from watchkeeper.engines.experiments.run_file import forget_runs
from watchkeeper.kinds.ports import AnswerCache, Completion, ModelProvider
from watchkeeper.records.span import Usage

if TYPE_CHECKING:
    from watchkeeper.adapters.models.posting import Posting
    from watchkeeper.adapters.store.sqlite_answers import SQLiteAnswers

Api = Literal["openai", "responses", "anthropic"]
ANSWERS = Path("evals") / "answers.sqlite"
"""Where answers are kept, below the data directory."""
RUNS = Path("evals") / "runs"
"""Where runs are kept that can go on."""


def provider_of(
    api: Api, base_url: str, key: str | None, timeout_s: float = 120.0, headers: Mapping[str, str] | None = None
) -> Posting:
    """The provider for an interface; close it after use, or use it as an async context manager.

    It speaks HTTP by the gateway's own client, which costs a call half of what a library does.
    """
    from watchkeeper.engines.gateway.transport.client import Client

    if api == "anthropic":
        from watchkeeper.adapters.models.anthropic_http import AnthropicHttp

        return AnthropicHttp(Client, base_url, key, timeout_s=timeout_s, headers=headers)
    if api == "responses":
        from watchkeeper.adapters.models.responses_http import ResponsesHttp

        return ResponsesHttp(Client, base_url, key, timeout_s=timeout_s, headers=headers)
    from watchkeeper.adapters.models.openai_http import OpenAIHttp

    return OpenAIHttp(Client, base_url, key, timeout_s=timeout_s, headers=headers)


def keeps_answers(config: Config) -> bool:
    """Whether answers may be kept: not in the clear beside a record that is encrypted at rest."""
    return config.recording.encryption == "none"


def forget_answers(data: Path) -> int:
    """Take away all kept answers of a data directory, and the runs that could go on; says how many answers there were.

    Whose words an answer repeats is not known, so whoever is erased takes all of them along: they can be asked again.
    """
    forget_runs(data / RUNS)
    if not (data / ANSWERS).exists():
        return 0
    kept = cache_of(data)
    try:
        return kept.forget()
    finally:
        kept.close()


def cache_of(data: Path) -> SQLiteAnswers:
    """The kept answers of a data directory, which is made where it is missing.

    Raises `StoreError` when they cannot be used, and `HomeError` when the directory cannot.
    """
    from watchkeeper.adapters.store.sqlite_answers import SQLiteAnswers
    from watchkeeper.engines.recorder.home import Home

    Home(data)
    return SQLiteAnswers(data / ANSWERS)


def price_of(config: Config) -> Callable[[Completion], float | None]:
    """What a completion cost in US dollars; None where its model or its usage is unknown."""
    from watchkeeper.compose.pricing import prices_of

    prices = prices_of(config)

    def price(answer: Completion) -> float | None:
        if answer.input_tokens is None or answer.output_tokens is None:
            return None
        usage = Usage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
        cost = prices.cost(None, answer.model, usage, time.time_ns())
        return None if cost is None else cost.usd

    return price


def most_of(config: Config) -> Callable[[str, Mapping[str, object]], float | None]:
    """The most that a question can cost in US dollars; None where its model has no price or its output no limit.

    A token is at least one byte, so the question has at most as many tokens as bytes.
    """
    from watchkeeper.compose.pricing import prices_of

    prices = prices_of(config)

    def most(messages: str, parameters: Mapping[str, object]) -> float | None:
        limits = [parameters.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
        stated = [limit for limit in limits if isinstance(limit, int | float) and not isinstance(limit, bool)]
        model = parameters.get("model")
        if not stated or not isinstance(model, str):
            return None
        choices = parameters.get("n", 1)
        output = math.ceil(max(stated)) * (choices if isinstance(choices, int) else 1)
        rest = {name: value for name, value in parameters.items() if name in ("tools", "response_format", "system")}
        inward = len(messages.encode("utf-8", "replace")) + len(repr(rest).encode("utf-8", "replace"))
        cost = prices.worst_case(None, model, (inward, output), time.time_ns())
        return None if cost is None else cost.usd

    return most


def asker_of(
    config: Config,
    provider: ModelProvider,
    target: str,
    *,
    restraint: Restraint | None = None,
    cache: AnswerCache | None = None,
    scope: str = "",
) -> Asker:
    """An asker with the prices of the settings. `cache` None keeps nothing; it stays the caller's to close."""
    options: dict[str, Any] = {"restraint": restraint, "cache": cache, "scope": scope}
    return Asker(provider, target, price=price_of(config), most=most_of(config), **options)
