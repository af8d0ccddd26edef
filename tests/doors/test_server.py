"""`watchkeeper serve` as a process: starts, answers, outlives its children, ends, and says why it cannot start."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.door,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc"),
]
PATIENCE_S = 60.0
SETTINGS = """
[[upstreams]]
name = "nowhere"
base_url = "http://127.0.0.1:9/v1"
credential = "none"
"""


class Served:
    """A running server: its process, its address, and requests to it."""

    def __init__(self, folder: Path, settings: str = SETTINGS, listen: str = "127.0.0.1:0") -> None:
        folder.mkdir(exist_ok=True)
        (folder / "watchkeeper.toml").write_text(settings)
        self.errors = folder / "errors.txt"
        command = [sys.executable, "-m", "watchkeeper", "serve", "--json", "--listen", listen]
        command += ["--data", str(folder / "data"), "--config", str(folder / "watchkeeper.toml")]
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = json.loads(line)["address"].removeprefix("http://") if line else ""

    def get(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """One request."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def children(self) -> dict[str, int]:
        """The pids of the two processes by name."""
        found = {}
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in listed:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found.update({name.decode(): int(pid) for name in (b"gateway", b"store") if name in words})
        return found

    def end(self) -> int:
        """Ask the server to end and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE_S)


def until(true: Callable[[], Any]) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if found := true():
                return found
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError("it did not become true in time")


def alive(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server of its own."""
    server = Served(tmp_path)
    yield server
    server.end()


def test_it_answers_takes_a_trace_and_shows_it(served: Served) -> None:
    assert served.get("/healthz") == (200, b'{"status":"alive"}')
    until(lambda: served.get("/readyz")[0] == 200)
    status, _ = served.get("/v1/traces", "POST", export(), Content_Type="application/x-protobuf")
    assert status == 200
    assert served.get("/api/v1/ingest/flush", "POST", b"{}", Content_Type="application/json")[0] == 200
    items = json.loads(served.get("/api/v1/traces")[1])["items"]
    assert [item["name"] for item in items] == ["invoke_agent scout"]
    page = served.get(f"/ui/traces/{items[0]['trace_id']}", Accept="text/html")[1].decode()
    assert "scout" in page
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    metrics = served.get("/metrics")[1].decode()
    assert "watchkeeper_store_up 1.0" in metrics
    assert "watchkeeper_ingest_records_total" in metrics
    assert "watchkeeper_ingest_lag_bytes 0" in metrics
    assert "watchkeeper_ingest_failing 0" in metrics
    said = json.loads(served.get("/readyz")[1])
    assert (said["store"], said["index"]) == ("ok", "the index is up to date")


def test_the_libraries_carry_it_where_the_settings_say_so(tmp_path: Path) -> None:
    served = Served(tmp_path / "libraries", '[server]\ntransport = "libraries"\n' + SETTINGS)
    try:
        assert until(lambda: served.get("/healthz")[0] == 200)
        body, media = b'{"model": "m", "messages": []}', "application/json"
        assert served.get("/v1/chat/completions", "POST", body, content_type=media)[0] == 502
    finally:
        assert served.end() == 0


def test_a_foreign_page_is_turned_away(served: Served) -> None:
    assert served.get("/healthz", Host="evil.example")[0] == 421
    foreign = {"Content_Type": "application/json", "Origin": "http://evil.example"}
    assert served.get("/api/v1/scores", "POST", b"{}", **foreign)[0] == 403


def test_it_ends_when_asked_and_leaves_nothing_behind(served: Served) -> None:
    children = until(lambda: len(served.children()) == 2 and served.children())
    until(lambda: served.get("/readyz")[0] == 200)
    assert served.end() == 0
    assert not any(alive(pid) for pid in children.values())
    with pytest.raises(OSError):
        served.get("/healthz")


@pytest.mark.parametrize("name", ["gateway", "store"])
def test_a_crashed_process_is_started_again_and_the_other_goes_on(served: Served, name: str) -> None:
    until(lambda: served.get("/readyz")[0] == 200)
    before = served.children()
    os.kill(before[name], signal.SIGKILL)
    until(lambda: served.children().get(name, before[name]) != before[name])
    until(lambda: served.get("/readyz")[0] == 200)
    after = served.children()
    other = "store" if name == "gateway" else "gateway"
    assert after[other] == before[other]
    assert f"the {name} process was ended by signal 9; restart 1" in served.errors.read_text()


def test_while_the_store_is_away_the_gateway_goes_on_and_the_page_says_so(served: Served) -> None:
    until(lambda: served.get("/readyz")[0] == 200)
    store = served.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        assert served.get("/healthz")[0] == 200
        assert served.get("/v1/models")[0] == 502
        ready = served.get("/readyz")
        assert ready[0] == 503
        assert b"does not answer" in ready[1]
    finally:
        os.kill(store, signal.SIGCONT)
    until(lambda: served.get("/readyz")[0] == 200)


def test_the_processes_end_when_the_supervisor_is_killed(served: Served) -> None:
    children = until(lambda: len(served.children()) == 2 and served.children())
    until(lambda: served.get("/readyz")[0] == 200)
    served.process.kill()
    served.process.wait(PATIENCE_S)
    until(lambda: not any(alive(pid) for pid in children.values()))


def test_a_second_server_on_the_same_data_names_the_first(served: Served, tmp_path: Path) -> None:
    second = Served(tmp_path)
    assert second.end() == 2
    said = second.errors.read_text()
    assert str(served.process.pid) in said
    assert served.address in said
    assert "--data" in said
    assert served.get("/healthz")[0] == 200


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Served(tmp_path, listen=address)
        assert server.end() == 2
    assert address in server.errors.read_text()
    assert "--listen" in server.errors.read_text()


def test_a_setting_that_cannot_work_ends_the_server_with_its_name(tmp_path: Path) -> None:
    server = Served(tmp_path, SETTINGS + '\n[[policies]]\nuse = "bugdet"\n')
    assert server.process.wait(PATIENCE_S) == 2
    said = server.errors.read_text()
    assert "bugdet" in said
    assert "Traceback" not in said


def export() -> bytes:
    """An OTLP export of one agent with a hostile answer."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    now = time.time_ns()
    span.trace_id, span.span_id, span.name = os.urandom(16), os.urandom(8), "invoke_agent scout"
    span.start_time_unix_nano, span.end_time_unix_nano = now - 10**9, now
    said = '[{"role":"assistant","parts":[{"type":"text","content":"<script>alert(1)</script>"}]}]'
    for key, value in (
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "scout"),
        ("gen_ai.output.messages", said),
    ):
        span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    return request.SerializeToString()
