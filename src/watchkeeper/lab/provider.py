"""The lab provider: an OpenAI-compatible endpoint that stands in for paid models and says that it is not one.

    POST /v1/chat/completions    plain and streamed; a recorded reply if the conversation is known, else a script's
    POST /v1/responses           the same in OpenAI's Responses; also retrieve, cancel, delete, input_items, compact
    POST /v1/messages            the same in Anthropic's Messages; also count_tokens
    POST /v1/embeddings          invented vectors
    GET  /v1/models              the lab's models and the recorded ones, all owned by "watchkeeper-lab (not a model)"
    GET  /healthz                {"status": "ok", ...}
    GET  /lab/price-table        the invented prices
    GET  /lab/log                the calls served, newest last; no message text and no credentials

Azure's paths (/openai/deployments/NAME/chat/completions?api-version=...) lead to the same.

Recordings are asked first, then the script; a request that neither knows is a 404 with code
`lab_unknown_request`. What it does on purpose to break things is in `watchkeeper.lab.faults`.

One of its models is real, and very small: `lab-tiny` (`watchkeeper.lab.tiny`), which needs the extras `evals` and,
for a `response_format`, `guide`. It obeys sampling, formats and `logprobs` in chat completions, and is asked before
recordings and script.

Limits: one choice a reply (`n` of 1), and but for `lab-tiny` no sampling and no tools of its own; `temperature`,
`stop`, `response_format` and unknown fields are accepted and change nothing. `max_tokens` is obeyed in lab
tokens for text.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from watchkeeper.lab.exchange import LAB_HEADER, Exchange
from watchkeeper.lab.faults import FaultError, Faults, PlannedFault, parse_faults
from watchkeeper.lab.messages import MessagesSpeech
from watchkeeper.lab.prices import LAB_MODELS, price_table
from watchkeeper.lab.recordings import Recordings, request_digest
from watchkeeper.lab.responses import ResponsesSpeech
from watchkeeper.lab.runs import RecordedRun, load_runs
from watchkeeper.lab.script import Asked, Rule, Script, sandbox_rules
from watchkeeper.lab.shapes import (
    OWNER,
    Envelope,
    Json,
    LabError,
    Reply,
    Usage,
    completion_tokens,
    limited,
    prompt_tokens,
    wordier,
)
from watchkeeper.lab.speech import Answer, ChatRequest, ChatSpeech, Speech, embeddings
from watchkeeper.lab.tiny.answering import tiny_reply
from watchkeeper.lab.tiny.model import NAME as TINY
from watchkeeper.lab.tokenizers import Meter

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

FAULT_HEADER = "x-lab-fault"
_DEPLOYMENT = re.compile(r"/openai/deployments/[^/]+(/.+)\Z")


class LabConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab provider knows and how it behaves.

    `first_token_s` and `tokens_per_s` set the latency (None: as fast as it can). `cached_share` (0 to 1) of
    the prompt is reported as cached; `reasoning_tokens` are added to the completion; None leaves either
    unreported. With `api_key` set, requests with another bearer key get a 401. With `only_listed_models`,
    other models get a 404. A `meter` counts prompts by a tokenizer and says what was cached; prompts above
    `context_tokens` get a 400.
    """

    recordings: tuple[RecordedRun, ...] = ()
    rules: tuple[Rule, ...] = ()
    models: tuple[str, ...] = LAB_MODELS
    only_listed_models: bool = False
    faults: tuple[PlannedFault, ...] = ()
    first_token_s: float = 0.0
    tokens_per_s: float | None = None
    chunk_tokens: int = 4
    cached_share: float | None = None
    reasoning_tokens: int | None = None
    api_key: str | None = None
    log_calls: int = 10_000
    meter: Meter | None = None
    context_tokens: int | None = None


