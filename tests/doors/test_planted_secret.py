"""A secret goes in through every door of a real server; afterwards it is in no file, however the file is read."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.chaos.running import Answer, Running
from tests.doors.echoing import Echo
from watchkeeper.engines.recorder.segments import read_frames

pytestmark = [pytest.mark.door, pytest.mark.slow]

RULES = """
[[redactions]]
detect = "emails"
action = "token"

[[redactions]]
name = "password"
fields = ["password", "x-secret"]
action = "drop"
"""
KEY = "sk-proj-Q7wErTyUiOpAs9dFgHjKl"
MAIL = "planted.person@example.org"
WORD = "hunter2-and-more"
HELD = "held-by-this-server-and-of-no-known-form"
PLANTED = (KEY[8:], MAIL, WORD, HELD)
SAID = f"my key is {KEY}, write to {MAIL}, {HELD}"
JSON = "application/json"


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as upstream:
        yield upstream


@pytest.fixture
def server(tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("PLANTED_TOKEN", HELD)
    running = Running(tmp_path, echo.base_url)
    settings = tmp_path / "watchkeeper.toml"
    held = f'[[upstreams]]\nname = "held"\nbase_url = "{echo.base_url}"\ncredential = "env:PLANTED_TOKEN"\n'
    settings.write_text(f'{held}models = ["planted*"]\ndefault = true\n{RULES}')
    with running:
        yield running


def post(server: Running, path: str, value: object, **headers: str) -> Answer:
    return server.ask(path, json.dumps(value).encode(), content_type=JSON, **headers)


def through_the_gateway(server: Running) -> None:
    """Plain, streamed, as tool calls and results, in errors, in names, in addresses, compressed."""
    asked = {"model": "planted", "messages": [{"role": "user", "content": SAID}], "user": MAIL, "password": WORD}
    assert post(server, "/v1/chat/completions", asked, X_Watchkeeper_Session=MAIL, Authorization=f"Bearer {KEY}")
    result = {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"password": WORD, "key": SAID})}
    for extra in ({}, {"stream": True}, {"stream": True, "tools": [{"type": "function"}]}, {"model": "planted-fail"}):
        answer = post(server, "/v1/chat/completions", asked | {"messages": [*asked["messages"], result]} | extra)  # type: ignore[misc]
        assert answer.status == (401 if "fail" in str(extra) else 200), answer
    escaped = json.dumps(asked).replace("sk-", "\\u0073\\u006b\\u002d").replace("@", "\\u0040").encode()
    assert server.ask("/v1/chat/completions", escaped, content_type=JSON).status == 200
    packed = gzip.compress(json.dumps(asked).encode())
    assert server.ask("/v1/chat/completions", packed, content_type=JSON, content_encoding="gzip").status == 200
    assert post(server, "/v1/embeddings", {"model": "planted", "input": SAID}).status == 200
    quoted = MAIL.replace("@", "%40")
    assert server.ask(f"/v1/files?password={WORD}&who={quoted}&key={KEY}").status == 200
    assert post(server, f"/v1/chat/completions?key={KEY}", asked | {"model": KEY}).status in (200, 400, 404)


def exports(rng: Random) -> tuple[ExportTraceServiceRequest, ExportLogsServiceRequest]:
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    resource = traces.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = f"shop of {MAIL}"
    scope = resource.scope_spans.add()
    span = scope.spans.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), name=f"chat {KEY}")
    span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
    span.status.message, span.status.code = SAID, 2
    for name, value in (("gen_ai.input.messages", json.dumps([{"role": "user", "parts": [{"content": SAID}]}])),
                        ("password", WORD), ("user.id", MAIL), ("x.y", SAID), (KEY, "named after it")):  # fmt: skip
        span.attributes.add(key=name).value.string_value = value
    listed = span.attributes.add(key="list").value.array_value.values
    listed.add().string_value = SAID
    span.attributes.add(key="bytes").value.bytes_value = SAID.encode()
    nested = span.attributes.add(key="map").value.kvlist_value.values
    nested.add(key="password").value.string_value = WORD
    event = span.events.add(name=SAID, time_unix_nano=time.time_ns())
    event.attributes.add(key="exception.message").value.string_value = SAID
    span.links.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), trace_state=KEY)
    record = (
        logs.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=time.time_ns(),
            trace_id=span.trace_id,
            span_id=span.span_id,
            event_name="gen_ai.user.message",
        )
    )
    record.body.kvlist_value.values.add(key="content").value.string_value = SAID
    record.attributes.add(key="password").value.string_value = WORD
    return traces, logs


def through_otlp(server: Running) -> None:
    """Traces and logs, as protobuf and as JSON."""
    from google.protobuf.json_format import MessageToDict

    for number, media in enumerate(("application/x-protobuf", JSON)):
        for path, export in zip(("/v1/traces", "/v1/logs"), exports(Random(number)), strict=True):
            body = export.SerializeToString()
            if media == JSON:
                said = MessageToDict(export)
                for spans in said.get("resourceSpans", ()):
                    span = spans["scopeSpans"][0]["spans"][0]
                    span |= {"traceId": f"{number + 7:032x}", "spanId": f"{number + 7:016x}", "links": []}
                for records in said.get("resourceLogs", ()):
                    records["scopeLogs"][0]["logRecords"][0] |= {"traceId": f"{7:032x}", "spanId": f"{7:016x}"}
                body = json.dumps(said).encode()
            assert server.ask(path, body, content_type=media).status == 200


def through_the_records(server: Running) -> None:
    """Scores, outcomes, feedback, sessions, sources, effects, decisions, and events to rule on."""
    note, span, trace = {"explanation": SAID}, "ab" * 8, "ab" * 16
    score = {"name": "q", "subject_kind": "session", "subject_id": MAIL, "value": 1, "attributes": {"password": WORD}}
    sent = [
        ("scores", score | note | {"label": SAID, "id": KEY}),
        ("outcomes", {"session": MAIL, "success": True} | note),
        ("feedback", {"span": span, "verdict": "edited", "diff": SAID}),
        ("sessions", {"session": MAIL, "user": MAIL, "name": SAID}),
        ("decide", {"stage": "tool_call", "tool": "f", "arguments": {"password": WORD, "q": SAID},
                    "identity": {"user": MAIL}, "attributes": {"a": SAID}}),
        ("sources", {"document": f"letters/{MAIL}", "trace_id": trace, "text": SAID, "query": SAID}),
        ("effects", {"id": "e1", "key": f"k {KEY}", "tool": "mail", "target": MAIL, "detail": SAID}),
        ("decisions", {"id": "d1", "verdict": "deny", "reason": "r", "policy": "p", "sentence": SAID,
                       "facts": {"a": SAID}, "identity": {"user": MAIL}}),
    ]  # fmt: skip
    for name, value in sent:
        answer = post(server, f"/api/v1/{name}", value)
        assert answer.status == 200, (name, answer)


def through_programs(server: Running, folder: Path) -> None:
    """The SDK in a program of its own, and an import."""
    program = f"""
        import watchkeeper
        watchkeeper.init(url="http://127.0.0.1:{server.port}", service="planted")
        @watchkeeper.tool
        def look(q, password): return q
        with watchkeeper.session({MAIL!r}, user={MAIL!r}):
            with watchkeeper.trace("work", note={SAID!r}):
                look({SAID!r}, {WORD!r})
                watchkeeper.score("s", 1, explanation={SAID!r})
        assert watchkeeper.flush(), watchkeeper.flush()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    row = {"messages": [{"role": "user", "content": SAID}, {"role": "assistant", "content": SAID}], "password": WORD}
    file = folder / "import.jsonl"
    file.write_text(json.dumps(row) + "\n" + "not json " + SAID + "\n")
    assert server.command("import", str(file)).returncode == 0
    file.unlink()


