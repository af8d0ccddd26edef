"""The pages in a real browser: by role and text, by keyboard, without script, with hostile text, with 2,000 spans."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from tests.unit.server.scene import MS, NOW_NS, TRACE, House, eventful_hour
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.key_record import Grant, read_limit
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.records.audit import Audit
from watchkeeper.records.decision import Decision
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.span import Happening, Span
from watchkeeper.server.front import Front
from watchkeeper.server.guard import GuardSettings
from watchkeeper.server.pages import NAV
from watchkeeper.server.store_app import store_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.door,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
BIG = "b" * 31 + "2"
KEY = "wk-0123456789-" + "a" * 48
PATHS = ("/", f"/ui/traces/{TRACE}", "/ui/decisions", "/ui/incidents", "/ui/incidents/inc_1", "/ui/drops")


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stands where the gateway and the intake are."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def known(secret: str) -> Key | None:
    """The one key there is."""
    return Key(key_id="0123456789", name="mia", salt=b"", hash=b"", created_ns=0) if secret == KEY else None


class Site:
    """A front door and a store, on a loopback port, in a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ready, self._done = threading.Event(), threading.Event()
        self._servers: list[uvicorn.Server] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        """Serve."""
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        """End."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(30)

    async def _serve(self) -> None:
        house = House(self._folder / "journal")
        await eventful_hour(house)
        await house.record(*big_trace(), *outage())
        path = self._folder / "s.sock"
        settings = GuardSettings(secret=b"s" * 32)
        door = Front(nothing, nothing, path, settings, check_key=known, key_alive=lambda _: known(KEY))
        kept: dict[str, Any] = {"keys": KeyRing(MemoryCells()), "people": Accounts(MemoryCells())}
        await kept["keys"].create("ci", grant=Grant(models=("gpt-5*",), limits=(read_limit("usd=5/day"),)))
        plain: dict[str, Any] = {"log_level": "error", "lifespan": "off"}
        store = uvicorn.Server(
            uvicorn.Config(store_app(house.parts(address=self.address, **kept)), uds=str(path), **plain)
        )
        front = uvicorn.Server(uvicorn.Config(door, **plain))
        self._servers += [store, front]
        tasks = [asyncio.create_task(store._serve()), asyncio.create_task(front._serve(sockets=[self._listener]))]
        while not (store.started and front.started):
            await asyncio.sleep(0.01)
        self._ready.set()
        await asyncio.gather(*tasks)
        await door.close()
        house.close()


def outage() -> list[Record]:
    """An upstream that was left, a call that fell over from it, and a run that was stopped."""
    at = NOW_NS - 3_000_000 * MS
    fell = Span(
        trace_id="c" * 31 + "3", span_id="c" * 16, name="chat clerk", operation="chat", status="ok", revision=1,
        start_ns=at, end_ns=at + 40 * MS, request_model="lab-backup", upstream="backup",
        attributes={"watchkeeper.rescues": 1, "watchkeeper.rescues.fallback": 1},
        events=(Happening(name="watchkeeper.rescue", at_ns=at + MS, attributes={
            "kind": "fallback", "to": "backup", "reason": "upstream_unreachable"}),),
    )  # fmt: skip
    opened = Audit(
        audit_id="aud_open", at_ns=at, act="upstream.open", actor="gateway", subject="first",
        detail='{"upstream":"first","model":"lab-small","why":"5 failures in a row, the last: upstream_unreachable"}',
    )  # fmt: skip
    stopped = Decision(
        decision_id="dec_loop", policy="loop", version="2", verdict="deny", reason="loop_repeat", at_ns=at,
        sentence="Run 'run-9' called 'search' 15 times with the same result.", identity=Identity(run="run-9"),
    )  # fmt: skip
    return [fell, opened, stopped]


def big_trace() -> list[Span]:
    """One trace of 2,000 spans."""
    root = Span(
        trace_id=BIG, span_id=f"{1:016x}", name="crawl", start_ns=NOW_NS - 9_000_000 * MS,
        end_ns=NOW_NS - 8_990_000 * MS, status="ok", revision=1,
    )  # fmt: skip
    steps = [
        msgspec.structs.replace(
            root, span_id=f"{i:016x}", parent_id=f"{max(1, i // 10):016x}", name=f"page {i}", tool=f"fetch_{i}",
            operation="execute_tool", start_ns=root.start_ns + i * MS, end_ns=root.start_ns + (i + 40) * MS,
        )
        for i in range(2, 2_001)
    ]  # fmt: skip
    return [root, *steps]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The eventful hour, served."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A page that notes what it should not do: speak to others, complain, run what a model wrote."""

    def __init__(self, context: Any, site: Site) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.wrong: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda r: None if r.url.startswith(site.address) else self.wrong.append(r.url))

    def close(self) -> None:
        """Close, and say what went wrong."""
        self.page.close()
        assert self.wrong == []


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A watched page."""
    context = browser.new_context(base_url=site.address, viewport={"width": 1440, "height": 900})
    watched = Watched(context, site)
    yield watched.page
    watched.close()
    context.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_one_heading_labelled_controls_and_fits_its_window(
    browser: Any, site: Site, path: str, scheme: str
) -> None:
    context = browser.new_context(base_url=site.address, color_scheme=scheme, viewport={"width": 1280, "height": 800})
    watched = Watched(context, site)
    watched.page.goto(path)
    assert watched.page.get_by_role("heading", level=1).count() == 1
    assert watched.page.get_by_role("navigation", name="Main").count() == 1
    assert watched.page.get_by_role("main").count() == 1
    nameless = watched.page.evaluate(
        """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]
        .filter(e => !e.hidden && !(e.labels && e.labels.length))
        .filter(e => !e.getAttribute('aria-label') && !e.textContent.trim())
        .map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    watched.close()
    context.close()


