"""The page of reports: a form for each, its document to read or keep, and why there is none where there is none."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import EVIL, NOW_NS, TRACE, House
from watchkeeper.capabilities.reports.behaviour import BehaviourReport
from watchkeeper.capabilities.reports.evidence import EvidenceReport
from watchkeeper.capabilities.reports.incident import IncidentReport
from watchkeeper.capabilities.reports.tokens import TokensReport
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.report import Scope
from watchkeeper.queries.question import Reader
from watchkeeper.records.document import Document, Text
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Span
from watchkeeper.server.asgi import App
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
REPORTS = {
    "behaviour": BehaviourReport(),
    "evidence": EvidenceReport(),
    "incident": IncidentReport(),
    "tokens": TokensReport(),
}
BOUND = {"x-watchkeeper-actor": "person:eve", "x-watchkeeper-role": "viewer", "x-watchkeeper-tenant": "acme"}


class Plain:
    """A third party's report that declares nothing about its subject."""

    header: ClassVar[Header] = Header(id="plain", version="1", theme="change", summary=f"Says it again. {EVIL}")

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """The subject, said again."""
        del reader
        return Document(title="Plain", at_ns=scope.now_ns, blocks=(Text(text=f"about {scope.subject}"),))


def app_of(house: House) -> App:
    return store_app(house.parts(reports=REPORTS))


async def page_of(house: House) -> str:
    return (await ask(app_of(house), "/ui/reports")).text


async def test_every_report_has_its_summary_and_a_form(house: House) -> None:
    page = await page_of(house)
    for name, report in REPORTS.items():
        assert report.header.summary in page
        assert f'action="/ui/reports/{name}"' in page
    assert '<a href="/ui/reports" aria-current="page">Reports</a>' in page


async def test_what_is_on_record_may_be_chosen(house: House) -> None:
    await house.record(called(1, attributes={"service.version": "2.1"}))
    page = await page_of(house)
    assert '<option value="inc_1">Bookings burn their error budget, open, 20' in page
    assert '<option value="planner">last seen 20' in page
    assert page.count('<option value="model:lab-small">model lab-small, last seen 20') == 2
    assert page.count('<option value="release:2.1">release 2.1, last seen 20') == 2
    assert page.count('<option value="manifest:') == 2
    assert '<option value="7d" selected>Last 7 days</option>' in page


async def test_where_nothing_is_on_record_subjects_are_written(empty_house: House) -> None:
    page = await page_of(empty_house)
    assert "<datalist" not in page
    assert page.count('placeholder="model:NAME"') == 2


async def test_only_reports_that_keep_to_a_time_range_ask_for_one(house: House) -> None:
    assert (await page_of(house)).count('name="until"') == 2


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("incident?subject=inc_1", "Bookings burn their error budget"),
        ("incident?subject=incident:inc_1", "Bookings burn their error budget"),
        ("evidence?subject=planner&since=30d&until=", "planner"),
        ("tokens?subject=7d", "Tokens: estimated and billed"),
        ("behaviour?subject=model:lab-small&subject=model:lab-large-2&since=30d", "A is model:lab-small, B is model"),
        ("behaviour?subject=versions:model:lab-small..model:lab-large-2", "A is model:lab-small, B is model"),
    ],
)
async def test_open_shows_the_report_as_one_page_that_fetches_nothing(house: House, address: str, found: str) -> None:
    got = await ask(app_of(house), f"/ui/reports/{address}")
    assert got.status == 200
    assert found in got.text
    assert "<script" not in got.text
    assert got.headers["content-security-policy"].startswith("default-src 'none'")
    assert "content-disposition" not in got.headers


