"""Measures what an output format costs: the same cases as free text and as JSON in four ways, paired, task by task.

Forms: `free` (text that ends in a line "Answer: ..."), `json` (JSON mode), `strict` (a strict schema with the answer
alone), `two pass` (free text first, then a call that sees that text alone and puts its answer into the schema) and
`reasoning first` (a strict schema in which the reasons come before the answer). From each the answer is taken out by
one rule, and the suite's scorers judge the answer alone; an output that breaks its form has no answer and is wrong.

Every form is compared with free text over the same cases. All claims about one task, of a form being worse, better or
within the margin, hold together at 95%: each is made at 95% corrected for the number of forms (Bonferroni). A form is
recommended for a task if it is shown to be non-inferior there, the one with the fewest tokens of those that are.
Otherwise the task's recommendation is free text where every form is shown to be worse, and else "not resolved".
Nothing is said of one task from another.

Where log-probabilities are asked for, each reply also tells what its form's mask took away before a token was drawn
(`analysis/masked_mass.py`): a form under which the model wanted to say something else shows it early, also where the
cases are too few to show a cost. Whether the cases from which more was masked lost more is told beside it. No verdict
and no recommendation rests on either.

Limits: whether a format costs accuracy is disputed, and differs by model, prompt and task; that is why it is measured.
A prompt that dictates another output ("answer with the number alone") disagrees with a form: leave that to the forms.
Forms need an interface with `response_format`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.analysis.masked_mass import early_sign
from watchkeeper.analysis.paired import Comparison
from watchkeeper.analysis.two_samples import by_cluster
from watchkeeper.engines.experiments.arms import Answers, Bench, against, together
from watchkeeper.engines.experiments.results import Result
from watchkeeper.engines.experiments.runner import Judge
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.ports import Completion
from watchkeeper.kinds.scorer import Scores, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Form = Literal["free", "json", "strict", "two pass", "reasoning first"]
FORMS: tuple[Form, ...] = ("free", "json", "strict", "two pass", "reasoning first")
Verdict = Literal["better", "worse", "equivalent", "non-inferior", "not resolved"]
Price = Callable[[Result], float | None]

_ALPHA = 0.05
_MARKED = re.compile(r"(?:^|\n)[ \t]*[*_]*Answer:?[*_]*:?[ \t]*(.+?)[ \t]*(?=\n|\Z)", re.IGNORECASE)
_TEXT = {"type": "string"}
_LOGPROBS = {"logprobs": True, "top_logprobs": 5}
TOLD: dict[Form, str] = {
    "free": "Think as long as you need. End with a line of its own: Answer: and the answer.",
    "json": 'Reply with a JSON object with one key, "answer", whose value is the answer as a string.',
    "strict": 'Reply with a JSON object with one key, "answer", whose value is the answer as a string.',
    "two pass": "Think as long as you need. End with a line of its own: Answer: and the answer.",
    "reasoning first": (
        'Reply with a JSON object with two keys: first "reasoning", with your reasons, then "answer", with the answer '
        "as a string."
    ),
}
SECOND = 'Put the answer of this text into a JSON object with one key, "answer", and that answer as a string.'


class Tax(Record):
    """One form in one task. `valid` is the share of outputs that keep the form, `accuracy` the score's mean.

    `effect` is this form's score minus that of free text over the same cases (None for free text itself), `verdict`
    what may be said of it. Tokens, latency and cost are means over answers, None where unknown.

    `masked` is the mean probability that the form's mask took from a reply (None: not measured), over `masked.n` cases;
    where not all of it is `masked_exact` it is at least so much. `early_sign` is how much more accuracy was lost
    against free text in the half of the cases from which more was masked than in the other half.
    """

    task: str
    form: Form
    n: int
    accuracy: Estimate | None
    valid: Estimate
    effect: Estimate | None
    p_value: float | None
    verdict: Verdict | None
    minimum_detectable_effect: float | None
    input_tokens: float | None
    output_tokens: float | None
    latency_s: float | None
    usd: float | None
    failed: int
    masked: Estimate | None = None
    masked_exact: bool = False
    early_sign: Estimate | None = None


class Advice(Record):
    """What is recommended for one task: a form, or None where it is not resolved, and why."""

    task: str
    form: Form | None
    sentence: str


class FormatTax(Record):
    """A report: every form in every task, and a recommendation for each task."""

    score: str
    margin: float
    rows: tuple[Tax, ...]
    advice: tuple[Advice, ...]


class Extracting(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer that is shown the answer that was taken out of an output; an output without one is shown as empty."""

    scorer: Any
    form: Form

    @property
    def header(self) -> Header:
        """The scorer's own."""
        return self.scorer.header  # type: ignore[no-any-return]

    def score(self, subject: Subject) -> Scores | Awaitable[Scores]:
        """What the scorer says of the answer."""
        answer = answer_in(self.form, subject.output)
        judged: Scores | Awaitable[Scores] = self.scorer.score(msgspec.structs.replace(subject, output=answer or ""))
        return judged


