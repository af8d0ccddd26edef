"""Lineage through the doors: API and pages for what stands behind an answer, what rests on a document, and the acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from watchkeeper.compose.lineage import Lineage
from watchkeeper.queries.lineage import Documents
from watchkeeper.queries.operations import Audits
from watchkeeper.queries.registry import as_plain
from watchkeeper.queries.timespan import FAR_NS, parse_time
from watchkeeper.server.api import ApiError, answer, not_found
from watchkeeper.server.pages import actor_of, may, said, token_is_right
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.signin import read_fields
from watchkeeper.server.views.filters import PAGE_ROWS, Control, read_form
from watchkeeper.server.views.lineage import (
    answer_rows,
    audit_rows,
    document_link,
    document_rows,
    rest_rows,
    source_rows,
)
from watchkeeper.server.views.lists import page_links

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

LONGEST_NAME = 200
MOST_SHOWN = 500
KINDS = (
    ("withdrawn", "it is wrong or out of date"),
    ("deletion", "somebody asked for its deletion"),
    ("consent", "consent was revoked"),
)
DOCUMENT_CONTROLS = (Control(name="document", label="Document", hint="its whole name", size="wide"),)
AUDIT_CONTROLS = (
    Control(name="act", label="Act", hint="key.created", size="mid"),
    Control(name="actor", label="Actor", hint="local"),
    Control(name="subject", label="Subject", hint="document:...", size="mid"),
)


class WithdrawBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which document is taken back, why, and since when its answers are listed."""

    document: str
    version: str | None = None
    kind: str = "withdrawn"
    reason: str | None = None
    since: str | int | None = None


class LineageApi:
    """The API of lineage."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Its addresses."""
        return [
            Route("/api/v1/lineage", self.document),
            Route("/api/v1/lineage/{name}", self.of),
            Route("/api/v1/documents/withdraw", self.withdraw, methods=["POST"]),
        ]

    async def of(self, request: Request) -> Response:
        """What stands behind a trace or a span."""
        try:
            found = await self._lineage().of(request.path_params["name"])
            return answer(as_plain({name: each for name, each in found.items() if name != "records"}))
        except LookupError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error

    async def document(self, request: Request) -> Response:
        """Which answers rest on a document."""
        document = request.query_params.get("document", "")
        if not document:
            raise ApiError(400, "invalid_request", "document_required", "Say which: ?document=<id>.", "document")
        version = request.query_params.get("version") or None
        times = [self._time(request.query_params.get(name), name) for name in ("since", "until")]
        found = await self._lineage().resting_on(document, version, times[0] or 0, times[1] or FAR_NS)
        return answer(as_plain(found))

    async def withdraw(self, request: Request) -> Response:
        """Take a document back: an audited act that opens a case file with the answers that rest on it."""
        try:
            given = msgspec.json.decode(await request.body() or b"{}", type=WithdrawBody)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ApiError(
                400, "invalid_request", "bad_body", f"The body is not what was expected: {error}."
            ) from error
        since = given.since if isinstance(given.since, int) else self._time(given.since, "since")
        try:
            found = await withdrawn(self._lineage(), given, since or 0, actor_of(request))
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error
        await self._parts.flush()
        return answer(as_plain(found))

    def _lineage(self) -> Lineage:
        if self._parts.lineage is None:
            raise ApiError(501, "unavailable", "not_available", "This server keeps no lineage.")
        return self._parts.lineage

    def _time(self, text: str | None, name: str) -> int | None:
        try:
            return None if not text else parse_time(text, self._parts.clock_ns())
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error), name) from error


async def withdrawn(lineage: Lineage, given: WithdrawBody, since: int, actor: str) -> dict[str, Any]:
    """Withdraw as a body says; raises `ValueError` for a name that cannot be meant."""
    if not 0 < len(given.document) <= LONGEST_NAME:
        raise ValueError(
            f"The document's name has {len(given.document)} characters, and 1 to {LONGEST_NAME} are taken."
        )
    fields = {"version": given.version, "kind": given.kind, "reason": given.reason, "since": since}
    return await lineage.withdraw(given.document, actor, fields)


