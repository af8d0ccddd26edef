"""The pages: reads a request, asks the questions, renders a template; everything that models wrote is escaped."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from watchkeeper.adapters.formats.conversation import Conversation
from watchkeeper.compose.payloads import Detail, Gone
from watchkeeper.kinds.report import Scope
from watchkeeper.queries.explorer import Traces
from watchkeeper.queries.filters import CALLS
from watchkeeper.queries.judgments import Incidents
from watchkeeper.queries.operations import Decisions, Drops
from watchkeeper.queries.registry import QuestionError, question_from
from watchkeeper.records.document import Chart, Document
from watchkeeper.records.span import Span
from watchkeeper.server import lookups
from watchkeeper.server.callers import TOKEN_HEADER, read_caller
from watchkeeper.server.charts import time_chart
from watchkeeper.server.html_report import CONTENT_POLICY, render_document
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.roles import access_of, refusal_of
from watchkeeper.server.signin import read_fields
from watchkeeper.server.statics import static_url
from watchkeeper.server.views.case_file import (
    SHOWN_FINDINGS,
    WORDS,
    case_of,
    finding_view,
    incident_facts,
    next_actions,
    timeline,
)
from watchkeeper.server.views.filters import (
    AHEAD_NS,
    DECISION_CONTROLS,
    DEFAULT_RANGE,
    INCIDENT_CONTROLS,
    TRACE_CONTROLS,
    Form,
    read_form,
)
from watchkeeper.server.views.lineage import source_rows
from watchkeeper.server.views.lists import decision_rows, drop_rows, incident_rows, kpis, page_links, trace_rows
from watchkeeper.server.views.panel import Panel, panel_of
from watchkeeper.server.views.runs import stopped_rows
from watchkeeper.server.views.trace import head_of, shares_of
from watchkeeper.server.views.waterfall import lay_out
from watchkeeper.server.views.wording import NS_PER_S, ago, meaning, middle_id, short_id, when

NAV = (
    ("traces", "/ui/traces", "Traces"),
    ("sessions", "/ui/sessions", "Sessions"),
    ("search", "/ui/search", "Search"),
    ("decisions", "/ui/decisions", "Decisions"),
    ("budgets", "/ui/budgets", "Budgets"),
    ("incidents", "/ui/incidents", "Incidents"),
    ("experiments", "/ui/experiments", "Experiments"),
    ("reports", "/ui/reports", "Reports"),
    ("jobs", "/ui/jobs", "Jobs"),
    ("effects", "/ui/effects", "Effects"),
    ("upstreams", "/ui/upstreams", "Upstreams"),
    ("probes", "/ui/probes", "Probes"),
    ("documents", "/ui/documents", "Documents"),
    ("audit", "/ui/audit", "Audit"),
    ("drops", "/ui/drops", "Drops"),
    ("retention", "/ui/retention", "Kept"),
    ("keys", "/ui/keys", "Keys"),
    ("people", "/ui/people", "People"),
)
Q = TypeVar("Q")
SPARK_BUCKETS = 40
MAX_NOTE_CHARS = 4_000
SAID = {
    "acknowledge": "Acknowledged.",
    "resolve": "Resolved.",
    "note": "The note is in the timeline.",
    "cases": "The traces were exported as cases. See /api/v1/cases.",
}


def size_text(size_bytes: int) -> str:
    """A size in bytes, kB or MB."""
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:,.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:,.1f} MB"


class Pages:
    """All pages of the store process."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts
        self._templates = Environment(
            loader=PackageLoader("watchkeeper.server", "templates"),
            autoescape=True,
            trim_blocks=True,
            undefined=StrictUndefined,
            auto_reload=False,
        )
        self._templates.filters["minute"] = _minute
        self._templates.globals.update(
            static=static_url,
            when=when,
            ago=ago,
            short=short_id,
            middle=middle_id,
            meaning=meaning,
            size_text=size_text,
            address=parts.address,
        )

    def routes(self) -> list[Route]:
        """The pages' addresses."""
        return [
            Route("/", self.traces),
            Route("/ui", self.traces),
            Route("/ui/traces", self.traces),
            Route("/ui/traces/{trace_id}", self.trace),
            Route("/ui/traces/{trace_id}/{span_id}", self.panel),
            Route("/ui/decisions", self.decisions),
            Route("/ui/incidents", self.incidents),
            Route("/ui/incidents/{incident_id}", self.incident),
            Route("/ui/incidents/{incident_id}/report", self.report),
            Route("/ui/incidents/{incident_id}/{action}", self.act, methods=["POST"]),
            Route("/ui/drops", self.drops),
        ]

    async def traces(self, request: Request) -> Response:
        """The list of traces with key figures; for a newcomer, what to do first."""
        reader = self._parts.reader
        form = self._form(TRACE_CONTROLS, request)
        asked, problem = self._question(Traces, form.parameters)
        rows, more = await lookups.traces(reader, asked)
        found, complete = await lookups.figures(reader, asked)
        line = (await lookups.figures(reader, asked, _bucket_ns(rows, form)))[0] if len(rows) > 2 else []
        return await self._page(
            request,
            "traces.html",
            "traces",
            form=form,
            problem=problem,
            rows=trace_rows(rows),
            kpis=[_with_markup(each) for each in kpis(found[0], line)],
            nothing_yet=not rows and not await lookups.anything(reader),
            page=page_links(form, len(rows), more, "Traces"),
            complete=complete,
        )

    async def trace(self, request: Request) -> Response:
        """One trace: head, waterfall, and the selected span."""
        trace_id = request.path_params["trace_id"]
        spans = await lookups.spans_of(self._parts.reader, trace_id)
        if not spans:
            return await self._missing(request, "No such trace", f"No trace {trace_id[:64]!r} is in the index.")
        falls = lay_out(spans)
        wanted = request.query_params.get("span")
        chosen = next((span for span in spans if span.span_id == wanted), None) or _first_of_interest(spans, falls.rows)
        chosen = await lookups.span(self._parts.reader, chosen.span_id, trace_id) or chosen
        return await self._page(
            request,
            "trace.html",
            "traces",
            trace=head_of(spans),
            shares=shares_of(spans),
            falls=falls,
            selected=chosen.span_id,
            panel=await self._panel(chosen),
            sources=source_rows(await lookups.sources_of(self._parts.reader, trace_id)),
        )

    async def panel(self, request: Request) -> Response:
        """The panel of one span, for the script that swaps it in."""
        found = await lookups.span(self._parts.reader, request.path_params["span_id"], request.path_params["trace_id"])
        if found is None:
            return await self._missing(request, "No such span", "This span is not in the index.")
        return _html(self._templates.get_template("panel.html").render(panel=await self._panel(found)))

    async def decisions(self, request: Request) -> Response:
        """The list of decisions."""
        form = self._form(DECISION_CONTROLS, request)
        asked, problem = self._question(Decisions, form.parameters)
        found, more = await lookups.decisions(self._parts.reader, asked)
        page = page_links(form, len(found), more, "Decisions")
        rows = decision_rows(found)
        stopped, more_stopped = await lookups.stopped(self._parts.reader, form.since_ns)
        return await self._page(
            request,
            "decisions.html",
            "decisions",
            form=form,
            problem=problem,
            rows=rows,
            page=page,
            stopped=stopped_rows(stopped),
            more_stopped=more_stopped,
            can_resume=self._parts.runs is not None and may(request, "POST /ui/runs/resume"),
            resumed=request.query_params.get("resumed", "")[:200],
        )

    async def incidents(self, request: Request) -> Response:
        """The list of incidents."""
        form = self._form(INCIDENT_CONTROLS, request, "all")
        asked, problem = self._question(Incidents, form.parameters)
        found, more = await lookups.incidents(self._parts.reader, asked)
        page = page_links(form, len(found), more, "Incidents")
        rows = incident_rows(found, self._parts.clock_ns())
        return await self._page(
            request, "incidents.html", "incidents", form=form, problem=problem, rows=rows, page=page
        )

    async def incident(self, request: Request) -> Response:
        """One incident: findings, chart, timeline, linked traces, and what to do."""
        reader, incident_id = self._parts.reader, request.path_params["incident_id"]
        found = await lookups.incident(reader, incident_id)
        if found is None:
            return await self._missing(
                request, "No such incident", f"No incident {incident_id[:64]!r} is in the index."
            )
        findings = await lookups.findings(reader, found.findings[-50:])
        document = await self._compose(incident_id)
        charts = [block for block in document.blocks if isinstance(block, Chart)] if document else []
        traces = trace_rows(await lookups.summaries(reader, found.traces[:50]))
        worst = next((row for trace_id in found.traces for row in traces if row.trace_id == trace_id), None)
        return await self._page(
            request,
            "incident.html",
            "incidents",
            incident=found,
            case=case_of(found, findings, charts[0] if charts else None, worst),
            worst=worst,
            words=WORDS,
            facts=incident_facts(found, self._parts.clock_ns()),
            findings=[finding_view(each) for each in findings[:SHOWN_FINDINGS]],
            more_findings=max(len(found.findings) - SHOWN_FINDINGS, 0),
            charts=[Markup(time_chart(chart)) for chart in charts],
            traces=traces,
            timeline=timeline(found.timeline),
            actions=next_actions(found.status),
            can_act=self._parts.incidents is not None and may(request, "POST /ui/incidents/{incident_id}/{action}"),
            has_report=document is not None,
            said=SAID.get(request.query_params.get("done", ""), ""),
        )

    async def act(self, request: Request) -> Response:
        """Acknowledge, resolve, note, or export the cases of an incident, from a form of its page."""
        incident_id, action = request.path_params["incident_id"], request.path_params["action"]
        desk = self._parts.incidents
        if desk is None or action not in SAID:
            return await self._missing(request, "Not possible here", "This server cannot change incidents.")
        form = await read_fields(request.receive)
        if not token_is_right(request, form.get("csrf", "")):
            return await self._missing(
                request, "This form had grown old", "Go back, reload the page and send it again.", 403
            )
        note = form.get("note", "").strip()[:MAX_NOTE_CHARS]
        actor = actor_of(request)
        try:
            if action == "cases":
                await desk.cases(incident_id, actor)
            elif action == "note":
                if not note:
                    raise ValueError("The note is empty. Write a line and send it again.")
                await desk.note(incident_id, actor, note)
            else:
                change = desk.acknowledge if action == "acknowledge" else desk.resolve
                await change(incident_id, actor, note or None)
        except LookupError as error:
            return await self._missing(request, "No such incident", said(error))
        except ValueError as error:
            return await self._missing(request, "Not now", said(error), 409)
        await self._parts.flush()
        return RedirectResponse(f"{request.url.path.rsplit('/', 1)[0]}?done={action}", 303)

    async def report(self, request: Request) -> Response:
        """An incident's report as one self-contained page, to read or to keep."""
        incident_id = request.path_params["incident_id"]
        document = await self._compose(incident_id)
        if document is None:
            return await self._missing(request, "No report", "This incident has no report, or is not in the index.")
        return report_page(document, incident_id if request.query_params.get("download") else "")

    async def drops(self, request: Request) -> Response:
        """The drop ledger."""
        form = self._form((), request, "all")
        asked, problem = self._question(Drops, form.whole)
        rows = drop_rows(await lookups.drops(self._parts.reader, asked))
        return await self._page(request, "drops.html", "drops", form=form, problem=problem, rows=rows)

    async def render(self, request: Request, template: str, here: str, **values: Any) -> Response:
        """A template as a page with everything that all pages have; `here` is its place in the navigation."""
        return await self._page(request, template, here, **values)

    async def missing(self, request: Request, heading: str, sentence: str, status: int = 404) -> Response:
        """A page that says why there is nothing to show."""
        return await self._missing(request, heading, sentence, status)

    async def not_found(self, request: Request, error: Exception) -> Response:
        """Any other address."""
        del error
        return await self._missing(request, "Nothing here", "There is no page at this address.")

    async def _panel(self, span: Span) -> Panel:
        reader = self._parts.reader
        problem = ""
        try:
            detail = await self._parts.payloads.detail(span)
        except Gone as error:
            problem = str(error)
            detail = Detail(span, span.attributes, Conversation())
        subjects = [each for each in (span.span_id, span.trace_id, span.identity.session, span.identity.run) if each]
        known = await lookups.manifest(reader, span.manifest) if span.manifest else None
        return panel_of(
            detail,
            await lookups.decisions_about(reader, span),
            await lookups.scores_of(reader, subjects),
            known,
            problem,
            await lookups.twins_of(reader, span),
        )

    async def _compose(self, incident_id: str) -> Document | None:
        report = self._parts.reports.get("incident")
        if report is None:
            return None
        scope = Scope(subject=f"incident:{incident_id}", now_ns=self._parts.clock_ns())
        try:
            return await report.compose(scope, self._parts.reader)
        except LookupError:
            return None

    def _form(self, controls: Any, request: Request, range_name: str = DEFAULT_RANGE) -> Form:
        return read_form(controls, request.query_params, self._parts.clock_ns(), range_name)

    def _question(self, kind: type[Q], given: Mapping[str, object]) -> tuple[Q, str]:
        """The question for a form, and what was wrong with it; after a mistake, the question without its filters."""
        now_ns, name = self._parts.clock_ns(), str(kind.name)  # type: ignore[attr-defined]
        try:
            return cast("Q", question_from(name, given, now_ns)), ""
        except QuestionError as error:
            kept = {key: value for key, value in given.items() if key in ("since", "until", "limit", "cursor")}
            return cast("Q", question_from(name, kept, now_ns)), f"{said(error)} The filters were left out."

    async def _page(self, request: Request, template: str, here: str, **values: Any) -> Response:
        context = {
            "here": here,
            "now_ns": self._parts.clock_ns(),
            "actor": actor_of(request),
            "nav": nav_of(request),
            "form_token": request.headers.get(TOKEN_HEADER.decode(), ""),
            "open_incidents": await lookups.open_incidents(self._parts.reader),
            "complete": True,
        }
        return _html(self._templates.get_template(template).render({**context, **values}))

    async def _missing(self, request: Request, heading: str, sentence: str, status: int = 404) -> Response:
        page = await self._page(request, "message.html", "", heading=heading, sentence=sentence)
        page.status_code = status
        return page


