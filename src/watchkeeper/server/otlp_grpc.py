"""The gRPC door for OTLP: traces, logs and metrics on a port of their own, with the rules of the HTTP doors.

Keys come as metadata (`authorization: Bearer ...` or `x-watchkeeper-key`), gzip is undone by gRPC itself, an export
over the size limit is refused, and what could not be kept is told as partial success. It needs the extra `grpc`.

Limits: no TLS. Put a proxy that ends TLS in front of it, or keep it on loopback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from watchkeeper.config import ConfigError
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.intake import LOGS, METRICS, TRACES, Outcome
from watchkeeper.records.identity import Identity
from watchkeeper.server.guard import is_loopback

_PROTO = "opentelemetry.proto.collector"
SERVICES = {
    f"{_PROTO}.trace.v1.TraceService": TRACES,
    f"{_PROTO}.logs.v1.LogsService": LOGS,
    f"{_PROTO}.metrics.v1.MetricsService": METRICS,
}
MOST_AT_ONCE = 64
GRACE_S = 5.0
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    413: "RESOURCE_EXHAUSTED",
    415: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


class Taker(Protocol):
    """Who keeps what comes in: the intake."""

    async def identify(self, headers: Mapping[bytes, bytes], *, needs_key: bool = False) -> Identity:
        """Who sends; raises `Refusal`."""
        ...

    async def take_export(self, path: str, body: bytes, identity: Identity, *, json: bool = False) -> Outcome:
        """Keep one export; raises `Refusal`."""
        ...

    def answer(self, path: str, outcome: Outcome) -> bytes:
        """The reply's bytes."""
        ...


class GrpcDoor:
    """Listens for OTLP over gRPC on the running loop."""

    def __init__(self, intake: Taker, address: str, max_body_bytes: int) -> None:
        """Raises `ConfigError` when grpcio is not installed."""
        try:
            import grpc.aio
        except ImportError as error:
            raise ConfigError(
                "`server.otlp_grpc` needs grpcio, which is not installed. Run `pip install 'watchkeeper[grpc]'`, or "
                "take the setting out: OTLP over HTTP needs nothing more."
            ) from error
        self._grpc = grpc
        self._intake, self.address, self._limit_bytes = intake, address, max_body_bytes
        self._needs_key = not is_loopback(address.rpartition(":")[0].strip("[]"))
        self._server: Any = None

    async def start(self) -> None:
        """Bind the port; raises `ConfigError` when it cannot be had."""
        grpc = self._grpc
        self._server = server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", self._limit_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.max_metadata_size", 16 << 10),
            ),
            maximum_concurrent_rpcs=MOST_AT_ONCE,
        )
        for service, path in SERVICES.items():
            export = grpc.unary_unary_rpc_method_handler(self._exporting(path))
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
        problem: Exception | None = None
        bound = 0
        try:
            bound = server.add_insecure_port(self.address)
        except RuntimeError as error:
            problem = error
        if bound == 0:
            raise ConfigError(
                f"`server.otlp_grpc` = {self.address!r} cannot be listened on; another program may have the port. "
                "Choose another address, or stop that program."
            ) from problem
        self.address = f"{self.address.rpartition(':')[0]}:{bound}"
        await server.start()

    async def stop(self) -> None:
        """Take nothing new and finish what is under way."""
        if self._server is not None:
            await self._server.stop(GRACE_S)

    def _exporting(self, path: str) -> Any:
        async def export(body: bytes, context: Any) -> bytes:
            headers = {
                key.encode(): value if isinstance(value, bytes) else value.encode()
                for key, value in context.invocation_metadata()
            }
            try:
                if len(body) > self._limit_bytes:
                    raise Refusal(
                        413, "too_large", f"An export has at most {self._limit_bytes} bytes; send less at once."
                    )
                identity = await self._intake.identify(headers, needs_key=self._needs_key)
                return self._intake.answer(path, await self._intake.take_export(path, body, identity))
            except Refusal as refusal:
                code = getattr(self._grpc.StatusCode, _STATUS.get(refusal.status, "INTERNAL"))
                await context.abort(code, refusal.sentence)
                raise AssertionError("abort does not return") from refusal

        return export