def texts_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file as it is, and what the ones that are packed hold."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        yield str(path), path.read_bytes()
    for writer in (folder / "data" / "journal").iterdir():
        for frame in read_frames(writer):
            yield f"frame {frame.head.seq} of {writer.name}, kind {frame.head.kind}", frame.payload
    with duckdb.connect(str(folder / "data" / "index" / "log.duckdb"), read_only=True) as index:
        for (table,) in index.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield f"table {table}", repr(index.execute(f'SELECT * FROM "{table}"').fetchall()).encode()
    with sqlite3.connect(folder / "data" / "cells.sqlite") as cells:
        for (table,) in cells.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            yield f"cells {table}", repr(cells.execute(f'SELECT * FROM "{table}"').fetchall()).encode()


def found_in(folder: Path, *texts: str) -> list[str]:
    return sorted(
        {f"{text!r} in {where}" for where, data in texts_of(folder) for text in texts if text.encode() in data}
    )


def test_no_planted_secret_is_in_any_file(server: Running, echo: Echo, tmp_path: Path) -> None:
    through_the_gateway(server)
    through_otlp(server)
    through_the_records(server)
    through_programs(server, tmp_path)
    server.flush()
    for page in ("/ui/", "/ui/drops", "/api/v1/spans", "/api/v1/drops", "/metrics"):
        assert KEY.encode() not in server.ask(page).body
    assert any(SAID in json.dumps(asked) for asked in echo.asked), "the call itself is never changed"
    server.stop()
    (tmp_path / "watchkeeper.toml").unlink()
    assert not found_in(tmp_path, *PLANTED)
    assert found_in(tmp_path, "[secret]", "[email:"), "what stands in place of them is there"


def test_what_was_not_to_be_taken_out_is_there_byte_for_byte(server: Running, tmp_path: Path) -> None:
    asked = {"model": "planted", "messages": [{"role": "user", "content": "an ordinary question, 5 cafés"}]}
    body = json.dumps(asked, indent=1, ensure_ascii=False).encode()
    answer = server.ask("/v1/chat/completions", body, content_type=JSON)
    server.flush()
    assert server.ask(f"/api/v1/spans/{answer.headers['x-watchkeeper-span']}/request").body == body


def test_the_search_would_find_them(tmp_path: Path, echo: Echo) -> None:
    """Without redaction the same search finds the secret, so its silence above means something."""
    running = Running(tmp_path, echo.base_url)
    (tmp_path / "watchkeeper.toml").write_text(
        f'[recording]\nredact_credentials = false\n[[upstreams]]\nname = "held"\nbase_url = "{echo.base_url}"\n'
        'credential = "none"\nmodels = ["planted*"]\n'
    )
    with running as server:
        through_the_records(server)
        asked = {"model": "planted", "messages": [{"role": "user", "content": SAID * 50}]}
        assert post(server, "/v1/chat/completions", asked).status == 200
        server.flush()
    (tmp_path / "watchkeeper.toml").unlink()
    where = found_in(tmp_path, KEY)
    assert any("frame" in each for each in where) and any("table spans" in each for each in where), where
