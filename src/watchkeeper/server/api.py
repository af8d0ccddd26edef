"""The API: every named question as a GET, whole spans and their exact bytes, incidents, reports and keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.compose.payloads import Gone
from watchkeeper.kinds.report import Scope, subjects_of
from watchkeeper.queries.exported import Exported
from watchkeeper.queries.registry import QUESTIONS, QuestionError, as_plain, parameters, question_from
from watchkeeper.queries.timespan import SECOND_NS, parse_span, parse_time
from watchkeeper.records.body import Body
from watchkeeper.records.document import Document
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Span
from watchkeeper.server import lookups
from watchkeeper.server.asgi import error_body
from watchkeeper.server.callers import read_caller
from watchkeeper.server.noting import note
from watchkeeper.server.pages import actor_of, report_page, said
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.roles import ADMIN, refusal_of

EXPORT_NOTED_NS = 600 * 1_000_000_000
LONGEST_WAIT_S = 60.0
MAX_NOTE_CHARS = 4_000
_RANGE = ("since", "until")
REQUEST = "request"
ACTIONS = ("acknowledge", "resolve", "note")


class ActionBody(msgspec.Struct, frozen=True):
    """What an incident action may carry: a note, or the text of one."""

    note: str | None = None
    text: str | None = None


class ApiError(Exception):
    """An answer that is an error: status, kind, code, sentence, and the parameter it is about."""

    def __init__(self, status: int, kind: str, code: str, sentence: str, param: str | None = None) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.code, self.sentence, self.param = status, kind, code, sentence, param


def not_found(sentence: str, code: str = "not_found") -> ApiError:
    """The error for what does not exist."""
    return ApiError(404, "not_found", code, sentence)


def api_error(_: Request, error: Exception) -> Response:
    """Render an `ApiError` in the shape that OpenAI clients read."""
    assert isinstance(error, ApiError)
    body = error_body(error.sentence, error.kind, error.code, error.param)
    return Response(body, error.status, media_type="application/json", headers={"cache-control": "no-store"})


def owner_only(request: Request) -> None:
    """Raise an `ApiError` unless an admin of the whole house asks, also where the table of roles asks for less."""
    refused = refusal_of(read_caller(request.headers), ADMIN)
    if refused is not None:
        raise ApiError(403, "forbidden", *refused)


def answer(value: Any, status: int = 200) -> Response:
    """A value as JSON that no cache keeps."""
    return Response(as_json(value), status, media_type="application/json", headers={"cache-control": "no-store"})


class Api:
    """All API routes of the store process."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts
        self._exported: dict[str, int] = {}
        self._flushing: set[asyncio.Future[Any]] = set()

    def routes(self) -> list[Route]:
        """The API's addresses; the questions come last because their name is a wildcard."""
        return [
            Route("/api/v1", self.index),
            Route("/api/v1/ingest/flush", self.flush, methods=["POST"]),
            Route("/api/v1/ingest/watermarks", self.watermarks),
            Route("/api/v1/policies/backtest", self.backtest, methods=["POST"]),
            Route("/api/v1/monitors/run", self.monitors, methods=["POST"]),
            Route("/api/v1/spans/{span_id}/request", self.request_bytes),
            Route("/api/v1/spans/{span_id}/bodies/{name}", self.body_bytes),
            Route("/api/v1/spans/{trace_id}/{span_id}", self.span),
            Route("/api/v1/incidents/{incident_id}", self.incident),
            Route("/api/v1/incidents/{incident_id}/cases", self.cases, methods=["GET", "POST"]),
            Route("/api/v1/incidents/{incident_id}/{action}", self.act, methods=["POST"]),
            Route("/api/v1/reports/{name}", self.report),
            Route("/api/v1/{question}", self.ask),
        ]

    async def index(self, request: Request) -> Response:
        """The questions that can be asked, with their parameters."""
        del request
        questions = [
            {
                "name": name,
                "summary": (kind.__doc__ or "").strip().splitlines()[0],
                "parameters": list(parameters(kind)),
            }
            for name, kind in sorted(QUESTIONS.items())
        ]
        return answer({"items": questions})

    async def ask(self, request: Request) -> Response:
        """Answer one named question."""
        name = request.path_params["question"]
        try:
            question = question_from(name, dict(request.query_params), self._parts.clock_ns())
        except QuestionError as error:
            if name not in QUESTIONS:
                raise not_found(said(error), "unknown_question") from error
            raise ApiError(400, "invalid_request", "bad_parameter", said(error), error.parameter) from error
        if name == Exported.name:
            self._note_export(request)
        return answer(as_plain(await self._parts.reader.ask(question)))

    def _note_export(self, request: Request) -> None:
        """Whole spans are taken out: once for each caller in a while, for one export asks for many pages."""
        now_ns, actor = self._parts.clock_ns(), actor_of(request)
        if now_ns - self._exported.get(actor, 0) >= EXPORT_NOTED_NS:
            self._exported[actor] = now_ns
            note(self._parts, request, "export.read", "spans", str(request.url.query) or None)

    async def flush(self, request: Request) -> Response:
        """Index everything appended so far, and say how much that was.

        With `wait` (as in `2s`) no longer than that: then the answer says under `behind` what is still to be indexed.
        """
        wait = request.query_params.get("wait")
        if wait is None:
            return answer(await self._parts.flush())
        try:
            seconds = min(parse_span(wait) / SECOND_NS, LONGEST_WAIT_S)
        except ValueError as error:
            raise ApiError(400, "invalid_request_error", "bad_parameter", str(error), "wait") from error
        flushing = asyncio.ensure_future(self._parts.flush())
        self._flushing.add(flushing)
        flushing.add_done_callback(self._flushed)
        done, _ = await asyncio.wait({flushing}, timeout=seconds)
        return answer(flushing.result() if done else {"behind": self._parts.lag()})

    def _flushed(self, flushing: asyncio.Future[Any]) -> None:
        """Nobody waits for it any more: what went wrong is told by the index's own state."""
        self._flushing.discard(flushing)
        if not flushing.cancelled():
            flushing.exception()

    async def span(self, request: Request) -> Response:
        """One whole span with its bodies' names, events, and messages."""
        found = await self._span(request.path_params["span_id"], request.path_params["trace_id"])
        try:
            detail = await self._parts.payloads.detail(found)
        except Gone as error:
            raise ApiError(410, "not_found", "gone", str(error)) from error
        conversation = {
            side: [
                {k: v for k, v in msgspec.to_builtins(message).items() if k != "raw"}
                for message in getattr(detail.conversation, side)
            ]
            for side in ("input", "output")
        }
        return answer({"span": detail.span, "attributes": detail.attributes, "conversation": conversation})

    async def request_bytes(self, request: Request) -> Response:
        """The request exactly as the client sent it; with `body=sent`, as it was sent on where that differs."""
        return await self._bytes(request, request.query_params.get("body") or "request")

    async def body_bytes(self, request: Request) -> Response:
        """One payload of a span, byte for byte."""
        return await self._bytes(request, request.path_params["name"])

    async def incident(self, request: Request) -> Response:
        """One incident in its latest state, with its findings."""
        found = await lookups.incident(self._parts.reader, request.path_params["incident_id"])
        if found is None:
            raise not_found(f"There is no incident {request.path_params['incident_id'][:64]!r}.")
        return answer({"incident": found, "findings": await lookups.findings(self._parts.reader, found.findings)})

    async def act(self, request: Request) -> Response:
        """Acknowledge, resolve, or add a note."""
        incident_id, action = request.path_params["incident_id"], request.path_params["action"]
        desk = self._parts.incidents
        if action not in ACTIONS:
            raise not_found(
                f"Incidents know no action {action[:40]!r}; they know {', '.join(ACTIONS)}.", "unknown_action"
            )
        if desk is None:
            raise ApiError(501, "unavailable", "not_available", "This server cannot change incidents.")
        given = await read_json(request, ActionBody)
        text = (given.note or given.text or "").strip()[:MAX_NOTE_CHARS]
        if action == "note" and not text:
            raise ApiError(400, "invalid_request", "empty_note", 'The note is empty. Send {"note": "a line"}.', "note")
        try:
            if action == "note":
                changed = await desk.note(incident_id, actor_of(request), text)
            else:
                change = desk.acknowledge if action == "acknowledge" else desk.resolve
                changed = await change(incident_id, actor_of(request), text or None)
        except LookupError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(409, "invalid_request", "wrong_state", said(error)) from error
        await self._parts.flush()
        return answer({"incident": changed})

    async def cases(self, request: Request) -> Response:
        """The cases of an incident: GET reads what was exported, POST exports its traces."""
        incident_id, desk = request.path_params["incident_id"], self._parts.incidents
        if request.method == "GET":
            return answer({"cases": await lookups.cases_of(self._parts.reader, f"incident:{incident_id}")})
        if desk is None:
            raise ApiError(501, "unavailable", "not_available", "This server cannot export cases.")
        try:
            exported = await desk.cases(incident_id, actor_of(request))
        except LookupError as error:
            raise not_found(said(error)) from error
        await self._parts.flush()
        return answer({"cases": list(exported)})

    async def report(self, request: Request) -> Response:
        """A report: JSON blocks, or one self-contained page with `format=html`."""
        asked = request.query_params
        document = await compose_report(self._parts, request.path_params["name"], asked.get("subject", ""), asked)
        return report_page(document) if asked.get("format") == "html" else answer(document)

    async def watermarks(self, request: Request) -> Response:
        """How far each writer's journal has been indexed."""
        del request
        return answer({"items": list((await self._parts.watermarks()).values())})

    async def backtest(self, request: Request) -> Response:
        """What a policy would have stopped in recorded traffic: {"policy": id, "since": "7d", "with": {parameters}}."""
        if self._parts.backtest is None:
            raise ApiError(501, "unavailable", "not_available", "This server cannot replay policies.")
        wanted = await read_json(request, dict[str, Any])
        try:
            return answer(await self._parts.backtest(wanted))
        except (ValueError, LookupError) as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error

    async def monitors(self, request: Request) -> Response:
        """Look with every monitor now, rather than at its own pace."""
        del request
        if self._parts.monitors is None:
            raise ApiError(501, "unavailable", "not_available", "This server runs no monitors.")
        return answer(await self._parts.monitors())

    async def _span(self, span_id: str, trace_id: str | None) -> Span:
        found = await lookups.span(self._parts.reader, span_id, trace_id)
        if found is None:
            raise not_found(f"There is no span {span_id[:64]!r}. It may not be indexed yet: POST /api/v1/ingest/flush.")
        return found

    async def _bytes(self, request: Request, name: str) -> Response:
        found = await self._span(request.path_params["span_id"], request.query_params.get("trace"))
        try:
            whole = await self._parts.payloads.whole(found)
            data = await self._parts.payloads.body(whole, name)
        except Gone as error:
            raise ApiError(410, "not_found", "gone", str(error)) from error
        if data is None and name == REQUEST and (told := await self._told(found)) is not None:
            return told
        if data is None:
            has = ", ".join(body.name for body in whole.bodies) or "none"
            raise not_found(f"Span {found.span_id} has no payload {name[:40]!r}; it has: {has}.", "no_such_payload")
        kept = next(body for body in whole.bodies if body.name == name)
        headers = {
            "content-disposition": f'attachment; filename="{found.span_id}-{_file_name(kept)}"',
            "cache-control": "no-store",
            "x-watchkeeper-media": kept.media.encode("ascii", "replace").decode(),
            "x-watchkeeper-redactions": str(kept.redactions),
        }
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def _told(self, span: Span) -> Response | None:
        """The messages that a call was given, where nobody recorded the bytes: as its span, or logs beside it, tell."""
        try:
            said = (await self._parts.payloads.detail(span)).conversation.input
        except Gone as error:
            raise ApiError(410, "not_found", "gone", str(error)) from error
        if not said or span.door not in ("otlp", "import"):
            return None
        from watchkeeper.adapters.formats.conversation import plain_messages

        body = as_json({"model": span.request_model, "messages": plain_messages(said)})
        headers = {"cache-control": "no-store", "x-watchkeeper-made-from": "messages that were reported, not bytes"}
        return Response(body, media_type="application/octet-stream", headers=headers)


