"""Searching payloads through every door: command, API and pages, with the same answer; and the page of sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.config import load
from watchkeeper.engines.recorder.home import Home
from watchkeeper.server.inside import call
from watchkeeper.server.processes import store_process

pytestmark = [pytest.mark.door, pytest.mark.slow]

CALLS = [
    {"messages": [{"role": "user", "content": "Wo ist das Café, <b>bitte</b>?"}], "model": "m", "session": "s1"},
    {"messages": [{"role": "user", "content": 'line one\nline "two"'}], "model": "m", "session": "s1"},
    {"messages": [{"role": "user", "content": "x" * 3000 + " the crimson pangolin"}], "model": "n", "session": "s2"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with three imported calls."""
    folder = tmp_path_factory.mktemp("search")
    lines = folder / "calls.jsonl"
    answered = [{**each, "messages": [*each["messages"], {"role": "assistant", "content": "ok"}]} for each in CALLS]
    lines.write_text("\n".join(json.dumps(each) for each in answered))
    assert wk(folder / "data", "import", str(lines)).exit_code == 0
    return folder / "data"


def wk(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], catch_exceptions=False)


def found(data: Path, text: str, *words: str) -> dict[str, Any]:
    done = wk(data, "search", text, "--since", "3650d", "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("text", ["café", "CAFÉ", 'line one line "two"', "crimson pangolin"])
def test_what_was_said_is_found_as_a_person_types_it(data: Path, text: str) -> None:
    answer = found(data, text)
    (item,) = answer["items"]
    assert item["match"].casefold() == text.casefold()
    assert (answer["complete"], answer["coverage"]["stopped"]) == (True, "")
    assert answer["coverage"]["searched_bytes"] > 3000


def test_filters_narrow_it_down_and_nothing_found_is_said(data: Path) -> None:
    assert len(found(data, "ok")["items"]) == 3
    assert len(found(data, "ok", "--session", "s1")["items"]) == 2
    assert len(found(data, "ok", "--limit", "1")["items"]) == 1
    done = wk(data, "search", "nowhere", "--since", "3650d")
    assert done.exit_code == 0
    assert "Not found." in done.stdout
    assert "Searched" in done.stderr


def test_the_text_is_marked_for_a_person(data: Path) -> None:
    done = wk(data, "search", "pangolin", "--since", "3650d")
    assert "pangolin" in done.stdout
    assert "trace " in done.stdout


@pytest.mark.parametrize("words", [("",), ("x", "--since", "yesterdayish"), ("x", "--deadline", "-1")])
def test_what_cannot_be_asked_is_said(data: Path, words: tuple[str, ...]) -> None:
    done = wk(data, "search", *words, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["message"]


@pytest.fixture(scope="module")
def get(data: Path) -> Iterator[Any]:
    """GET an address of the store's app."""
    home = Home(data, create=False)
    home.lock()
    with asyncio.Runner() as runner:
        process = store_process(load(None, data=str(data)), home)
        runner.run(process.open())
        yield lambda path: runner.run(call(process.app, "GET", path, b""))
        runner.run(process.stop())
    home.unlock()


def test_the_api_answers_and_refuses(get: Any) -> None:
    status, body = get("/api/v1/search?text=pangolin&since=3650d")
    assert (status, len(json.loads(body)["items"])) == (200, 1)
    for wrong in ("", "text=%20", "text=x&limit=0", "text=x&colour=red", "text=x&after=nonsense"):
        status, body = get(f"/api/v1/search?{wrong}")
        assert status == 400, wrong
        assert json.loads(body)["error"]["message"]


def test_the_page_shows_hits_marked_and_escaped(get: Any) -> None:
    status, body = get("/ui/search?text=caf%C3%A9&since=all")
    page = body.decode()
    assert status == 200
    assert "<mark>Café</mark>" in page
    assert "&lt;b&gt;bitte&lt;/b&gt;" in page
    assert "<b>bitte" not in page
    assert "Searched" in page
    assert get("/ui/search")[0] == 200
    assert "Not found" in get("/ui/search?text=nowhere&since=all")[1].decode()


def test_the_page_of_sessions_lists_them_and_leads_to_their_traces(get: Any) -> None:
    status, body = get("/ui/sessions?since=all")
    page = body.decode()
    assert status == 200
    assert "/ui/traces?session=s1&amp;since=all" in page
    assert get("/ui/sessions?since=all&sort=newest&user=nobody")[0] == 200
    assert "No session matches" in get("/ui/sessions?since=all&user=nobody")[1].decode()
    assert "The filters were left out" in get("/ui/sessions?since=all&attribute=nonsense")[1].decode()