def report_page(document: Document, file: str = "") -> Response:
    """A report as one self-contained page that no cache keeps; to be saved under the name `file` where there is one."""
    headers = {"content-security-policy": CONTENT_POLICY + "; frame-ancestors 'none'", "cache-control": "no-store"}
    if file:
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in file)[:80]
        headers["content-disposition"] = f'attachment; filename="{name}.html"'
    return HTMLResponse(render_document(document), headers=headers)


def _minute(text: str | None) -> str:
    """A time of the API to the minute, in UTC; "never" where there is none."""
    return "never" if text is None else text[:16].replace("T", " ")


def _html(text: str) -> HTMLResponse:
    # A lone surrogate in a model's text cannot be encoded; views mark it, this keeps the page whole if one slips by.
    return HTMLResponse(text.encode("utf-8", "replace"), headers={"cache-control": "no-store"})


def _with_markup(kpi: Any) -> dict[str, Any]:
    values = {name: getattr(kpi, name) for name in kpi.__struct_fields__}
    return {**values, "line": Markup(kpi.line)}


def _first_of_interest(spans: list[Span], rows: tuple[Any, ...]) -> Span:
    """What was denied, else what failed, else the last call of a model, whose messages tell the whole story."""
    by_id = {span.span_id: span for span in spans}
    for status in ("denied", "error"):
        for row in rows:
            if row.status == status:
                return by_id[row.span_id]
    calls = [row for row in rows if row.operation in CALLS]
    return by_id[(calls[-1] if calls else rows[0]).span_id]