def _file_name(body: Body) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in body.name)[:60]
    ending = ".json" if "json" in body.media else ".txt" if "text" in body.media else ".bin"
    return name + ending


async def read_json(request: Request, kind: type[Any]) -> Any:
    """The body as a value; raises an `ApiError` that says what is wrong with it."""
    body = await request.body()
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_request", "bad_body", f"The body is not what was expected: {error}.") from error


async def compose_report(parts: StoreParts, name: str, subject: str, times: Mapping[str, str]) -> Document:
    """A report about a subject, from `since` to `until`; raises an `ApiError` that says why there is none."""
    report = parts.reports.get(name)
    if report is None:
        known = ", ".join(sorted(parts.reports)) or "none"
        raise not_found(f"There is no report {name[:40]!r}; there are: {known}.", "unknown_report")
    if not subject:
        shape = subjects_of(report).shape
        raise ApiError(400, "invalid_request", "subject_required", f"Say what about: ?subject={shape}.", "subject")
    now_ns = parts.clock_ns()
    try:
        since, until = (parse_time(text, now_ns) if (text := times.get(each)) else None for each in _RANGE)
        scope = Scope(subject=subject, now_ns=now_ns, since_ns=since or 0, until_ns=until)
        return await report.compose(scope, parts.reader)
    except LookupError as error:
        raise not_found(said(error)) from error
    except ValueError as error:
        raise ApiError(400, "invalid_request", "bad_subject", said(error), "subject") from error
