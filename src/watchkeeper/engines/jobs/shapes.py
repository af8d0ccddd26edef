"""What callers may send about jobs and effects, in strict shapes; a wrong field is named in the answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.submissions import Sent

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Meta(max_length=16_000)]
Seconds = Annotated[float, Meta(gt=0, le=30 * 86_400)]
T = TypeVar("T", bound="Sent")


class SentRequest(Sent):
    """A call of the gateway. In `body` an object {"$output": "step"} stands for what a former step gave, as text."""

    path: Literal["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"]
    body: dict[str, Any]


class SentReceipt(Sent):
    """An effect that somebody outside carries out under the job's run: the step ends when its receipt is there."""

    tool: Name
    object: Name


class SentStep(Sent):
    """One declared step: a call (`request`), an effect to wait for (`effect`), or a question to a person (`ask`)."""

    name: Name
    request: SentRequest | None = None
    effect: SentReceipt | None = None
    ask: Text | None = None


class SentCondition(Sent):
    """What must hold of the result: a scorer, a policy on the reply, or an effect that is done.

    A scorer's every score must reach `at_least`, or carry `label` where that is given. `step` names whose output is
    judged (the last call's when not given), `expected` what the scorer compares with.
    """

    name: Name | None = None
    scorer: Name | None = None
    policy: Name | None = None
    effect: Name | None = None
    parameters: dict[str, Any] = msgspec.field(name="with", default_factory=dict)
    at_least: float = 1.0
    label: Name | None = None
    step: Name | None = None
    expected: Text | None = None


class SentWebhook(Sent):
    """Where to tell of the job's end, and of a question that it has."""

    url: Annotated[str, Meta(max_length=2000, pattern=r"^https?://[^\s]+$")]


class SentJob(Sent):
    """A job: one `request`, or `steps` in order; what must hold for it to be verified; whom to tell.

    `start_within_s` and `stall_s` are the dead man's: without a start or without progress for so long its outcome
    counts as unknown.
    """

    request: SentRequest | None = None
    steps: Annotated[tuple[SentStep, ...], Meta(max_length=50)] = ()
    postconditions: Annotated[tuple[SentCondition, ...], Meta(max_length=50)] = ()
    require: Literal["any", "verified"] = "any"
    webhook: SentWebhook | None = None
    name: Name | None = None
    run: Name | None = None
    start_within_s: Seconds = 600.0
    stall_s: Seconds = 1800.0

    def planned(self) -> tuple[SentStep, ...]:
        """The steps, of a single request too."""
        return self.steps or (SentStep(name="request", request=self.request),)


class SentResume(Sent):
    """What a waiting job goes on with: the answer to its question, or leave to make an unknown call again."""

    input: Text | None = None
    on_unknown: Literal["refuse", "retry"] = "refuse"


class SentProgress(Sent):
    """That a step which somebody outside carries out goes on."""

    progress: Annotated[float, Meta(ge=0, le=1)] | None = None
    message: Annotated[str, Meta(max_length=500)] | None = None


class SentClaim(Sent):
    """A claim to an effect. `claim` is the claimant's own token: asking twice with it is asking once."""

    run: Name
    step: Name
    tool: Name
    object: Name
    claim: Annotated[str, Meta(min_length=8, max_length=100)]
    lease_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    amount_usd: float | None = None
    reversible: bool | None = None
    count: Annotated[int, Meta(ge=0, lt=1 << 53)] = 1
    detail: Annotated[str, Meta(max_length=2000)] | None = None
    trace_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")] | None = None
    span_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")] | None = None
    door: Literal["api", "sdk"] = "api"


class SentSettle(Sent):
    """What became of an effect. `failed` says that it certainly did not happen: then it may be claimed again."""

    effect_id: Name
    status: Literal["done", "failed", "undone", "unknown"]
    claim: Annotated[str, Meta(min_length=8, max_length=100)] | None = None
    receipt: msgspec.Raw = msgspec.Raw()
    detail: Annotated[str, Meta(max_length=2000)] | None = None


def read(body: bytes, kind: type[T]) -> T:
    """Decode a body; raises a 422 that names the field."""
    found: T = _decoded(body or b"{}", kind)
    return found


def read_many(body: bytes, kind: type[T]) -> list[T]:
    """Decode a list; raises a 422 that names the field."""
    found: list[T] = _decoded(body, list[kind])  # type: ignore[valid-type]
    return found


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".")
        raise Refusal(
            422, "invalid_field", f"{field or 'The body'}: {what[0].lower()}{what[1:]}.", param=field or None
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"The body is not JSON: {error}.") from error


def checked(job: SentJob) -> SentJob:
    """A job whose parts fit together; raises a 422 naming the part."""
    if (job.request is None) == (not job.steps):
        raise _wrong("A job has either one `request` or `steps`.", "request")
    names = [step.name for step in job.planned()]
    for number, step in enumerate(job.planned()):
        if sum(each is not None for each in (step.request, step.effect, step.ask)) != 1:
            raise _wrong(f"The step {step.name!r} needs exactly one of request, effect and ask.", f"steps[{number}]")
        if names.count(step.name) > 1:
            raise _wrong(f"Two steps are called {step.name!r}; give each a name of its own.", f"steps[{number}].name")
        if step.request is not None and step.request.body.get("stream"):
            raise _wrong("A job's call is not streamed; leave `stream` out.", f"steps[{number}].request.body.stream")
        if step.request is not None and step.request.body.get("background"):
            place = f"steps[{number}].request.body.background"
            raise _wrong("A job waits for its call's reply, so the call cannot run in the background.", place)
        for used in outputs_in({} if step.request is None else step.request.body):
            if used not in names[:number]:
                raise _wrong(f"{step.name!r} uses the output of {used!r}, which is no step before it.", "steps")
    for number, each in enumerate(job.postconditions):
        place = f"postconditions[{number}]"
        if sum(kind is not None for kind in (each.scorer, each.policy, each.effect)) != 1:
            raise _wrong("A postcondition is exactly one of scorer, policy and effect.", place)
        if each.step is not None and each.step not in names:
            raise _wrong(f"There is no step {each.step!r}; there are: {', '.join(names)}.", f"{place}.step")
        if each.effect is not None and not _is_effect(job, each.effect):
            raise _wrong(f"{each.effect!r} is no step with an effect.", f"{place}.effect")
    if job.require == "verified" and not job.postconditions:
        raise _wrong(
            "require is 'verified' but the job declares no postconditions, so its output could never be given.",
            "postconditions",
        )
    return job


def outputs_in(value: Any) -> list[str]:
    """The steps whose outputs a body uses."""
    if isinstance(value, dict):
        if set(value) == {"$output"}:
            return [str(value["$output"])]
        return [name for each in value.values() for name in outputs_in(each)]
    return [name for each in value for name in outputs_in(each)] if isinstance(value, list) else []


def with_outputs(value: Any, outputs: dict[str, str]) -> Any:
    """A body with the outputs of former steps in their places."""
    if isinstance(value, dict):
        if set(value) == {"$output"}:
            return outputs[str(value["$output"])]
        return {key: with_outputs(each, outputs) for key, each in value.items()}
    return [with_outputs(each, outputs) for each in value] if isinstance(value, list) else value


def _is_effect(job: SentJob, name: str) -> bool:
    return any(step.name == name and step.effect is not None for step in job.planned())


def _wrong(sentence: str, param: str) -> Refusal:
    return Refusal(422, "invalid_field", sentence, param=param)
