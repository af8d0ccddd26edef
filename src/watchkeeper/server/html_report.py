"""Renders a report's blocks as one self-contained HTML page: styles inside, no script, nothing fetched."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib import resources

from watchkeeper.records.document import (
    Bars,
    Block,
    Chart,
    Code,
    Document,
    Facts,
    Grid,
    Heading,
    Table,
    Text,
    Timeline,
)
from watchkeeper.records.record import Scalar
from watchkeeper.server.charts import bar_chart, time_chart, utc_text
from watchkeeper.server.heat_grid import heat_grid
from watchkeeper.server.visible import visible

CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render_document(document: Document) -> str:
    """The whole page. Everything textual is escaped; control and direction characters are shown as marks."""
    blocks = "\n".join(render_block(block) for block in document.blocks)
    subtitle = f'<p class="subtitle">{text(document.subtitle)}</p>' if document.subtitle else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(CONTENT_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(document.title)}</title>\n<style>{report_style()}</style></head>\n"
        f'<body class="report"><main><h1>{text(document.title)}</h1>{subtitle}\n{blocks}\n'
        f'<footer class="muted">Composed by Watchkeeper at {utc_text(document.at_ns)}.</footer></main></body></html>\n'
    )


@cache
def report_style() -> str:
    """The styles of a report: the theme's colours and charts, and the report's own layout."""
    folder = resources.files("watchkeeper.server").joinpath("static")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in ("theme.css", "report.css"))


def render_block(block: Block) -> str:
    """One block as HTML."""
    match block:
        case Text():
            return f"<p>{text(block.text)}</p>"
        case Heading():
            level = 3 if block.level >= 3 else 2
            return f"<h{level}>{text(block.text)}</h{level}>"
        case Facts():
            items = "".join(f"<div><dt>{text(k)}</dt><dd>{scalar(v)}</dd></div>" for k, v in block.items)
            return f'<dl class="facts">{items}</dl>'
        case Table():
            return _table(block)
        case Chart():
            return time_chart(block)
        case Bars():
            return bar_chart(block)
        case Grid():
            return heat_grid(block)
        case Timeline():
            return _timeline(block)
        case Code():
            return f'<pre class="code"><code>{text(block.text)}</code></pre>'


def _table(table: Table) -> str:
    numbers = {i for i, name in enumerate(table.columns) if name in table.numeric}
    head = "".join(f'<th scope="col"{_right(i in numbers)}>{text(name)}</th>' for i, name in enumerate(table.columns))
    rows = "".join(
        "<tr>" + "".join(f"<td{_right(i in numbers)}>{scalar(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{text(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _right(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _timeline(timeline: Timeline) -> str:
    items = "".join(
        f'<li><time>{utc_text(at)}</time> <span class="kind">{text(kind)}</span> <span>{text(line)}</span></li>'
        for at, kind, line in timeline.entries
    )
    return f'<ol class="timeline">{items}</ol>'


def text(value: str) -> str:
    """Text made safe: escaped, with control and direction characters shown as marks."""
    return escape(visible(value))


def scalar(value: Scalar) -> str:
    """A value for people: None reads "unknown", truth reads yes or no, numbers keep six digits."""
    if value is None:
        return '<span class="muted">unknown</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else text(value)