def _bucket_ns(rows: Sequence[lookups.TraceSummary], form: Form) -> int:
    """A bucket's width so that the time covered by a list falls into about 40 of them."""
    oldest = min((row.start_ns for row in rows), default=form.since_ns)
    return max((form.until_ns - AHEAD_NS - max(form.since_ns, oldest)) // SPARK_BUCKETS, NS_PER_S)


def said(error: Exception) -> str:
    """The sentence an error was raised with."""
    return str(error.args[0]) if error.args else type(error).__name__


def actor_of(request: Request) -> str:
    """Who asks, as the front door says: "local", "key:<id>" or "person:<name>"."""
    return read_caller(request.headers).actor


def nav_of(request: Request) -> list[tuple[str, str, str]]:
    """The pages that the one who asks may open."""
    caller = read_caller(request.headers)
    return [each for each in NAV if refusal_of(caller, access_of("GET", each[1])) is None]


def may(request: Request, address: str) -> bool:
    """Whether the one who asks may use an address, written as the table of roles writes it: "POST /ui/keys"."""
    method, _, path = address.partition(" ")
    return refusal_of(read_caller(request.headers), access_of(method, path)) is None


def token_is_right(request: Request, token: str) -> bool:
    """Whether a form's token is the one that the front door gave this visitor."""
    expected = request.headers.get(TOKEN_HEADER.decode(), "")
    return bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
