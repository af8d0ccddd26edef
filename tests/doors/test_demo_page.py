"""The pages of a running demo in a real browser: the loop that was stopped, a recorded agent run, the incident.

With WATCHKEEPER_SAVE_PICTURES=1 the README's picture, docs/images/trace.png, is taken anew from the first of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from watchkeeper.lab import processes
from watchkeeper.lab.watch import free_port

CHROMIUM = (
    os.environ.get("WATCHKEEPER_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "trace.png"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.door,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


class Demo(NamedTuple):
    """A demo that serves: its address, its data, and the pages it told to open."""

    address: str
    data: Path
    loop: str
    incident: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that has played and goes on serving."""
    folder, address = tmp_path_factory.mktemp("demo"), f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "watchkeeper", "demo", "--data", "data", "--listen", address],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("ask with"):
                break
        loop, incident = re.search(r"/ui/traces/\w+", told), re.search(r"/ui/incidents/\w+", told)
        assert loop is not None, told
        assert incident is not None, told
        yield Demo(f"http://{address}", folder / "data", loop[0], incident[0])
        process.send_signal(signal.SIGINT)
    finally:
        processes.end(process, 30.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, demo: Demo) -> Iterator[Any]:
    """A page in light colours that fails its test when it speaks to others, complains or stumbles."""
    context = browser.new_context(
        base_url=demo.address, color_scheme="light", viewport={"width": 1440, "height": 900}, locale="en-GB"
    )
    opened, wrong = context.new_page(), []
    opened.set_default_timeout(30_000)
    opened.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith(f"{demo.address}/") else wrong.append(r.url))
    opened.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    yield opened
    context.close()
    assert wrong == []


def test_the_loop_that_was_stopped_is_told_by_its_page(page: Any, demo: Demo) -> None:
    page.goto(demo.loop)
    page.get_by_role("heading", level=1, name="invoke_agent analyser and verifier").wait_for()
    rows = page.locator("#waterfall").get_by_role("link")
    named = rows.evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    assert named[0].startswith("analyser and verifier agent, ")
    assert len(named) >= 8
    assert [re.sub(r", [\d.,]+ [µm]?s.*", "", each) for each in named[1:3]] == [
        "lab-large chat by analyser, asks for hand_over",
        "lab-large chat by verifier, asks for hand_over",
    ]
    assert named[-1].endswith(", denied")
    panel = page.get_by_role("region", name="Selected span")
    ruled = panel.get_by_role("region", name="Decisions")
    assert ruled.get_by_text("loop_cycle").is_visible()
    assert ruled.get_by_text(re.compile(r"went \d+ times through the same 2 tool calls")).is_visible()
    assert panel.get_by_text("the call was not sent").is_visible()
    shares = page.get_by_role("region", name="Who used what")
    assert shares.get_by_role("row", name=re.compile(r"^verifier lab-large \d+ hand_over ×\d+")).is_visible()
    _picture(page)


def _picture(page: Any) -> None:
    """The README's picture, when it is asked for."""
    if os.environ.get("WATCHKEEPER_SAVE_PICTURES") != "1":
        return
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=PICTURE)
    assert PICTURE.stat().st_size < 300_000


def test_a_call_of_the_loop_is_shown_whole_and_its_request_is_given_back_byte_by_byte(page: Any, demo: Demo) -> None:
    page.goto(demo.loop)
    page.locator("#waterfall").get_by_role("link", name="asks for hand_over").last.click()
    page.wait_for_url("**?span=*")
    panel = page.get_by_role("region", name="Selected span")
    tokens = panel.get_by_role("region", name="Tokens and cost")
    tokens.get_by_text("Input", exact=True).wait_for()
    said = tokens.locator("dd").all_text_contents()
    assert int(re.match(r"[\d,]+", said[0])[0].replace(",", "")) > 0  # type: ignore[index]
    assert re.match(r"\$0\.0\d+", said[2])
    messages = panel.get_by_role("region", name="Messages")
    assert messages.get_by_role("article", name="System").get_by_text("You are the").is_visible()
    assert messages.get_by_role("article", name="Assistant").last.get_by_text("hand_over").first.is_visible()
    manifest = panel.get_by_role("region", name="Manifest")
    assert manifest.get_by_role("row", name=re.compile("^model lab-large")).count() == 1
    with page.expect_download() as downloading:
        panel.get_by_role("link", name=re.compile(r"^request [\d.,]+ k?B$")).click()
    span = page.url.rpartition("=")[2]
    assert downloading.value.path().read_bytes() == _reconstructed(span, demo)
    assert b'"hand_over"' in downloading.value.path().read_bytes()


def _reconstructed(span: str, demo: Demo) -> bytes:
    """What the command line gives back for a span, from the same data and by another way."""
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper", "reconstruct", span, "--data", str(demo.data)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_a_recorded_agent_run_is_found_by_what_was_asked_and_read_to_its_end(page: Any, demo: Demo) -> None:
    page.goto("/ui/traces")
    page.get_by_label("Session").fill("tau-bench.airline.task_47.trial_0.gpt-4o")
    page.get_by_role("button", name="Filter").click()
    row = page.get_by_role("row", name="invoke_agent airline")
    assert row.count() == 1
    assert row.get_by_role("link", name="tau-ben").text_content().endswith("task_47.trial_0.gpt-4o")
    assert row.get_by_text("cancel my reservation").is_visible()
    row.get_by_role("link", name="invoke_agent airline").click()
    panel = page.get_by_role("region", name="Selected span")
    assert panel.get_by_role("rowheader", name="outcome").is_visible()
    assert panel.get_by_role("region", name="Messages").get_by_role("article").count() > 4
    assert panel.get_by_role("region", name="Decisions").get_by_text("within_budget").is_visible()


def test_the_incident_says_what_is_wrong_how_bad_since_when_and_what_next(page: Any, demo: Demo) -> None:
    page.goto(demo.incident)
    short = page.get_by_role("region", name="In short")
    for question in ("What is wrong", "How bad", "Since when", "What changed", "Look first", "Next"):
        assert short.get_by_text(question, exact=True).is_visible()
    assert short.get_by_role("img", name=re.compile(r"x \(99\.9% interval .* alert at 1\.5 x")).is_visible()
    assert short.get_by_text(re.compile("and [0-9,]+ more new compositions")).is_visible()
    chart = page.get_by_role("region", name="Chart")
    assert chart.get_by_text(
        re.compile(r"^Share of bad 'outcome' per \d+ (s|min), with 95% intervals")
    ).first.is_visible()
    assert chart.locator("circle.dot").count() > 1  # as many buckets as the demo took time for
    short.get_by_role("link", name=re.compile("^Read the worst trace")).click()
    page.get_by_role("heading", level=1, name=re.compile("^invoke_agent ")).wait_for()
