"""A report is one page that fetches nothing, runs nothing and shows everything."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.unit.server.scene import EVIL, NOW_NS
from watchkeeper.records.document import Bar, Bars, Chart, Code, Document, Facts, Heading, Series, Table, Text, Timeline
from watchkeeper.server.html_report import render_document

DOCUMENT = Document(
    title=f"Report {EVIL}",
    subtitle=EVIL,
    at_ns=NOW_NS,
    blocks=(
        Text(text=EVIL),
        Heading(text=EVIL, level=3),
        Facts(items=(("known", 0.5), ("unknown", None), ("yes", True), (EVIL, EVIL))),
        Table(columns=("a", EVIL), rows=((1, EVIL), (None, 2.5)), numeric=("a",), caption=EVIL),
        Chart(title=EVIL, series=(Series(name="s", points=((NOW_NS, 1.0),)),)),
        Bars(title=EVIL, bars=(Bar(name=EVIL, value=0.5, low=0.1, high=0.9, note=EVIL),), unit=EVIL),
        Timeline(entries=((NOW_NS, EVIL, EVIL),)),
        Code(text=EVIL),
    ),
)


def test_nothing_written_by_others_becomes_markup() -> None:
    page = render_document(DOCUMENT)
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "⟦RLO⟧" in page


class Attributes(HTMLParser):
    """Collects every attribute of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the names."""
        self.names |= {name for name, _ in attrs}


def test_the_page_fetches_nothing() -> None:
    page = render_document(DOCUMENT)
    read = Attributes()
    read.feed(page)
    assert read.names.isdisjoint({"src", "href", "data", "action", "srcset", "xlink:href", "style", "onerror"})
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src &#x27;none&#x27;" in page


def test_unknown_is_said_and_not_shown_as_zero() -> None:
    page = render_document(DOCUMENT)
    assert page.count(">unknown</span>") == 2
    assert "<dd>yes</dd>" in page
    assert '<td class="number">1</td>' in page