class Call(msgspec.Struct, kw_only=True):
    """What the lab remembers of a call. `answered_by` is recording, script, model, or None for no reply.

    `outcome` is served, error, cut, closed, hung, or client_left. `header_names` are the request's header
    names without their values; `body_sha256` is the digest of the bytes that arrived.
    """

    number: int
    body_sha256: str
    header_names: tuple[str, ...]
    digest: str | None = None
    model: str | None = None
    served_model: str | None = None
    stream: bool = False
    run: str | None = None
    answered_by: str | None = None
    answer_name: str | None = None
    faults: tuple[str, ...] = ()
    status: int | None = None
    code: str | None = None
    outcome: str = "open"
    chunks_sent: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def sample_config() -> LabConfig:
    """The shipped recordings and the script of the sandbox agents: what a demo or a drill needs."""
    return LabConfig(recordings=tuple(load_runs()), rules=sandbox_rules())


def build_app(config: LabConfig, now_s: Callable[[], float] = time.time) -> ASGIApp:
    """The lab provider as an ASGI app; `now_s` gives the unix time that replies carry in `created`."""
    return LabApp(config, now_s)


class LabApp:
    """The lab provider. `calls` are the calls so far, oldest first, at most `config.log_calls`."""

    def __init__(self, config: LabConfig, now_s: Callable[[], float]) -> None:
        self.calls: deque[Call] = deque(maxlen=config.log_calls)
        self._config = config
        self._now_s = now_s
        self._recordings = Recordings(config.recordings)
        self._script = Script(config.rules)
        self._planned = tuple((plan, parse_faults(plan.faults)) for plan in config.faults)
        self._seen_by_plan: Counter[int] = Counter()
        self._numbers = itertools.count()
        self._chats, self._responses, self._messages = ChatSpeech(), ResponsesSpeech(), MessagesSpeech()
        self._models = tuple(dict.fromkeys((*config.models, TINY, *self._recordings.models)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"The lab speaks HTTP, not {scope['type']}. Use POST /v1/chat/completions.")
        exchange = Exchange(scope, receive, send)
        path = _plain_path(exchange)
        speech = self._messages if path.startswith("/v1/messages") else self._chats
        try:
            await self._route(exchange, path)
        except LabError as error:
            await exchange.send_json(error.status, speech.error(error), error.headers)

    async def _route(self, exchange: Exchange, path: str) -> None:
        match exchange.method, path:
            case "POST", "/v1/chat/completions":
                await self._converse(exchange, self._chats)
            case "POST", "/v1/responses":
                await self._converse(exchange, self._responses)
            case "POST", "/v1/messages":
                await self._converse(exchange, self._messages)
            case "POST", "/v1/messages/count_tokens" | "/v1/responses/input_tokens":
                await self._count(exchange, path)
            case "POST", "/v1/responses/compact":
                self._authorize(exchange)
                raw = await exchange.read()
                await exchange.send_json(200, self._responses.compacted(raw, exchange.headers, next(self._numbers)))
            case "POST", "/v1/embeddings":
                self._authorize(exchange)
                await exchange.send_json(200, embeddings(await exchange.read()))
            case "GET", "/v1/models":
                await exchange.send_json(200, {"object": "list", "data": [_model(m) for m in self._models]})
            case "GET", "/healthz":
                await exchange.send_json(200, {"status": "ok", "lab": "not-a-model", "calls": len(self.calls)})
            case "GET", "/lab/price-table":
                await exchange.send_json(200, price_table())
            case "GET", "/lab/log":
                await exchange.send_json(200, {"calls": [msgspec.to_builtins(call) for call in self.calls]})
            case method, path if path.startswith("/v1/responses/"):
                await self._about(exchange, method, path)
            case method, path:
                raise _unknown(method, path)

    async def _about(self, exchange: Exchange, method: str, path: str) -> None:
        """Requests about a response that is kept."""
        self._authorize(exchange)
        asked = parse_qs(exchange.query)
        if method == "GET" and asked.get("stream") == ["true"]:
            after = int(asked.get("starting_after", ["-1"])[0])
            parts = [(part, 0.0) for part, _ in self._responses.replayed(path, after)]
            await exchange.send_stream(parts, {})
            return
        body = self._responses.about(method, path)
        if body is None:
            raise _unknown(method, path)
        await exchange.send_json(200, body)

    async def _count(self, exchange: Exchange, path: str) -> None:
        """How many lab tokens a request would have."""
        self._authorize(exchange)
        raw = await exchange.read()
        if path == "/v1/responses/input_tokens":
            request = self._responses.read(raw, exchange.headers)
            head = {"object": "response.input_tokens"}
        else:
            request, head = self._messages.read_any(raw, exchange.headers, limited=False), {}
        await exchange.send_json(200, head | {"input_tokens": prompt_tokens(request.messages, request.tools)})

    async def _converse(self, exchange: Exchange, speech: Speech) -> None:
        raw = await exchange.read()
        call = Call(
            number=next(self._numbers),
            body_sha256=hashlib.sha256(raw).hexdigest(),
            header_names=tuple(exchange.headers),
        )
        self.calls.append(call)
        try:
            self._authorize(exchange)
            request = speech.read(raw, exchange.headers)
            call.model, call.stream, call.run = request.model, request.stream, request.run
            call.digest = request_digest(request.messages)
            faults = self._choose_faults(request, exchange.headers)
            call.faults = faults.words
            await self._serve(exchange, request, faults, call, speech)
        except LabError as error:
            call.status, call.code, call.outcome = error.status, error.code, "error"
            raise
        if exchange.left:
            call.outcome = "client_left"

    async def _serve(
        self, exchange: Exchange, request: ChatRequest, faults: Faults, call: Call, speech: Speech
    ) -> None:
        await exchange.pause((faults.slow_s or 0.0) + self._config.first_token_s)
        if faults.hang:
            call.outcome = "hung"
            await exchange.hang()
            return
        if faults.refuse:
            call.outcome = "closed"
            await exchange.close()
            return
        if faults.error_status is not None:
            raise planted_error(faults.error_status, faults.retry_after_s)
        answer = self._answer(request, faults, call)
        call.status = 200
        if request.stream:
            parts = self._parts(speech.events(request, answer, self._config.chunk_tokens), malformed=faults.malformed)
            await self._send_streamed(exchange, answer, parts, faults, call)
        else:
            await self._send_plain(exchange, answer, speech.plain(request, answer), faults, call)

    def _answer(self, request: ChatRequest, faults: Faults, call: Call) -> Answer:
        model = faults.swap or request.model
        if self._config.only_listed_models and model not in self._models:
            raise LabError(404, "model_not_found", f"The lab does not serve the model {model!r}.", param="model")
        call.served_model = model
        reply = self._find(request, model, call)
        if reply.usage is None:
            reply = limited(wordier(reply, faults.verbose or 1), request.max_tokens)
        usage = reply.usage or self._usage(request, reply)
        call.prompt_tokens, call.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        envelope = Envelope(id=f"chatcmpl-lab-{call.number}", created_s=int(self._now_s()), model=model)
        return Answer(
            envelope=envelope,
            reply=reply,
            usage=None if faults.no_usage else usage,
            include_usage=request.include_usage and not faults.no_usage,
        )

    def _find(self, request: ChatRequest, model: str, call: Call) -> Reply:
        if model == TINY:
            call.answered_by, call.answer_name = "model", TINY
            return tiny_reply(request)
        recorded = self._recordings.find(request.messages, run=request.run, model=model)
        if recorded is not None:
            call.answered_by, call.answer_name = "recording", recorded.run
            return recorded.reply
        asked = Asked(model=model, messages=request.messages, tools=request.tools, run=request.run)
        scripted = self._script.answer(asked)
        if scripted is None:
            raise self._recordings.unknown(request.messages)
        call.answered_by, call.answer_name = "script", scripted[0]
        return scripted[1]

    def _usage(self, request: ChatRequest, reply: Reply) -> Usage:
        prompt = prompt_tokens(request.messages, request.tools)
        share, reasoning = self._config.cached_share, self._config.reasoning_tokens
        cached = None if share is None else int(prompt * share)
        if self._config.meter is not None:
            prompt, cached = self._config.meter.bill(request.messages, request.tools)
        most = self._config.context_tokens
        if most is not None and prompt > most:
            text = f"The prompt has {prompt} tokens; this lab model takes {most}. Send less."
            raise LabError(400, "context_length_exceeded", text, param="messages")
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion_tokens(reply) + (reasoning or 0),
            cached_tokens=cached,
            reasoning_tokens=reasoning,
        )

    async def _send_plain(self, exchange: Exchange, answer: Answer, body: Json, faults: Faults, call: Call) -> None:
        await exchange.pause(self._delay_s(completion_tokens(answer.reply)))
        if faults.cut == 0:
            call.outcome = "cut"
            await exchange.close()
            return
        if faults.stall == 0:
            call.outcome = "hung"
            await exchange.hang()
            return
        data = msgspec.json.encode(body)
        call.outcome = "served"
        headers = _headers(answer, call)
        await exchange.send_bytes(200, data[: len(data) // 2] if faults.malformed else data, headers)

    async def _send_streamed(
        self,
        exchange: Exchange,
        answer: Answer,
        parts: Iterator[tuple[bytes, float]],
        faults: Faults,
        call: Call,
    ) -> None:
        call.outcome = "served" if faults.cut is None else "cut"
        headers = _headers(answer, call)
        call.chunks_sent = await exchange.send_stream(parts, headers, cut=faults.cut, stall=faults.stall)
        if not exchange.closed:
            call.outcome = "served"

    def _parts(self, events: Iterator[tuple[bytes, int]], *, malformed: bool) -> Iterator[tuple[bytes, float]]:
        """The events of a stream with the delay before each; a malformed one breaks off in its second."""
        for index, (data, tokens) in enumerate(events):
            if malformed and index == 1:
                yield data[: len(data) // 2] + b"\n\n", 0.0
                return
            yield data, self._delay_s(tokens)

    def _delay_s(self, tokens: int) -> float:
        rate = self._config.tokens_per_s
        return tokens / rate if rate else 0.0

    def _choose_faults(self, request: ChatRequest, headers: dict[str, str]) -> Faults:
        try:
            chosen = parse_faults(headers.get(FAULT_HEADER, "")).over(parse_faults(request.fault_words))
        except FaultError as error:
            raise LabError(400, "lab_unknown_fault", str(error), param=FAULT_HEADER) from error
        for index, (plan, faults) in enumerate(self._planned):
            if not plan.matches(request.model):
                continue
            seen = self._seen_by_plan[index]
            self._seen_by_plan[index] += 1
            if plan.covers(seen):
                chosen = chosen.over(faults)
        return chosen

    def _authorize(self, exchange: Exchange) -> None:
        key = self._config.api_key
        shown = [exchange.headers.get(name) for name in ("x-api-key", "api-key")]
        if key is not None and exchange.headers.get("authorization") != f"Bearer {key}" and key not in shown:
            text = "The lab does not accept this API key. Send the key that its config names."
            raise LabError(401, "invalid_api_key", text)


def _headers(answer: Answer, call: Call) -> dict[str, str]:
    real = {LAB_HEADER: "tiny-model"} if call.answered_by == "model" else {}
    return {"x-request-id": answer.envelope.id, **real}


def planted_error(status: int, retry_after_s: float | None) -> LabError:
    """The error of the fault `error:STATUS`."""
    kind, code = ("rate_limit_error", "rate_limit_exceeded") if status == 429 else ("server_error", "lab_fault")
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    text = f"The lab was told to answer with status {status}. Nothing is broken: the fault was planted."
    return LabError(status, code, text, kind=kind, headers=headers)


def _plain_path(exchange: Exchange) -> str:
    """The path as OpenAI has it: Azure's paths name a deployment, and ask for a version in the query."""
    path = exchange.path
    if not path.startswith("/openai/"):
        return path
    deployed = _DEPLOYMENT.match(path)
    suffix = deployed.group(1) if deployed else path.removeprefix("/openai")
    if suffix.startswith("/v1/"):
        return suffix
    return f"/v1{suffix}" if "api-version" in parse_qs(exchange.query) else path


def _unknown(method: str, path: str) -> LabError:
    return LabError(
        404,
        "lab_unknown_path",
        f"The lab has no {method} {path}. It has POST /v1/chat/completions, /v1/responses, /v1/messages and "
        "/v1/embeddings, and GET /v1/models, /healthz, /lab/price-table and /lab/log.",
    )


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