async def test_download_saves_the_same_page_under_a_plain_name(house: House) -> None:
    opened, saved = [
        await ask(app_of(house), f"/ui/reports/evidence?subject=pl%C3%A4n/..%0d%0aner{more}")
        for more in ("", "&download=1")
    ]
    assert saved.body == opened.body
    name = saved.headers["content-disposition"]
    assert name == 'attachment; filename="evidence-agent-pl-n-----ner.html"'


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("incident?subject=inc_9", 404, "There is no incident &#39;inc_9&#39;. List them: watchkeeper incident list"),
        ("incident", 400, "Choose or write what"),
        ("incident?subject=%20", 400, "Choose or write what"),
        ("behaviour?subject=model:a&subject=model:a", 400, "Both versions are &#39;model:a&#39;; name two"),
        ("behaviour?subject=model:a&subject=", 400, "expected `versions:A..B`"),
        ("behaviour?subject=manifest:aaaaaaaaaa&subject=model:a", 400, "list them: watchkeeper ask serving"),
        ("tokens?subject=soon", 400, "soon"),
        ("evidence?subject=planner&since=soon", 400, "soon"),
        ("nope?subject=x", 404, "there are: behaviour, evidence, incident, tokens"),
    ],
)
async def test_a_mistake_is_told_beside_the_form_as_it_was_filled(
    house: House, address: str, status: int, said: str
) -> None:
    got = await ask(app_of(house), f"/ui/reports/{address}")
    assert got.status == status
    assert said in got.text
    assert "text/html" in got.headers["content-type"]


async def test_what_was_asked_stays_in_the_form(house: House) -> None:
    address = "/ui/reports/behaviour?subject=model:gone&subject=model:gone&since=9d"
    page = (await ask(app_of(house), address)).text
    assert page.count('<option value="model:gone" selected>model:gone</option>') == 2
    assert 'name="since" value="9d"' in page
    assert 'href="/ui/reports">All reports' in page


async def test_a_report_that_declares_nothing_gets_a_text_field_and_its_subject_as_written(house: House) -> None:
    app = store_app(house.parts(reports={"plain": Plain()}))
    page = (await ask(app, "/ui/reports")).text
    assert '<label class="wide">Subject<input name="subject" value="" placeholder=""' in page
    assert "about x..y:z" in (await ask(app, "/ui/reports/plain?subject=x..y:z")).text


async def test_everything_is_escaped(house: House) -> None:
    await house.record(called(2, identity=Identity(agent=f'"{EVIL}'), request_model=f'"{EVIL}'))
    app = store_app(house.parts(reports={**REPORTS, "plain": Plain()}))
    for address in ("", "/plain", "/evidence?subject=%3Cscript%3Ealert(1)%3C/script%3E&since=%22%3E%3Cscript%3E"):
        page = (await ask(app, f"/ui/reports{address}")).text
        assert "<script>" not in page
        assert "<img" not in page
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", page)


async def test_whoever_is_bound_to_a_tenant_is_offered_and_shown_their_own_alone(house: House) -> None:
    theirs = Identity(tenant="acme", agent="acme-agent")
    await house.record(called(3, identity=theirs, request_model="acme-model"))
    app = app_of(house)
    page = (await ask(app, "/ui/reports", headers=BOUND)).text
    assert "acme-agent" in page
    assert "model:acme-model" in page
    for other in ("planner", "lab-small", "inc_1", "manifest:"):
        assert other not in page
    got = await ask(app, "/ui/reports/incident?subject=inc_1", headers=BOUND)
    assert (got.status, "There is no incident" in got.text) == (404, True)
    assert "Bookings" not in got.text


async def test_without_a_role_nobody_sees_reports(house: House) -> None:
    nobody = {"x-watchkeeper-actor": "person:eve", "x-watchkeeper-role": "none"}
    for address in ("/ui/reports", "/ui/reports/tokens?subject=7d"):
        assert (await ask(app_of(house), address, headers=nobody)).status == 403


async def test_without_reports_the_page_says_so(house: House) -> None:
    assert "This server has no report installed." in (await ask(store_app(house.parts()), "/ui/reports")).text


def called(number: int, **fields: object) -> Span:
    return Span(
        **{
            "trace_id": TRACE, "span_id": f"{number + 9_000:016x}", "start_ns": NOW_NS - 1_000, "end_ns": NOW_NS,
            "name": "chat", "operation": "chat", "status": "ok", "request_model": "lab-small", "revision": 1, **fields,
        }
    )  # fmt: skip
