"""How long a trace of 2,000 spans takes to open: asked of the index, rendered, sent, and shown in Chromium.

Simulated input: an agent with sub-agents, model calls and tools, nested up to eight deep. Beside it stands the floor: a
page of the same HTML without styles and script, opened in the same browser. Without a browser its part is left out.

    python -m benchmarks.trace_page [--spans 2000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.config import load
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Span, Usage
from watchkeeper.server.inside import call
from watchkeeper.server.processes import store_process

TRACE = "7" * 32
WORDS = ("look", "up", "the", "order", "and", "tell", "customer", "when", "it", "arrives", "in", "detail")
MS = 1_000_000


def spans(count: int) -> list[Span]:
    """One trace."""
    rng, now = Random(1), time.time_ns() - 3600 * 1000 * MS
    made: list[Span] = []
    for number in range(count):
        parents = [each for each in made[-60:] if each.operation == "invoke_agent"] or made[:1]
        parent = rng.choice(parents) if parents else None
        kind = "invoke_agent" if number % 40 == 0 else rng.choice(["chat", "chat", "execute_tool", "retrieval"])
        start = now + number * 20 * MS
        made.append(
            Span(
                trace_id=TRACE, span_id=f"{number + 1:016x}", parent_id=parent.span_id if parent else None,
                start_ns=start, end_ns=start + rng.randrange(5, 3000) * MS, name=f"{kind} {number}", operation=kind,
                status="error" if rng.random() < 0.03 else "ok", revision=1, service="answers",
                identity=Identity(session="s", run="r", agent=f"agent-{number // 40 % 9}"),
                request_model="gpt-5" if kind == "chat" else None, tool="lookup" if kind == "execute_tool" else None,
                usage=Usage(input_tokens=900, output_tokens=80) if kind == "chat" else Usage(),
                cost=Cost(usd=0.004, source="table") if kind == "chat" else None, first_token_ns=300 * MS,
                preview=" ".join(rng.choices(WORDS, k=30)), attributes={"customer.tier": "pro", "n": number},
            )
        )  # fmt: skip
    return made


class Served:
    """The store process's app on a loopback port, in a thread of its own."""

    def __init__(self, data: Path) -> None:
        import uvicorn

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._home = Home(data, create=False)
        self._process = store_process(load(None, data=str(data)), self._home)
        config = uvicorn.Config(self._process.app, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.inside_ms: list[float] = []
        self.page = b""

    async def _serve(self) -> None:
        await self._process.open()
        for _ in range(7):
            began = time.perf_counter()
            _, self.page = await call(self._process.app, "GET", f"/ui/traces/{TRACE}", b"")
            self.inside_ms.append((time.perf_counter() - began) * 1000)
        await self._server.serve(sockets=[self._listener])
        await self._process.stop()

    def __enter__(self) -> Served:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)


def in_browser(executable: str, address: str, floor: Path, rounds: int) -> dict[str, list[float]]:
    """Milliseconds until the page is loaded and drawn, until another span is shown beside it, and for the floor."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"page loaded": [], "page drawn": [], "next span shown": [], "floor drawn": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            began = time.perf_counter()
            page.goto(f"{address}/ui/traces/{TRACE}", wait_until="load")
            found["page loaded"].append((time.perf_counter() - began) * 1000)
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found["page drawn"].append((time.perf_counter() - began) * 1000)
            assert page.locator("#waterfall li").count() > 0
            began = time.perf_counter()
            with page.expect_response("**/ui/traces/**"):
                page.locator("#waterfall a").nth(5).click()
            page.wait_for_selector("#panel:not([aria-busy])")
            found["next span shown"].append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            page.goto(floor.as_uri(), wait_until="load")
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found["floor drawn"].append((time.perf_counter() - began) * 1000)
            page.close()
        browser.close()
    return found


def bare(page: bytes) -> str:
    """The same HTML without what it loads."""
    import re

    return re.sub(r"<(script|link)[^>]*>(</script>)?", "", page.decode())


def line(name: str, times: list[float]) -> None:
    """One line of the table."""
    ordered = sorted(times)
    print(f"  {name:<34} {statistics.median(ordered):8.0f} {ordered[-1]:8.0f}")


def main() -> None:
    """Make the trace, open it, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spans", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "data")
        journal = Journal(home.journal, "w0", home.secret("chunks"))
        for span in spans(given.spans):
            journal.append(span)
        journal.close()
        with Served(folder / "data") as served:
            floor = folder / "floor.html"
            floor.write_text(bare(served.page))
            executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            shown: dict[str, Any] = {}
            if executable is not None:
                shown = in_browser(executable, served.address, floor, given.rounds)
        rows = served.page.count(b"<li class=")
        print(f"A simulated trace of {given.spans:,} spans, {rows:,} drawn; {len(served.page) / 1000:,.0f} kB of HTML")
        print(f"  {'milliseconds':<34} {'median':>8} {'max':>8}")
        line("asked of the index and rendered", served.inside_ms)
        for what, times in shown.items():
            line(what, times)


if __name__ == "__main__":
    main()
