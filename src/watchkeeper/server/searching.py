"""Search in payloads through the API and a page, and the page of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.recorder.search import FIELDS, Found, Sought
from watchkeeper.queries.registry import QuestionError, as_plain, question_from
from watchkeeper.queries.sessions import Sessions
from watchkeeper.queries.timespan import FAR_NS, SECOND_NS, parse_span, parse_time
from watchkeeper.server.api import ApiError, answer
from watchkeeper.server.pages import said
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.filters import PAGE_ROWS, Control, read_form
from watchkeeper.server.views.found import coverage_lines, hit_rows
from watchkeeper.server.views.lists import page_links
from watchkeeper.server.views.sessions import session_rows

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

DEADLINE_S, LONGEST_S = 10.0, 120.0
PAGE_DEADLINE_S = 4.0
MOST_HITS = 1_000
LONGEST_TEXT = 1_000
OTHERS = ("text", "since", "until", "limit", "after", "deadline")
SEARCH_CONTROLS = (
    Control(name="text", label="Text", hint="in requests, replies, tools", size="wide"),
    Control(name="service", label="Service", hint="answers"),
    Control(name="model", label="Model", hint="gpt-5"),
    Control(name="session", label="Session", hint="session id", size="mid"),
)
SESSION_CONTROLS = (
    Control(
        name="sort",
        label="Order",
        options=(("", "Dearest"), ("calls", "Most calls"), ("errors", "Most errors"), ("newest", "Newest")),
    ),
    Control(name="user", label="User", hint="user id", size="mid"),
    Control(name="service", label="Service", hint="answers"),
    Control(name="agent", label="Agent", hint="planner"),
    Control(name="attribute", label="Attribute", hint="customer.tier=pro", size="mid"),
)


def sought_from(given: Mapping[str, str], now_ns: int) -> tuple[Sought, float]:
    """What to look for, and for how many seconds, as a URL says it; raises `ValueError` naming what is wrong."""
    unknown = [name for name in given if name not in OTHERS and name not in FIELDS]
    if unknown:
        raise ValueError(f"search has no parameter {unknown[0]!r}; it has {', '.join((*OTHERS, *FIELDS))}.")
    text = given.get("text", "")
    if not text.strip() or len(text) > LONGEST_TEXT:
        raise ValueError(f"search needs `text`, with at most {LONGEST_TEXT:,} characters: what to look for.")
    limit, seconds = given.get("limit", "50"), _seconds(given.get("deadline", ""))
    if not limit.isdigit() or not 1 <= int(limit) <= MOST_HITS:
        raise ValueError(f"search cannot take limit={limit!r}; it takes a whole number from 1 to {MOST_HITS:,}.")
    fields = {name: value for name, value in given.items() if name in FIELDS and value}
    sought = Sought(
        text=text,
        since_ns=parse_time(given.get("since") or "24h", now_ns),
        until_ns=parse_time(given["until"], now_ns) if given.get("until") else FAR_NS,
        fields=fields,
        limit=int(limit),
        after=given.get("after") or None,
    )
    return sought, seconds


def _seconds(text: str) -> float:
    if not text:
        return DEADLINE_S
    seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_span(text) / SECOND_NS
    return min(max(seconds, 0.05), LONGEST_S)


class SearchApi:
    """The API of the search in payloads."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route("/api/v1/search", self.search)]

    async def search(self, request: Request) -> Response:
        """Look for text; answers with hits, newest first, what was covered, and where to go on."""
        if self._parts.searching is None:
            raise ApiError(501, "unavailable", "not_available", "This server cannot search payloads.")
        try:
            sought, seconds = sought_from(dict(request.query_params), self._parts.clock_ns())
            found = await self._parts.searching.search(sought, seconds)
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error
        return answer(plain_answer(sought, found))


def plain_answer(sought: Sought, found: Found) -> dict[str, Any]:
    """An answer as JSON carries it."""
    return {
        "items": as_plain(found.hits),
        "coverage": as_plain(found.coverage),
        "after": found.after,
        "complete": found.after is None,
        "text": sought.text,
        "since_ns": sought.since_ns,
        "until_ns": sought.until_ns,
    }


class ExplorerPages:
    """The pages that search payloads and list sessions."""

    def __init__(self, pages: Pages, parts: StoreParts) -> None:
        self._pages, self._parts = pages, parts

    def routes(self) -> list[Route]:
        """The pages' addresses."""
        return [Route("/ui/search", self.search), Route("/ui/sessions", self.sessions)]

    async def search(self, request: Request) -> Response:
        """The search page; without a text, its form and what it does."""
        now_ns = self._parts.clock_ns()
        form = read_form(SEARCH_CONTROLS, request.query_params, now_ns, "24h")
        found, problem = None, ""
        if form.values.get("text") and self._parts.searching is not None:
            after = request.query_params.get("after") or None
            fields = {name: value for name, value in form.values.items() if name in FIELDS}
            sought = Sought(
                text=form.values["text"], since_ns=form.since_ns, until_ns=form.until_ns, fields=fields, after=after
            )
            try:
                found = await self._parts.searching.search(sought, PAGE_DEADLINE_S)
            except ValueError as error:
                problem = f"{said(error)}.".capitalize()
        return await self._pages.render(
            request,
            "search.html",
            "search",
            form=form,
            problem=problem,
            asked=found is not None,
            hits=hit_rows(found.hits) if found is not None else [],
            covered=coverage_lines(found.coverage) if found is not None else [],
            older=_older(form.query, found),
        )

    async def sessions(self, request: Request) -> Response:
        """Sessions with calls, cost, errors, tokens and times, and a way to their traces."""
        form = read_form(SESSION_CONTROLS, request.query_params, self._parts.clock_ns())
        problem = ""
        try:
            asked = question_from("sessions", form.parameters, self._parts.clock_ns())
        except QuestionError as error:
            problem = f"{said(error)} The filters were left out."
            asked = Sessions(since=form.since_ns, until=form.until_ns, limit=PAGE_ROWS + 1)
        items = (await self._parts.reader.ask(asked)).items
        page = page_links(form, min(len(items), PAGE_ROWS), len(items) > PAGE_ROWS, "Sessions")
        return await self._pages.render(
            request,
            "sessions.html",
            "sessions",
            form=form,
            problem=problem,
            rows=session_rows(items[:PAGE_ROWS]),
            page=page,
        )


def _older(query: str, found: Found | None) -> str:
    from urllib.parse import quote

    return f"?{query}&after={quote(found.after, safe='')}" if found is not None and found.after else ""
