"""Routes in a real server: failover is told, settings are taken anew under a stream, and a drain cuts none."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When, sandbox_rules
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, free_port

pytestmark = [pytest.mark.door, pytest.mark.slow]
LONG = "One word after another, and none of them may be lost. " * 12
ASKED = {"model": "clerk", "messages": [{"role": "user", "content": "Tell me."}]}


@pytest.fixture(scope="module")
def slow_lab() -> Iterator[LabServer]:
    """A lab that says a long sentence slowly."""
    rule = Rule(name="slow", when=When(last_user="Tell me."), answer=LONG)
    with LabServer(LabConfig(rules=(rule, *sandbox_rules()), tokens_per_s=80.0)) as lab:
        yield lab


def settings(lab: LabServer, first: str, **more: str) -> str:
    """An upstream that may be gone, another that is there, and a route over both."""
    return f"""
[[upstreams]]
name = "first"
base_url = "{first}"
credential = "none"
models = ["lab-small"]

[[upstreams]]
name = "second"
base_url = "{lab.base_url}"
credential = "none"
models = ["lab-large"]
{more.get("second", "")}

[[routes]]
name = "clerk"
targets = [{{ upstream = "first", model = "lab-small" }}, {{ upstream = "second", model = "lab-large" }}]
retries = 0
{more.get("route", "")}
"""


def stream(watch: Watch, heard: list[bytes], model: str = "clerk") -> threading.Thread:
    """A streamed call in a thread; its whole body is put into `heard` at its end."""

    def run() -> None:
        heard.append(watch.http("POST", "/v1/chat/completions", {**ASKED, "model": model, "stream": True}).body)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def said(body: bytes) -> str:
    """The text of a stream."""
    events = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ") and "[DONE]" not in line]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)


def until(is_so: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)
    return found


def gone() -> str:
    return f"http://127.0.0.1:{free_port()}/v1"


def test_a_call_falls_over_and_every_door_tells_of_it(slow_lab: LabServer, tmp_path: Path) -> None:
    with Watch(tmp_path, settings(slow_lab, gone())) as watch:
        answer = watch.http("POST", "/v1/chat/completions", {**ASKED, "max_tokens": 5})
        assert answer.status == 200, answer.body
        assert answer.headers["x-watchkeeper-upstream"] == "second"
        assert answer.headers["x-watchkeeper-rescues"].startswith("fallback;n=1;to=second")
        trace = answer.headers["x-watchkeeper-trace"]
        watch.flush()
        (item,) = watch.cli("ask", "rescues")["items"]
        assert (item["calls"], item["rescues"], item["fallback"], item["rescues_per_success"]) == (1, 1, 1, 1.0)
        page = watch.http("GET", f"/traces/{trace}").body.decode()
        span = watch.get(f"/api/v1/trace?trace_id={trace}")
        assert "watchkeeper.rescue" in json.dumps(span)
        assert page
        assert b'watchkeeper_rescues_total{kind="fallback"} 1.0' in watch.http("GET", "/metrics").body
        listed = {item["upstream"]: item for item in watch.cli("upstreams")["items"]}
        assert listed["first"]["failures"] == 1 and listed["second"]["failures"] == 0


def test_settings_are_taken_anew_under_a_stream_and_a_broken_file_changes_nothing(
    slow_lab: LabServer, tmp_path: Path
) -> None:
    with Watch(tmp_path, settings(slow_lab, slow_lab.base_url)) as watch:
        file = tmp_path / "watchkeeper.toml"
        whole = file.read_text()
        heard: list[bytes] = []
        under_way = stream(watch, heard)
        until(lambda: any(each["in_flight"] for each in watch.cli("upstreams")["items"]))
        file.write_text(whole.replace('name = "clerk"', 'name = "scribe"'))
        done = watch.cli("reload")
        assert done["changed"] == ["routes"] and done["waiting"] == []
        assert watch.http("POST", "/v1/chat/completions", {**ASKED, "max_tokens": 3}).status == 404
        assert watch.http("POST", "/v1/chat/completions", {**ASKED, "model": "scribe", "max_tokens": 3}).status == 200
        file.write_text(whole.replace('upstream = "second"', 'upstream = "nobody"'))
        broken = watch.command("reload", "--json")
        assert broken.returncode == 2 and b"nobody" in broken.stderr
        assert watch.http("POST", "/v1/chat/completions", {**ASKED, "model": "scribe", "max_tokens": 3}).status == 200
        under_way.join(60)
        assert said(heard[0]) == LONG, "the stream that was under way came to its end"
        file.write_text(whole)
        until(lambda: watch.http("POST", "/v1/chat/completions", {**ASKED, "max_tokens": 3}).status == 200)
        watch.flush()
        audits = watch.cli("ask", "audits", "act=settings.changed")["items"]
        assert len(audits) >= 2


def test_a_hangup_takes_the_settings_anew(slow_lab: LabServer, tmp_path: Path) -> None:
    with Watch(tmp_path, settings(slow_lab, slow_lab.base_url)) as watch:
        file = tmp_path / "watchkeeper.toml"
        stamp = file.stat()
        file.write_text(file.read_text().replace('name = "clerk"', 'name = "clark"'))
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        watch.signal(signal.SIGHUP)
        asked = {**ASKED, "model": "clark", "max_tokens": 3}
        until(lambda: watch.http("POST", "/v1/chat/completions", asked).status == 200)


def test_sigterm_lets_a_slow_stream_come_to_its_end(slow_lab: LabServer, tmp_path: Path) -> None:
    with Watch(tmp_path, settings(slow_lab, slow_lab.base_url)) as watch:
        heard: list[bytes] = []
        under_way = stream(watch, heard)
        until(lambda: any(each["in_flight"] for each in watch.cli("upstreams")["items"]))
        watch.signal(signal.SIGTERM)
        under_way.join(60)
        assert said(heard[0]) == LONG and heard[0].endswith(b"data: [DONE]\n\n")
        until(watch.ended)


def test_a_real_client_gets_its_answer_through_an_outage(slow_lab: LabServer, tmp_path: Path) -> None:
    route = 'on_broken_stream = "continue"'
    with Watch(tmp_path, settings(slow_lab, gone(), route=route)) as watch, watch.openai() as client:
        chunks = client.chat.completions.create(
            model="clerk", messages=[{"role": "user", "content": "Tell me."}], max_tokens=12, stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
