"""The API of probes: what is asked, a round on demand, and the acceptance of how a model answers now."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.monitoring.probes import Prober, accepted
from watchkeeper.queries.registry import as_plain
from watchkeeper.server.api import ApiError, answer, not_found
from watchkeeper.server.pages import actor_of, said
from watchkeeper.server.parts import StoreParts

MOST_ROUNDS = 200


class RunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which probes to ask (all when none is named), and how many rounds."""

    probes: tuple[str, ...] = ()
    rounds: int = 1


def probe_routes(parts: StoreParts) -> list[Route]:
    """The addresses under /api/v1/probes."""
    api = _ProbeApi(parts)
    return [
        Route("/api/v1/probes", api.list),
        Route("/api/v1/probes/run", api.run, methods=["POST"]),
        Route("/api/v1/probes/{name}/accept", api.accept, methods=["POST"]),
    ]


class _ProbeApi:
    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Response:
        """The probes in the settings."""
        del request
        return answer(
            {"items": [{**as_plain(msgspec.to_builtins(p)), "digest": p.digest} for p in self._prober().probes]}
        )

    async def run(self, request: Request) -> Response:
        """Ask some rounds now: {"probes": [names], "rounds": 1}. The owner pays for them, so only the owner asks."""
        prober = self._prober()
        try:
            wanted = msgspec.json.decode(await request.body() or b"{}", type=RunBody)
        except msgspec.MsgspecError as error:
            raise ApiError(400, "invalid_request", "bad_body", f"The body is wrong: {error}.") from error
        if not 1 <= wanted.rounds <= MOST_ROUNDS:
            raise ApiError(400, "invalid_request", "bad_parameter", f"rounds must be 1 to {MOST_ROUNDS}.", "rounds")
        done = []
        try:
            for _ in range(wanted.rounds):
                done += await prober.once(wanted.probes)
        except LookupError as error:
            raise not_found(said(error)) from error
        await self._parts.flush()
        return answer({"items": as_plain(done)})

    async def accept(self, request: Request) -> Response:
        """From now on the answers of a probe are its new baseline."""
        prober, name = self._prober(), request.path_params["name"]
        if name not in {probe.name for probe in prober.probes}:
            raise not_found(f"There is no probe {name[:64]!r}.")
        score, act = accepted(name, actor_of(request), self._parts.clock_ns())
        prober.record(score)
        prober.record(act)
        await self._parts.flush()
        return answer({"probe": name, "accepted_ns": score.event_ns})

    def _prober(self) -> Prober:
        if self._parts.prober is None:
            raise ApiError(501, "unavailable", "not_available", "This server asks no probes.")
        return self._parts.prober