class LineagePages:
    """The pages of lineage, documents and the audit trail."""

    def __init__(self, pages: Pages, parts: StoreParts) -> None:
        self._pages, self._parts = pages, parts

    def routes(self) -> list[Route]:
        """The pages' addresses."""
        return [
            Route("/ui/traces/{trace_id}/lineage", self.trace),
            Route("/ui/documents", self.documents),
            Route("/ui/documents/view", self.document),
            Route("/ui/documents/withdraw", self.withdraw, methods=["POST"]),
            Route("/ui/audit", self.audit),
        ]

    async def trace(self, request: Request) -> Response:
        """What stands behind the answers of a trace."""
        if self._parts.lineage is None:
            return await self._pages.missing(request, "Not possible here", "This server keeps no lineage.")
        name = request.query_params.get("span") or request.path_params["trace_id"]
        try:
            found = await self._parts.lineage.of(name)
        except (LookupError, ValueError) as error:
            return await self._pages.missing(request, "No such trace", said(error))
        return await self._pages.render(
            request,
            "lineage.html",
            "traces",
            trace_id=found["trace_id"],
            note=found["note"],
            answers=answer_rows(found),
            sources=source_rows(found["records"]),
        )

    async def documents(self, request: Request) -> Response:
        """Documents that entered the context of answers."""
        form = read_form(DOCUMENT_CONTROLS, request.query_params, self._parts.clock_ns(), "all")
        asked = msgspec.convert(form.parameters, Documents)
        found = (await self._parts.reader.ask(asked)).items
        page = page_links(form, min(len(found), PAGE_ROWS), len(found) > PAGE_ROWS, "Documents")
        rows = document_rows(found[:PAGE_ROWS])
        return await self._pages.render(
            request, "documents.html", "documents", form=form, problem="", rows=rows, page=page
        )

    async def document(self, request: Request) -> Response:
        """One document: its versions, the answers that rest on it, and the act of taking it back."""
        name = request.query_params.get("document", "")
        if self._parts.lineage is None or not name:
            return await self._pages.missing(request, "No such document", "Name one: /ui/documents lists them.")
        found = await self._parts.lineage.resting_on(name)
        if not found["versions"]:
            return await self._pages.missing(
                request, "No such document", f"No source names the document {name[:64]!r}."
            )
        return await self._pages.render(
            request,
            "document.html",
            "documents",
            name=name,
            found=found,
            versions=document_rows(found["versions"]),
            rows=rest_rows(found["answers"][:MOST_SHOWN]),
            more=max(0, found["count"] - MOST_SHOWN),
            kinds=KINDS,
            done=request.query_params.get("incident", ""),
            can_act=may(request, "POST /ui/documents/withdraw"),
        )

    async def withdraw(self, request: Request) -> Response:
        """Take a document back, from the form of its page."""
        form = await read_fields(request.receive)
        if self._parts.lineage is None or not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(
                request, "This form had grown old", "Go back, reload the page and send it again.", 403
            )
        given = WithdrawBody(
            document=form.get("document", ""),
            version=form.get("version") or None,
            kind=form.get("kind", "withdrawn"),
            reason=form.get("reason") or None,
        )
        try:
            found = await withdrawn(self._parts.lineage, given, 0, actor_of(request))
        except ValueError as error:
            return await self._pages.missing(request, "Not now", said(error), 400)
        await self._parts.flush()
        return RedirectResponse(document_link(given.document) + f"&incident={found['incident'] or 'none'}", 303)

    async def audit(self, request: Request) -> Response:
        """The audit trail."""
        form = read_form(AUDIT_CONTROLS, request.query_params, self._parts.clock_ns(), "all")
        found = (await self._parts.reader.ask(msgspec.convert(form.parameters, Audits))).items
        page = page_links(form, min(len(found), PAGE_ROWS), len(found) > PAGE_ROWS, "Acts")
        ring = self._parts.keys
        names = {f"key:{key.key_id}": key.name for key in await ring.list()} if ring is not None and found else {}
        rows = audit_rows(found[:PAGE_ROWS], names)
        return await self._pages.render(request, "audit.html", "audit", form=form, problem="", rows=rows, page=page)
