"""The pages of upstreams and of probes, from what the record says; the gateway's own word is GET /api/v1/upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from watchkeeper.engines.monitoring.probes import accepted
from watchkeeper.queries.judgments import Findings, Incidents, Scores
from watchkeeper.queries.operations import Audits
from watchkeeper.queries.rescues import Rescues
from watchkeeper.queries.timespan import DAY_NS
from watchkeeper.queries.upstream_calls import UpstreamCalls
from watchkeeper.server.charts import time_chart
from watchkeeper.server.pages import actor_of, may, token_is_right
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.people_pages import OLD_FORM
from watchkeeper.server.signin import read_fields
from watchkeeper.server.views.filters import Form, read_form
from watchkeeper.server.views.probes import probe_rows
from watchkeeper.server.views.upstreams import ACT, STATES, calls_rows, rescue_chart, rescue_words, state_rows
from watchkeeper.server.views.wording import NS_PER_S

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

RANGE = "24h"
BUCKETS = 48
MOST_ACTS = 1_000
MOST_SCORES = 5_000


class UpstreamPages:
    """The pages of upstreams and probes."""

    def __init__(self, pages: Pages, parts: StoreParts) -> None:
        self._pages, self._parts = pages, parts

    def routes(self) -> list[Route]:
        """The pages' addresses."""
        return [
            Route("/ui/upstreams", self.upstreams, methods=["GET"]),
            Route("/ui/probes", self.probes, methods=["GET"]),
            Route("/ui/probes/{name}/accept", self.accept, methods=["POST"]),
        ]

    async def upstreams(self, request: Request) -> Response:
        """What is avoided since when and why, rescues over time, and calls by upstream."""
        reader, now_ns = self._parts.reader, self._parts.clock_ns()
        form = read_form((), request.query_params, now_ns, RANGE)
        acts: list[Any] = []
        for state in STATES:
            acts += (await reader.ask(Audits(act=f"{ACT}{state}", limit=MOST_ACTS))).items
        calls = await reader.ask(UpstreamCalls(since=form.since_ns, until=form.until_ns))
        whole = await reader.ask(Rescues(since=form.since_ns, until=form.until_ns))
        chart = rescue_chart(await self._rescues(form, now_ns), acts, form.since_ns)
        return await self._pages.render(
            request,
            "upstreams.html",
            "upstreams",
            form=form,
            problem="",
            states=state_rows(acts, calls.items),
            calls=calls_rows(calls.items),
            words=rescue_words(whole.items[0]),
            chart=Markup(time_chart(chart)) if whole.items[0]["calls"] else "",
            complete=calls.complete and whole.complete,
        )

    async def probes(self, request: Request) -> Response:
        """What probes were answered, their baselines, and what the canary found."""
        prober, reader = self._parts.prober, self._parts.reader
        known = prober.probes if prober is not None else ()
        scores: Sequence[Any] = ()
        if known:
            scores = (await reader.ask(Scores(subject_kind="probe", limit=MOST_SCORES))).items
        findings = (await reader.ask(Findings(monitor="canary", limit=1))).items
        incidents = (await reader.ask(Incidents(limit=200))).items if findings else ()
        about = findings[0]["subject"] if findings else None
        return await self._pages.render(
            request,
            "probes.html",
            "probes",
            rows=probe_rows(known, scores),
            finding=findings[0] if findings else None,
            incident=next((each for each in incidents if each["subject"] == about), None),
            can_accept=prober is not None and may(request, "POST /ui/probes/{name}/accept"),
            done=request.query_params.get("accepted", "")[:100],
            cut=len(scores) >= MOST_SCORES,
        )

    async def accept(self, request: Request) -> Response:
        """From now on the answers of a probe are its new baseline."""
        prober, name = self._parts.prober, request.path_params["name"]
        form = await read_fields(request.receive)
        if not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        if prober is None or name not in {probe.name for probe in prober.probes}:
            return await self._pages.missing(request, "No such probe", f"There is no probe {name[:64]!r}.")
        for record in accepted(name, actor_of(request), self._parts.clock_ns()):
            prober.record(record)
        await self._parts.flush()
        return RedirectResponse("/ui/probes?accepted=1", 303)

    async def _rescues(self, form: Form, now_ns: int) -> Sequence[Any]:
        """Rescues over the part of the range that has calls, in about `BUCKETS` stretches."""
        reader, until = self._parts.reader, form.until_ns
        span = now_ns - form.since_ns if form.since_ns else BUCKETS * DAY_NS
        coarse = await reader.ask(Rescues(since=form.since_ns, until=until, width=max(span // BUCKETS, NS_PER_S)))
        if not coarse.items:
            return ()
        first = max(int(coarse.items[0]["bucket"]), form.since_ns)
        width = max((now_ns - first) // BUCKETS, NS_PER_S)
        return (await reader.ask(Rescues(since=form.since_ns, until=until, width=width))).items
