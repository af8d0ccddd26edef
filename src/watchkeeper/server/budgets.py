"""Budgets through the doors: the ledger and what was left behind, caps that are set, runs that are declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.compose.budgets import SCALES, BudgetDesk, Word, meter_of
from watchkeeper.engines.decide.books import Books
from watchkeeper.queries.registry import as_plain
from watchkeeper.queries.timespan import parse_span
from watchkeeper.server.api import ApiError, answer, not_found
from watchkeeper.server.callers import read_caller
from watchkeeper.server.pages import actor_of, said
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.budgets import budget_rows, left_rows, line_rows, open_rows

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

T = TypeVar("T")
MOST_LINES = 500
_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class CapBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cap for one owner: `limit` dollars, tokens, calls or seconds; null takes it away; `more` adds to the one there.

    `owner` null is all who name none, of `key` where that is given.
    """

    level: str
    unit: Literal["usd", "tokens", "calls", "seconds"]
    limit: Annotated[float, Meta(ge=0)] | None
    owner: _Name | None = None
    tenant: _Name = "default"
    key: _Name | None = None
    book: _Name = "scope"
    more: bool = False


class ReconcileBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to reconcile: all reservations `older` than a duration by the record, one `span`, or one `slice` of a
    `gateway`, by the word of whoever asks."""

    older: str | None = None
    span: str | None = None
    unsent: bool = False
    usd: Annotated[float, Meta(ge=0)] | None = None
    tokens: Annotated[int, Meta(ge=0, lt=1 << 53)] | None = None
    gateway: str | None = None
    meter: str | None = None
    used: Annotated[float, Meta(ge=0)] | None = None


class RunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run before its first call: what it is done at, in words, and how many model calls it may make."""

    run: _Name
    done: Annotated[str, Meta(min_length=1, max_length=500)]
    steps: Annotated[int, Meta(ge=1, lt=1 << 31)]
    tenant: _Name | None = None


class BudgetApi:
    """The API of budgets and of runs that declare themselves."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/api/v1/budgets", self.list, methods=["GET"]),
            Route("/api/v1/budgets/cap", self.cap, methods=["POST"]),
            Route("/api/v1/budgets/reconcile", self.reconcile, methods=["POST"]),
            Route("/api/v1/runs", self.declare, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """The ledger: `items` (meters, fullest first), `open` reservations, `slices`; narrowed by level and owner."""
        asked = request.query_params
        found = await self._desk().books()
        lines = [
            line
            for line in found.lines
            if (line.current or asked.get("all") == "true")
            and asked.get("level") in (None, line.of.level)
            and asked.get("owner") in (None, line.of.owner)
        ]
        return answer(
            {
                "items": line_rows(lines[:MOST_LINES]),
                "left_out": max(0, len(lines) - MOST_LINES),
                "open": open_rows(found.open[:MOST_LINES]),
                "slices": left_rows(found.slices[:MOST_LINES]),
            }
        )

    async def cap(self, request: Request) -> Response:
        """Set, raise or take away the cap of one owner."""
        wanted = _body(await request.body(), CapBody)
        unit = {"usd": "nano_usd", "seconds": "ms"}.get(wanted.unit, wanted.unit)
        try:
            meter = meter_of(wanted.level, wanted.owner, wanted.tenant, unit, wanted.book, wanted.key)
            limit = None if wanted.limit is None else round(wanted.limit * SCALES[unit])
            await self._desk().set(meter, limit, actor_of(request), wanted.more)
            line = await self._desk().cap_of(meter)
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error
        await self._parts.flush()
        return answer({"scope": meter, "unit": wanted.unit, "cap": None if line is None else line / SCALES[unit]})

    async def reconcile(self, request: Request) -> Response:
        """Settle what was left behind, by the record or by the owner's word."""
        wanted, desk, actor = _body(await request.body(), ReconcileBody), self._desk(), actor_of(request)
        try:
            if wanted.span is not None:
                if not wanted.unsent and wanted.usd is None and wanted.tokens is None:
                    raise ValueError("Say what is known of the span: unsent, or usd and tokens that it used.")
                word = Word(span_id=wanted.span, sent=not wanted.unsent, usd=wanted.usd, tokens=wanted.tokens)
                done: Any = {"span": wanted.span, "note": await desk.reconcile_one(word, actor)}
            elif wanted.gateway is not None:
                if wanted.meter is None or wanted.used is None:
                    raise ValueError("A slice is named by gateway and meter, with how much of it was used.")
                scale = SCALES.get(wanted.meter.rpartition("/")[2], 1)
                await desk.reconcile_slice(wanted.gateway, wanted.meter, round(wanted.used * scale), actor)
                done = {"gateway": wanted.gateway, "meter": wanted.meter, "used": wanted.used}
            else:
                await self._parts.flush()
                done = as_plain(await desk.reconcile(parse_span(wanted.older or "1h"), actor))
        except LookupError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error
        await self._parts.flush()
        return answer(done)

    async def declare(self, request: Request) -> Response:
        """Declare a run; what was declared first holds, and is the answer. A key declares runs of its own tenant."""
        wanted, bound = _body(await request.body(), RunBody), read_caller(request.headers).tenant
        if bound is not None and wanted.tenant not in (None, bound):
            raise ApiError(403, "forbidden", "other_tenant", "You declare runs of your own tenant only.")
        tenant = bound or wanted.tenant or "default"
        contract = await self._desk().declare(tenant, wanted.run, wanted.done, wanted.steps)
        mine = (contract.done, contract.steps) == (wanted.done, wanted.steps)
        told = {"run": wanted.run, "tenant": tenant, "done": contract.done, "steps": contract.steps, "declared": mine}
        return answer(told, 201 if mine else 409)

    def _desk(self) -> BudgetDesk:
        if self._parts.budgets is None:
            raise ApiError(501, "unavailable", "not_available", "This server keeps no budgets.")
        return self._parts.budgets


class BudgetPages:
    """The page of budgets: how far each is burnt, and what was left behind."""

    def __init__(self, parts: StoreParts, pages: Pages) -> None:
        self._parts, self._pages = parts, pages

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route("/ui/budgets", self.show)]

    async def show(self, request: Request) -> Response:
        """The page."""
        desk = self._parts.budgets
        found = Books(lines=(), open=(), slices=()) if desk is None else await desk.books()
        shown = [line for line in found.lines if line.current]
        return await self._pages.render(
            request,
            "budgets.html",
            "budgets",
            rows=budget_rows(shown[:MOST_LINES]),
            left_out=max(0, len(shown) - MOST_LINES),
            open=open_rows(found.open[:50]),
            open_count=len(found.open),
            slices=left_rows(found.slices[:50]),
        )


def budget_routes(parts: StoreParts, pages: Pages) -> list[Route]:
    """The addresses of pages and API, to be placed before those of the questions."""
    return [*BudgetPages(parts, pages).routes(), *BudgetApi(parts).routes()]


def _body(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_request", "bad_body", f"The body is not what was expected: {error}.") from error