def test_every_page_of_the_navigation_opens_calmly_and_is_reached_by_keyboard(page: Any) -> None:
    page.goto("/")
    links = page.get_by_role("navigation", name="Main").get_by_role("link").all()
    assert [link.get_attribute("href") for link in links] == [href for _, href, _ in NAV]
    for _, href, _ in NAV:
        answered = page.goto(href)
        assert answered.status == 200, href
        assert page.get_by_role("heading", level=1).count() == 1, href
        assert page.title().endswith(" · Watchkeeper"), href
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert page.locator("nav [aria-current=page]").get_attribute("href") == href


@pytest.mark.parametrize("href", [href for _, href, _ in NAV])
def test_a_narrow_window_shows_the_whole_navigation(browser: Any, site: Site, href: str) -> None:
    context = browser.new_context(base_url=site.address, viewport={"width": 390, "height": 844})
    watched = Watched(context, site)
    watched.page.goto(href)
    assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    links = watched.page.get_by_role("navigation", name="Main").get_by_role("link").all()
    boxes = [link.bounding_box() for link in links]
    assert len(boxes) == len(NAV)
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    watched.close()
    context.close()


def test_what_is_not_there_says_so_under_a_heading(browser: Any, site: Site) -> None:
    page = browser.new_page()
    for path in ("/ui/traces/nope", "/ui/nope", "/ui/incidents/nope", "/ui/documents/view?document=nope"):
        answered = page.goto(site.address + path)
        assert answered.status == 404
        assert page.get_by_role("heading", level=1).count() == 1
    page.close()


def test_from_the_list_to_a_call_as_people_read_it(page: Any) -> None:
    page.goto("/")
    page.get_by_role("link", name="invoke_agent planner").click()
    page.get_by_role("heading", name="invoke_agent planner").wait_for()
    panel = page.get_by_role("region", name="Selected span")
    assert panel.get_by_text("The session has used $0.50 of $0.50.").first.is_visible()
    page.get_by_role("link", name="lab-large-2 chat, 2.80 s").click()
    panel.get_by_role("article", name="Assistant").last.wait_for()
    panel.get_by_text("HAT101 at $311 is the cheapest with seats.").wait_for()
    assert panel.get_by_text("<script>alert(1)</script>").count() == 2
    assert panel.get_by_text('"from": "SFO"').count() == 1
    assert panel.get_by_text("⟦RLO⟧").count() == 2
    assert f"span={7:016x}" in page.url
    page.reload()
    panel.get_by_text("HAT101 at $311 is the cheapest with seats.").wait_for()


def test_arrow_keys_walk_the_waterfall(page: Any) -> None:
    page.goto(f"/ui/traces/{TRACE}?span={1:016x}")
    page.get_by_role("link", name="planner agent").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    panel = page.get_by_role("region", name="Selected span")
    panel.get_by_role("heading", name="search_flights").wait_for()
    assert page.locator("#waterfall a[aria-current]").count() == 1


def test_a_trace_of_two_thousand_spans_can_be_used(page: Any) -> None:
    page.goto(f"/ui/traces/{BIG}")
    assert page.locator("#waterfall li").count() == 2_000
    page.locator("#waterfall a").nth(1_900).click()
    page.get_by_role("region", name="Selected span").get_by_role("heading", name="fetch_").wait_for()


