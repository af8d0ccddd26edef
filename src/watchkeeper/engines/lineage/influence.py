"""Asks a model again without one chunk: how often the answer still says what it said, as rates with an interval.

For each chunk that was found in the recorded request, its bytes are taken out of that request, and the model is asked k
times; it is asked k times with the whole request too. An output "says it again" when it supports each sentence of the
recorded answer that rested on the chunk. The influence is the rate with the chunk less the rate without it, with
Newcombe's interval. Nothing is said from one sample.

Limits: chunks that say the same hide each other, since the other one stays when one is left out; intervals are for
each chunk by itself, not for all together. Taking a chunk out leaves what the assembler wrote around it (a heading, a
number).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.support import SUPPORTED_FROM, Chunks
from watchkeeper.analysis.two_proportions import newcombe
from watchkeeper.kinds.ports import ModelProvider
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

FEWEST_SAMPLES = 5
_LEFT_OUT = ("messages", "stream", "stream_options", "n")


class Candidate(Record):
    """A chunk to leave out: bytes [`start`, `end`) of the request, and the sentences of the answer that rest on it."""

    source_id: str
    document: str
    start: int
    end: int
    sentences: tuple[str, ...]


class Influence(Record):
    """What leaving a chunk out changed. `difference` is with less without; `failed` counts calls without an answer."""

    source_id: str
    document: str
    with_it: Estimate
    without_it: Estimate
    difference: Estimate
    failed: int = 0

    @property
    def verdict(self) -> str:
        """What the interval allows to say: "the answer rests on it", or "not resolved"."""
        return "the answer rests on it" if self.difference.low > 0 else "not resolved"


async def influences(
    request: bytes,
    candidates: Sequence[Candidate],
    provider: ModelProvider,
    samples: int,
    *,
    overrides: Mapping[str, object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Influence, ...]:
    """The influence of each chunk; `overrides` replace fields of the request (model, temperature, seed).

    Raises `ValueError` for fewer than 5 samples, or a request that is no chat request.
    """
    if samples < FEWEST_SAMPLES:
        raise ValueError(f"{samples} samples are too few to say anything; ask for at least {FEWEST_SAMPLES}.")
    whole = await _outputs(request, provider, samples, overrides, progress)
    found = []
    for each in candidates:
        cut = request[: each.start] + request[each.end :]
        without = await _outputs(cut, provider, samples, overrides, progress)
        again, rest = _again(whole, each.sentences), _again(without, each.sentences)
        known, known_without = [x for x in again if x is not None], [x for x in rest if x is not None]
        found.append(
            Influence(
                source_id=each.source_id,
                document=each.document,
                with_it=wilson(sum(known), len(known)),
                without_it=wilson(sum(known_without), len(known_without)),
                difference=newcombe(sum(known_without), len(known_without), sum(known), len(known)),
                failed=again.count(None) + rest.count(None),
            )
        )
    return tuple(found)


def _again(outputs: Sequence[str | None], sentences: Sequence[str]) -> list[bool | None]:
    return [None if output is None else _says(output, sentences) for output in outputs]


def _says(output: str, sentences: Sequence[str]) -> bool:
    chunks = Chunks([output])
    return all(chunks.support(sentence).score >= SUPPORTED_FROM for sentence in sentences)


async def _outputs(
    request: bytes,
    provider: ModelProvider,
    samples: int,
    overrides: Mapping[str, object] | None,
    progress: Callable[[int], object] | None,
) -> list[str | None]:
    messages, parameters = _parts(request, overrides or {})

    async def one() -> str | None:
        answer = await provider.complete(messages, parameters)
        if progress is not None:
            progress(1)
        return None if answer.error is not None else answer.output or ""

    return list(await asyncio.gather(*(one() for _ in range(samples))))


def _parts(request: bytes, overrides: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    try:
        fields: Any = json.loads(request)
        messages = fields["messages"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "The recorded request is no chat request with messages, so it cannot be asked again."
        ) from error
    kept = {name: each for name, each in fields.items() if name not in _LEFT_OUT}
    return json.dumps(messages, ensure_ascii=False), {**kept, **overrides}
