"""The part of the API that changes or proves the record: erasing somebody, and anchoring checkpoints outside."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.recorder.belonging import Whose
from watchkeeper.server.api import ApiError, answer
from watchkeeper.server.noting import note
from watchkeeper.server.pages import actor_of
from watchkeeper.server.parts import StoreParts


class ErasureBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose records to erase, exactly one of user (of a tenant, or of all), session, trace and key."""

    user: str | None = None
    tenant: str | None = None
    session: str | None = None
    trace: str | None = None
    key: str | None = None
    dry_run: bool = False


class AnchorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the anchors to use; all when none is named."""

    to: tuple[str, ...] = ()


class ProofApi:
    """Erasures and anchors. The lists are questions: GET /api/v1/erasures and /api/v1/checkpoints."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """The addresses, to be placed before those of the questions."""
        return [
            Route("/api/v1/erasures", self.erase, methods=["POST"]),
            Route("/api/v1/erasures/resume", self.resume, methods=["POST"]),
            Route("/api/v1/proofs/{trace_id}/places", self.places, methods=["GET"]),
            Route("/api/v1/anchors", self.anchors, methods=["GET"]),
            Route("/api/v1/anchors", self.anchor, methods=["POST"]),
        ]

    async def erase(self, request: Request) -> Response:
        """Erase all that belongs to somebody; with `dry_run`, say what that would be."""
        eraser = self._parts.eraser
        if eraser is None:
            raise _unavailable("erase")
        wanted = await _read(request, ErasureBody)
        whose = Whose(**{f: getattr(wanted, f) for f in ("user", "tenant", "session", "trace", "key")})
        try:
            return answer(await eraser.erase(whose, actor_of(request), wanted.dry_run))
        except ValueError as error:
            if whose.problem() is None:
                raise
            raise ApiError(
                400, "invalid_request", "bad_selector", f"The request cannot be carried out: {error}"
            ) from error

    async def resume(self, request: Request) -> Response:
        """End the erasures that were begun and not ended."""
        eraser = self._parts.eraser
        if eraser is None:
            raise _unavailable("erase")
        return answer({"ended": await eraser.resume()})

    async def places(self, request: Request) -> Response:
        """Where a trace's frames lie: writer, segment and offset of each."""
        if self._parts.prover is None:
            raise _unavailable("prove")
        return answer({"items": await self._parts.prover.places(request.path_params["trace_id"])})

    async def anchors(self, request: Request) -> Response:
        """How each anchor fares."""
        del request
        anchoring = self._parts.anchoring
        return answer({"items": [] if anchoring is None else anchoring.health()})

    async def anchor(self, request: Request) -> Response:
        """Write a checkpoint now and anchor it."""
        anchoring = self._parts.anchoring
        if anchoring is None:
            raise _unavailable("anchor")
        wanted = await _read(request, AnchorBody)
        try:
            done = await anchoring.anchor(wanted.to)
        except LookupError as error:
            raise ApiError(400, "invalid_request", "unknown_anchor", str(error.args[0])) from error
        note(self._parts, request, "anchor.made", "checkpoints", ", ".join(wanted.to) or None)
        return answer(done)


def _unavailable(what: str) -> ApiError:
    return ApiError(501, "unavailable", "not_available", f"This server cannot {what}.")


async def _read(request: Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_request", "bad_body", f"The body is not what was expected: {error}.") from error
