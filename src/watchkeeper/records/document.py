"""A report as blocks: what to show, never how; the server renders it as a page or a self-contained file."""

from __future__ import annotations

from watchkeeper.records.record import Record, Scalar


class Text(Record, tag="text"):
    """A paragraph of plain text."""

    text: str


class Heading(Record, tag="heading"):
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


class Facts(Record, tag="facts"):
    """Named values side by side; a value of None reads "unknown"."""

    items: tuple[tuple[str, Scalar], ...]


class Table(Record, tag="table"):
    """A table; `numeric` names the columns set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    caption: str | None = None
    numeric: tuple[str, ...] = ()


class Series(Record):
    """One line of a chart: points of (unix ns, value), with an optional interval per point."""

    name: str
    points: tuple[tuple[int, float], ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Chart(Record, tag="chart"):
    """A time chart with an optional limit line and marks (unix ns, label) such as deploys or findings."""

    title: str
    series: tuple[Series, ...]
    unit: str = ""
    limit: float | None = None
    limit_name: str = "limit"
    marks: tuple[tuple[int, str], ...] = ()


class Bar(Record):
    """One bar: a name, a value with its interval, and a few words beside it; `faint` for what is not resolved."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    faint: bool = False


class Bars(Record, tag="bars"):
    """Bars from zero with their intervals, one below the other; `least` and `most` fix the ends of the axis."""

    title: str
    bars: tuple[Bar, ...]
    unit: str = ""
    least: float | None = None
    most: float | None = None


class Tile(Record):
    """One field of a grid: a rate with its interval and n (all None: nothing was measured), and its state in a word.

    The states "passing", "failing", "open" and "unmeasured" are drawn so that they can be told apart without colour.
    """

    state: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Grid(Record, tag="grid"):
    """Rates over two axes: `tiles` are rows of columns, None where there is no such field. `limit` is the bar."""

    title: str
    down: str
    across: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tiles: tuple[tuple[Tile | None, ...], ...]
    limit: float | None = None


class Timeline(Record, tag="timeline"):
    """Dated lines: (unix ns, kind, text)."""

    entries: tuple[tuple[int, str, str], ...]


class Code(Record, tag="code"):
    """Text shown as it is, in a fixed-width face."""

    text: str
    language: str = ""


Block = Text | Heading | Facts | Table | Chart | Bars | Grid | Timeline | Code


class Document(Record):
    """A report: a title and blocks in reading order. `at_ns` is when it was composed."""

    title: str
    at_ns: int
    blocks: tuple[Block, ...]
    subtitle: str = ""