class TwoPass:
    """Asks twice: for free text, and then for its answer in a schema. Tokens and time are of both."""

    def __init__(self, ask: Any) -> None:
        self._ask = ask

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """Both passes of the first draw."""
        return await self(messages, parameters, "0")

    async def __call__(self, messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        """Both passes of a draw; a pass that failed is the answer."""
        first = await self._pass(messages, parameters, draw)
        if first.error is not None:
            return first
        talk = [{"role": "system", "content": SECOND}, {"role": "user", "content": first.output or ""}]
        second = await self._pass(json.dumps(talk), {**parameters, **parameters_of("strict")}, draw)
        return msgspec.structs.replace(
            second,
            input_tokens=_sum(first.input_tokens, second.input_tokens),
            output_tokens=_sum(first.output_tokens, second.output_tokens),
            masked=second.masked,
            duration_ns=first.duration_ns + second.duration_ns,
        )

    async def _pass(self, messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        if callable(self._ask):
            return await self._ask(messages, parameters, draw)  # type: ignore[no-any-return]
        return await self._ask.complete(messages, parameters)  # type: ignore[no-any-return]


async def ask_forms(bench: Bench, repeats: int, masked: bool = False) -> dict[Form, Answers]:
    """Ask all cases in every form, all forms at the same time; with `masked` also for log-probabilities."""
    plan = bench.plan
    width = max(1, plan.concurrency // len(FORMS))
    given = {**plan.parameters, **(_LOGPROBS if masked else {})}
    bench.plan = plan = msgspec.structs.replace(plan, repeats=repeats, concurrency=width, parameters=given)
    arms = [
        bench(
            form,
            instructed(TOLD[form]),
            parameters={**plan.parameters, **({} if form == "two pass" else parameters_of(form))},
            ask=TwoPass(bench.ask) if form == "two pass" else None,
            judges=tuple(_extracting(judge, form) for judge in plan.judges),
            draw=f"{form}.",
        )
        for form in FORMS
    ]
    return dict(zip(FORMS, await together(*arms), strict=True))


def _extracting(judge: Judge, form: Form) -> Judge:
    scorer: Any = Extracting(scorer=judge.scorer, form=form)
    return Judge(scorer=scorer, name=judge.name)


def parameters_of(form: Form) -> dict[str, Any]:
    """The request parameters of a form."""
    if form == "json":
        return {"response_format": {"type": "json_object"}}
    names = {"strict": ("answer",), "two pass": ("answer",), "reasoning first": ("reasoning", "answer")}.get(form)
    if names is None:
        return {}
    schema = {
        "type": "object",
        "properties": dict.fromkeys(names, _TEXT),
        "required": list(names),
        "additionalProperties": False,
    }
    described = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def instructed(told: str) -> Callable[[Case], Case]:
    """A change that puts an instruction at the end of the system message, or makes one."""

    def change(case: Case) -> Case:
        messages = json.loads(case.messages)
        for index, message in enumerate(messages):
            if message.get("role") in ("system", "developer") and isinstance(message.get("content"), str):
                messages[index] = {**message, "content": f"{message['content']}\n\n{told}"}
                break
        else:
            messages.insert(0, {"role": "system", "content": told})
        return msgspec.structs.replace(case, messages=json.dumps(messages, ensure_ascii=False))

    return change


def answer_in(form: Form, output: str | None) -> str | None:
    """The answer in an output, None where the output does not keep its form."""
    if output is None:
        return None
    if form == "free":
        marked = _MARKED.findall(output)
        return _tidy(marked[-1]) if marked else None
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "answer" not in value:
        return None
    answer = value["answer"]
    return _tidy(answer if isinstance(answer, str) else json.dumps(answer))


def format_tax(
    answers: Mapping[Form, Answers],
    tasks: Mapping[str, str],
    score: str,
    margin: float,
    price: Price,
    timed: bool = True,
) -> FormatTax:
    """Compare the forms in every task. `tasks` maps cases to tasks; with `timed` False latencies are left out."""
    rows: list[Tax] = []
    advice: list[Advice] = []
    for task in sorted(set(tasks.values())):
        some = {case for case, where in tasks.items() if where == task}
        sides = {form: _only(answers[form], some) for form in answers}
        free = sides["free"].values(score)
        made = [_row(task, form, side, free, score, margin, price, timed) for form, side in sides.items()]
        rows += made
        advice.append(_advised(task, made))
    return FormatTax(score=score, margin=margin, rows=tuple(rows), advice=tuple(advice))


def _row(
    task: str,
    form: Form,
    side: Answers,
    free: Mapping[str, Sequence[float]],
    score: str,
    margin: float,
    price: Price,
    timed: bool,
) -> Tax:
    values = side.values(score)
    found: Comparison | None = None
    if form != "free" and values.keys() & free.keys():
        found = against(free, values, side.clusters, margin, 1 - _ALPHA / (len(FORMS) - 1))
    good = [result for result in side.results if result.error is None]
    masses = side.measured(lambda r: None if r.masked is None else r.masked.mass)
    return Tax(
        task=task,
        form=form,
        n=len(values),
        accuracy=_mean(values, side),
        valid=_mean(side.measured(lambda r: None if r.error else float(answer_in(form, r.output) is not None)), side)
        or Estimate(value=float("nan"), low=0.0, high=1.0, n=0, method="no answer"),
        effect=None if found is None else found.difference,
        p_value=None if found is None else found.p_value,
        verdict=None if found is None else found.verdict,
        minimum_detectable_effect=None if found is None else found.minimum_detectable_effect,
        input_tokens=_average(good, lambda r: r.input_tokens),
        output_tokens=_average(good, lambda r: r.output_tokens),
        latency_s=_average(good, lambda r: r.duration_ns / 1e9) if timed else None,
        usd=_average(good, price),
        failed=side.errors,
        masked=_bounded(_mean(masses, side)),
        masked_exact=bool(masses) and all(r.masked.exact for r in side.results if r.masked is not None),
        early_sign=_sign(masses, values, free, side) if form != "free" else None,
    )


def _sign(
    masses: Mapping[str, Sequence[float]],
    values: Mapping[str, Sequence[float]],
    free: Mapping[str, Sequence[float]],
    side: Answers,
) -> Estimate | None:
    """Whether the cases from which more was masked lost more; clusters count as one."""
    both = sorted(masses.keys() & values.keys() & free.keys())
    groups = [side.clusters[case] for case in both]
    return early_sign(
        by_cluster([_plain(masses[case]) for case in both], groups),
        by_cluster([_plain(free[case]) - _plain(values[case]) for case in both], groups),
    )


def _bounded(mass: Estimate | None) -> Estimate | None:
    """The interval of a mean probability goes no further than probabilities do."""
    return mass and msgspec.structs.replace(mass, low=max(0.0, mass.low), high=min(1.0, mass.high))


def _plain(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _advised(task: str, rows: Sequence[Tax]) -> Advice:
    """What the rows of one task allow one to recommend."""
    formed = [row for row in rows if row.form != "free"]
    free_failed = next((row.failed for row in rows if row.form == "free"), 0)
    safe = [
        row for row in formed if row.verdict in ("better", "equivalent", "non-inferior") and row.failed <= free_failed
    ]
    if safe:
        counted = all(row.output_tokens is not None for row in safe)
        best = min(safe, key=_tokens) if counted else safe[0]
        others = ", ".join(row.form for row in safe if row is not best)
        of_those = "takes fewest tokens" if counted else "is the plainest (their tokens are not known)"
        told = f"{best.form!r} is shown to cost less than the margin here, and of those that are it {of_those}"
        return Advice(task=task, form=best.form, sentence=f"{told}{f' (others: {others})' if others else ''}.")
    if formed and all(row.verdict == "worse" for row in formed):
        said = "Every form is shown to be worse than free text here: take free text and read its answer out."
        return Advice(task=task, form="free", sentence=said)
    worse = ", ".join(row.form for row in formed if row.verdict == "worse")
    seen = [row.minimum_detectable_effect for row in formed if row.minimum_detectable_effect is not None]
    smallest = f" These cases could have shown {max(seen):.2g}." if seen else ""
    known = f" Shown to be worse: {worse}." if worse else ""
    said = f"No form is shown to be non-inferior, and not every one to be worse: ask more cases.{known}{smallest}"
    return Advice(task=task, form=None, sentence=said)


def _mean(values: Mapping[str, Sequence[float]], side: Answers) -> Estimate | None:
    """The mean over cases with its interval; cases of one cluster count together."""
    if not values:
        return None
    means = [_plain(each) for each in values.values()]
    groups = [side.clusters[case] for case in values]
    if len(set(groups)) < len(groups):
        return intervals.clustered(means, groups)
    if set(means) <= {0.0, 1.0}:
        return intervals.wilson(sum(means), len(means))
    return intervals.mean(means)


def _average(results: Sequence[Result], of: Callable[[Result], float | None]) -> float | None:
    """The mean; None where one is unknown."""
    values = [of(result) for result in results]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _tokens(row: Tax) -> float:
    return (row.output_tokens or 0.0) + (row.input_tokens or 0.0)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _tidy(answer: str) -> str:
    return answer.strip().strip("*_` ").rstrip(".").strip()


def _only(side: Answers, cases: set[str]) -> Answers:
    return Answers(name=side.name, results=tuple(each for each in side.results if each.case_id in cases))
