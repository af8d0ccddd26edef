"""Asks a model how good an answer is, pinned so that the same ruler can be known again.

Problem
    What is good often has no reference to compare with letter for letter. A model can judge, but a judge whose prompt,
    model or way of being read changes quietly is another ruler, and a score that does not say which one it is of cannot
    be compared with last month's.

Method
    The template is filled with the case's question, the answer and what was expected, each as a JSON string, so that
    an answer cannot end its own quotation. The judge's reply is read by one rule: the last match of `parse`, whose
    first group is a label of `labels` or a number between `low` and `high`, scaled to 0..1. With `pairwise` the answer
    is shown against the expected one in both orders: 1 where it wins both, 0 where it loses both, else 0.5. Model,
    template, parameters and rule are the scorer's fields, so a score's parameters digest names the judge.

Limits
    A judge errs and favours; hold it against people's labels with `watchkeeper judge audit`, and correct it with
    `watchkeeper judge estimate`. A judge of the family that wrote the answers favours its kin: a run warns of that. An
    answer can still talk to its judge. A reply that the rule cannot read, and a call that fails, is not judged: no
    value and the reason, never 0. The endpoint's address is part of the digest, its key is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from watchkeeper.kinds.header import Header
from watchkeeper.kinds.scorer import Mark, Scores, Subject

if TYPE_CHECKING:
    from watchkeeper.kinds.ports import ModelProvider

_GRADE = (
    "You grade an answer.\nQuestion: {input}\nExpected: {expected}\nAnswer: {output}\n"
    "Does the answer say what is expected? End with one line: VERDICT: yes, or VERDICT: no."
)
_PAIR = (
    "Which of two answers to a question is better?\nQuestion: {input}\nAnswer 1: {first}\nAnswer 2: {second}\n"
    "End with one line: VERDICT: 1, or VERDICT: 2."
)
_SHOWN = 120


class Judge(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A model as a judge; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="judge",
        version="1",
        theme="quality",
        summary="What a pinned model says of the answer: its prompt, parameters and reading are part of the score.",
        references=("Zheng et al. 2023, Judging LLM-as-a-judge", "Zeng et al. 2024, LLMBar"),
    )

    model: Annotated[str, msgspec.Meta(description="The model that judges.", min_length=1)]
    base_url: Annotated[str, msgspec.Meta(description="Its OpenAI-compatible endpoint.", min_length=1)]
    api_key: Annotated[str | None, msgspec.Meta(description="The environment variable with its key, as env:NAME.")] = (
        None
    )
    template: Annotated[
        str | None,
        msgspec.Meta(description="What it is asked, with {input}, {output}, {expected}; {first}, {second} in pairs."),
    ] = None
    pairwise: Annotated[bool, msgspec.Meta(description="Compare with the expected answer, in both orders.")] = False
    parse: Annotated[
        str, msgspec.Meta(description="The pattern whose last match is the verdict; its first group is read.")
    ] = r"VERDICT:\s*\**\s*([\w.\-]+)"
    labels: Annotated[dict[str, float], msgspec.Meta(description="What labels are worth, 0 to 1.")] = msgspec.field(
        default_factory=lambda: {"yes": 1.0, "no": 0.0}
    )
    low: Annotated[float, msgspec.Meta(description="The lowest number it may give.")] = 0.0
    high: Annotated[float, msgspec.Meta(description="The highest number it may give.")] = 1.0
    parameters: Annotated[dict[str, Any], msgspec.Meta(description="Other fields of the request.")] = msgspec.field(
        default_factory=lambda: {"temperature": 0}
    )

    def __post_init__(self) -> None:
        """Refuse a judge that could never be read; raises `ValueError`."""
        try:
            groups = re.compile(self.parse).groups
        except re.error as error:
            raise ValueError(f"`parse` is no pattern: {error}") from error
        if groups < 1:
            raise ValueError("`parse` needs a group around what is read, such as VERDICT: (yes|no)")
        if not self.low < self.high:
            raise ValueError(f"`low` must lie below `high`, and they are {self.low:g} and {self.high:g}")
        if any(not 0 <= worth <= 1 for worth in self.labels.values()):
            raise ValueError("`labels` are worth 0 to 1 each")

    def attached(self, provider: ModelProvider) -> Judge:
        """The same judge, with somebody to ask: equal in every field, and so in its digest."""
        judge = msgspec.structs.replace(self)
        judge.__dict__["provider"] = provider
        return judge

    async def score(self, subject: Subject) -> Scores:
        """Ask and read; once, or in both orders."""
        if "provider" not in self.__dict__:
            return (_unjudged("nobody can be asked; this scorer works where a suite runs"),)
        if subject.output is None:
            return (_unjudged("there is no output to judge"),)
        if not self.pairwise:
            said, reason = await self._ask(self._filled(subject))
            if reason is not None:
                return (_unjudged(reason),)
            value = self._worth(said or "")
            return (_unjudged(f"the verdict {said!r} has no worth") if value is None else _mark(value, said),)
        if subject.case is None or subject.case.expected is None:
            return (_unjudged("the case has no expected answer to compare with"),)
        own = await self._ask(self._filled(subject, own_first=True))
        swapped = await self._ask(self._filled(subject, own_first=False))
        for said, reason in (own, swapped):
            if reason is not None or said not in ("1", "2"):
                return (_unjudged(reason or f"the verdict {said!r} is neither 1 nor 2"),)
        wins = (own[0] == "1") + (swapped[0] == "2")
        return (_mark(wins / 2, f"{own[0]} with it first, {swapped[0]} with it second"),)

    def _filled(self, subject: Subject, *, own_first: bool = True) -> str:
        case = subject.case
        expected = None if case is None else case.expected
        pair = (subject.output, expected) if own_first else (expected, subject.output)
        places = {
            "input": "" if case is None else case.messages,
            "output": subject.output,
            "expected": expected,
            "first": pair[0],
            "second": pair[1],
        }
        template = self.template or (_PAIR if self.pairwise else _GRADE)
        # Only these five are places: other braces of a template are text, and so are those within an answer.
        return re.sub(
            r"\{(input|output|expected|first|second)\}",
            lambda found: msgspec.json.encode(places[found[1]]).decode(),
            template,
        )

    async def _ask(self, prompt: str) -> tuple[str | None, str | None]:
        """What the judge's reply says, or why that is not known."""
        messages = msgspec.json.encode([{"role": "user", "content": prompt}]).decode()
        provider: ModelProvider = self.__dict__["provider"]
        reply = await provider.complete(messages, {**self.parameters, "model": self.model})
        if reply.error is not None:
            return None, f"the judge's call failed: {reply.error}"
        text = reply.output or ""
        found = re.findall(self.parse, text)
        if not found:
            return None, f"the judge's reply has no verdict: {text[-_SHOWN:]!r}"
        last = found[-1] if isinstance(found[-1], str) else found[-1][0]
        return last.strip().strip("."), None

    def _worth(self, said: str) -> float | None:
        folded = {label.casefold(): worth for label, worth in self.labels.items()}
        if said.casefold() in folded:
            return folded[said.casefold()]
        try:
            number = float(said)
        except ValueError:
            return None
        return (number - self.low) / (self.high - self.low) if self.low <= number <= self.high else None


def _mark(value: float, said: str | None) -> Mark:
    return Mark(name="judge", value=value, explanation=f"the judge says {said}")


def _unjudged(reason: str) -> Mark:
    return Mark(name="judge", explanation=f"not judged: {reason}")
