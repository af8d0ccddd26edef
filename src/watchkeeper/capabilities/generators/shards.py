"""Cuts a task into turns: what is wanted comes first, the facts come one by one.

Problem
    Tasks in an eval are told whole. People tell them in pieces, and systems that answer the whole well guess early and
    stay lost when told in pieces (Laban et al., 2025, "LLMs get lost in multi-turn conversation").

Method
    The last user message is cut into sentences and list lines. The one that asks (the last one with a question mark,
    else the first) becomes the first turn, all others follow in their order, or shuffled with `shuffle`. More than
    `most` shards are joined at the end. The new case's message list ends with that many user messages in a row; whoever
    plays it asks after each one. A task of one sentence is not cut and yields no case.

Limits
    By rule, not by understanding: a sentence that leans on the one before it ("It was blue.") may come apart from it
    when shuffled. Attribute `turns` is the number of user messages that came of the one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case

_CUT = re.compile(r"(?<=[.!?。！？])(?<!\b[A-Z]\.)\s+(?=\S)|\n+")


class Shards(msgspec.Struct, frozen=True, kw_only=True):
    """A task in turns; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="shards",
        version="1",
        theme="sessions",
        summary="Cuts a task into turns.",
        references=("https://arxiv.org/abs/2505.06120",),
    )

    most: Annotated[int, Meta(ge=2, le=50, description="Turns at most.")] = 8
    shuffle: Annotated[bool, Meta(description="Tell the facts in a drawn order.")] = False
    count: Annotated[int, Meta(ge=1, le=20, description="New cases for each case; more than one only shuffled.")] = 1

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the cases in turns, in the order of the cases; the same `rng` gives the same ones."""
        for case in cases:
            text = asked_text(case.messages)
            said = [each.strip() for each in _CUT.split(text or "") if each and each.strip()]
            if len(said) < 2:
                continue
            asks = max((at for at, each in enumerate(said) if each.endswith(("?", "？"))), default=0)
            rest = said[:asks] + said[asks + 1 :]
            for number in range(self.count if self.shuffle else 1):
                if self.shuffle:
                    rng.shuffle(rest)
                told = [said[asks], *rest]
                told = [*told[: self.most - 1], " ".join(told[self.most - 1 :])] if len(told) > self.most else told
                made = child(case, _in_turns(case.messages, told), "shards", f"{len(told)}-turns", number)
                yield msgspec.structs.replace(made, attributes={**made.attributes, "turns": len(told)})


def _in_turns(messages: str, told: list[str]) -> str:
    listed = json.loads(messages)
    at = max(index for index, message in enumerate(listed) if message.get("role") == "user")
    turns = [{"role": "user", "content": each} for each in told]
    return json.dumps([*listed[:at], *turns], ensure_ascii=False)
