"""An upstream that says back what it was told: whole, in errors, in tool calls, and streamed by three characters."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

PIECE = 3


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "path": self.path, "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        said = json.dumps(asked.get("input") or asked["messages"][-1]["content"])[1:-1]
        if "fail" in asked["model"]:
            self._send(
                401, {"error": {"message": f"Incorrect API key provided: {said}", "type": "auth", "code": "bad"}}
            )
        elif asked.get("stream"):
            self._stream(said, "tools" in asked)
        else:
            call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": said})}}
            message = {"role": "assistant", "content": said, "tool_calls": [call]}
            self._send(200, {"id": "x", "model": asked["model"], "choices": [{"index": 0, "message": message}]})

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, said: str, tools: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        text = json.dumps({"q": said}) if tools else said
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            part = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} if tools else {"content": piece}
            self._event({"id": "x", "choices": [{"index": 0, "delta": part}]})
        self._event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


class Echo:
    """The upstream for the length of a `with` block; `asked` are the bodies that reached it."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.asked: list[Any] = []
        self._server.asked = self.asked  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