def test_two_thousand_spans_can_be_read_without_script_and_are_laid_out_only_where_they_are_seen(
    browser: Any, site: Site
) -> None:
    """The far end of the list is whole in the page, and costs no layout until it is scrolled to."""
    context = browser.new_context(base_url=site.address, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/ui/traces/{BIG}")
    last = page.locator("#waterfall a").nth(1_999)
    assert "span=" in (last.get_attribute("href") or "")
    assert last.get_attribute("aria-label")
    last.click()
    page.get_by_role("region", name="Selected span").wait_for()
    assert page.locator("#waterfall li").count() == 2_000
    context.close()
    context = browser.new_context(base_url=site.address)
    page = context.new_page()
    page.goto(f"/ui/traces/{BIG}")
    style = "each => getComputedStyle(each).contentVisibility"
    assert page.locator("#waterfall li").last.evaluate(style) == "auto"
    context.close()


def test_the_theme_follows_the_system_until_it_is_chosen_and_then_is_remembered(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.address, color_scheme="dark")
    page = context.new_page()
    page.goto("/")

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = ground()
    page.get_by_role("button", name="Dark theme").click()
    light = ground()
    assert light != dark
    page.goto("/ui/decisions")
    assert ground() == light
    context.close()


def test_everything_works_without_script(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Session").fill("session-42")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("table.list tbody tr").count() == 1
    page.get_by_role("link", name="invoke_agent planner").click()
    page.get_by_role("link", name="search_flights tool").click()
    assert page.get_by_role("region", name="Selected span").get_by_role("heading", name="search_flights").is_visible()
    page.goto("/ui/incidents/inc_1")
    page.get_by_label("Note for the timeline").fill("seen <b>without</b> script")
    page.get_by_role("button", name="Add note").click()
    page.get_by_text("seen <b>without</b> script").wait_for()
    context.close()


def test_an_incident_is_read_and_acknowledged(page: Any) -> None:
    page.goto("/ui/incidents")
    page.get_by_role("link", name="Bookings burn their error budget").click()
    page.get_by_role("img", name="14.6 x (95% interval 9.2 to 21.5").wait_for()
    page.get_by_label("Note for the timeline").fill("mine")
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged.", exact=True).wait_for()
    assert page.get_by_role("button", name="Acknowledge").count() == 0
    assert page.get_by_role("button", name="Resolve").is_visible()


def test_a_raw_request_is_downloaded_and_not_shown(page: Any) -> None:
    page.goto(f"/ui/traces/{TRACE}?span={7:016x}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="request 3").click()
    assert downloading.value.suggested_filename == f"{7:016x}-request.json"


def test_one_signs_in_with_a_key_and_out_again(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.address)
    watched = Watched(context, site)
    watched.page.goto("/ui/signin?next=/ui/decisions")
    watched.page.get_by_label("Key").fill("wk-not-a-key")
    watched.page.get_by_role("button", name="Sign in").click()
    watched.page.get_by_role("alert").wait_for()
    assert "not known" in watched.page.get_by_role("alert").text_content()
    assert watched.wrong.pop().startswith("Failed to load resource: the server responded with a status of 403")
    watched.page.get_by_label("Key").fill(KEY)
    watched.page.get_by_role("button", name="Sign in").click()
    watched.page.get_by_role("heading", name="Decisions").wait_for()
    watched.page.get_by_role("button", name="Sign out").click()
    watched.page.get_by_role("heading", name="Sign in").wait_for()
    watched.close()
    context.close()


def test_times_are_local_and_keep_utc_in_the_title(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.address, timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    page.goto(f"/ui/traces/{TRACE}")
    shown = page.locator(".title time")
    assert "20:05:38" in shown.text_content()
    assert "11:05:38" in shown.get_attribute("title")
    context.close()


def test_an_outage_is_read_from_the_upstream_to_the_call_that_it_took(page: Any) -> None:
    page.goto("/ui/upstreams")
    row = page.get_by_role("row", name="first")
    assert row.get_by_text("avoided").is_visible()
    assert row.get_by_text("See that its address answers").is_visible()
    page.get_by_role("img", name="Rescues for each call that succeeded").wait_for()
    page.goto(f"/ui/traces/{'c' * 31}3")
    way = page.get_by_role("region", name="On its way")
    way.get_by_text("The call fell over to backup, because the one before it could not be reached.").wait_for()


def test_a_list_on_a_telephone_is_read_without_pushing_it_aside(browser: Any, site: Site) -> None:
    context = browser.new_context(base_url=site.address, viewport={"width": 390, "height": 844})
    watched = Watched(context, site)
    for path in ("/ui/traces", "/ui/decisions", "/ui/upstreams", "/ui/sessions", "/ui/audit", "/ui/keys", "/ui/people"):
        watched.page.goto(path)
        pushed = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert watched.page.evaluate(pushed) == 0, path
    watched.page.goto("/ui/decisions")
    assert watched.page.get_by_text("watchkeeper runs resume run-9").is_visible()
    watched.close()
    context.close()
