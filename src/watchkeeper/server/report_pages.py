"""The page of reports: which there are, and from a small form each of them as a page to read or to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.kinds.report import Report, subjects_of
from watchkeeper.queries.judgments import Incidents
from watchkeeper.queries.seen import Seen, What
from watchkeeper.queries.timespan import DAY_NS
from watchkeeper.server.api import ApiError, compose_report
from watchkeeper.server.charts import utc_text
from watchkeeper.server.pages import report_page
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.filters import AHEAD_NS
from watchkeeper.server.views.reports import LENGTHS, Offer, Options, offer_of, subject_of
from watchkeeper.server.visible import visible

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

LOOKED_BACK_DAYS = 90
OFFERED = 50
UNSAID = "Choose or write what the report is about."
WORDS: Mapping[What, str] = {"model": "model", "release": "release", "manifest": "composition"}


class ReportPages:
    """The list of reports, and each report that a form asks for."""

    def __init__(self, parts: StoreParts, pages: Pages) -> None:
        self._parts, self._pages = parts, pages

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [Route("/ui/reports", self.reports), Route("/ui/reports/{name}", self.report)]

    async def reports(self, request: Request) -> Response:
        """All reports with their forms."""
        known = await self._known()
        return await self._page(request, [offer_of(name, each, known) for name, each in self._installed()])

    async def report(self, request: Request) -> Response:
        """One report as a self-contained page; where there is none, its form again and why."""
        name, asked = request.path_params["name"], request.query_params
        report = self._parts.reports.get(name)
        given = asked.getlist("subject")
        subject = "" if report is None else subject_of(subjects_of(report), given)
        try:
            document = await compose_report(self._parts, name, subject, asked)
        except ApiError as error:
            if report is None:
                return await self._pages.missing(request, "No such report", error.sentence, error.status)
            times = (asked.get("since", ""), asked.get("until", ""))
            problem = UNSAID if error.code == "subject_required" else error.sentence
            offer = offer_of(name, report, await self._known(), given, times, problem)
            page = await self._page(request, [offer])
            page.status_code = error.status
            return page
        return report_page(document, f"{name}-{subject}" if asked.get("download") else "")

    async def _page(self, request: Request, offers: list[Offer]) -> Response:
        return await self._pages.render(
            request,
            "reports.html",
            "reports",
            offers=offers,
            days=LOOKED_BACK_DAYS,
            alone="name" in request.path_params,
        )

    def _installed(self) -> Iterable[tuple[str, Report]]:
        return sorted(self._parts.reports.items())

    async def _known(self) -> dict[str, Options]:
        """What the forms of the installed reports offer, each asked for once."""
        wanted = {subjects_of(each).offers for each in self._parts.reports.values()}
        known: dict[str, Options] = {"lengths": LENGTHS}
        if "incidents" in wanted:
            found = (await self._parts.reader.ask(Incidents(limit=OFFERED))).items
            known["incidents"] = [
                (each["incident_id"], visible(f"{each['title']}, {each['status']}, {utc_text(each['opened_ns'])[:16]}"))
                for each in found
            ]
        if "agents" in wanted:
            known["agents"] = [(value, f"last seen {at}") for value, at in await self._seen("agent")]
        if "versions" in wanted:
            known["versions"] = [
                (f"{what}:{value}", visible(f"{word} {value[:12] if what == 'manifest' else value}, last seen {at}"))
                for what, word in WORDS.items()
                for value, at in await self._seen(what)
            ]
        return known

    async def _seen(self, what: What) -> list[tuple[str, str]]:
        now_ns = self._parts.clock_ns()
        since = max(0, now_ns - LOOKED_BACK_DAYS * DAY_NS)
        asked = Seen(what=what, since=since, until=now_ns + AHEAD_NS, limit=OFFERED)
        found = (await self._parts.reader.ask(asked)).items
        return [(str(each["value"]), utc_text(each["last_ns"])[:10]) for each in found]
