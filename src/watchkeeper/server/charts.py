"""Draws charts as SVG on the server, the same for pages and for self-contained reports.

Colours come from the stylesheet's classes, so that one drawing serves dark and light. Everything textual is escaped.
A chart says in its label what it shows; time axes are in UTC and say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape

from watchkeeper.records.document import Bar, Bars, Chart, Series
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record
from watchkeeper.server.visible import visible

NS_PER_S = 1_000_000_000
TIME_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000,
)  # fmt: skip
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 18, 32
MARK_ROOM = 20
MARK_STEP = 17
MID = 28
COLOURS = 6
BAR_NAME_ROOM, BAR_NAME_CHARS = 200, 30
BAR_STEP = 22
FEW = 12


class Frame(Record):
    """The plot's rectangle in pixels and the ranges it shows: x in unix ns, y in the chart's unit."""

    width: int
    height: int
    x0: int
    x1: int
    y0: float
    y1: float
    top: int = TOP

    def x(self, at_ns: int) -> float:
        """The pixel of a time."""
        share = (at_ns - self.x0) / max(self.x1 - self.x0, 1)
        return LEFT + share * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The pixel of a value; values outside the range, and infinite ones, lie on its edge."""
        clipped = min(max(value, self.y0), self.y1)
        share = (clipped - self.y0) / ((self.y1 - self.y0) or 1.0)
        return self.height - BOTTOM - share * (self.height - self.top - BOTTOM)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover `low`..`high`; about `about` steps between them."""
    span = (high - low) or abs(high) or 1.0
    raw = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if raw <= m * power * 1.0000001)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def tick_label(value: float) -> str:
    """A number as short as it can be said on an axis: 1.5k, 20M, 0.05."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}".replace("-", "−")


def time_label(at_ns: int, step_s: int) -> str:
    """A time on an axis, as fine as the step between its labels; UTC."""
    at = datetime.fromtimestamp(at_ns / NS_PER_S, UTC)
    if step_s >= 86400:
        return at.strftime("%d %b")
    return at.strftime("%H:%M:%S" if step_s < 60 else "%H:%M")


def time_chart(chart: Chart, width: int = 760, height: int = 220) -> str:
    """A time chart: lines with their interval bands, a limit line, and numbered marks listed under the picture.

    A chart without points says so in words.
    """
    points = [point for series in chart.series for point in series.points]
    if not points:
        return f'<p class="chart-empty">{safe(chart.title)}: no points in this range.</p>'
    frame = _frame(chart, points, width, height)
    label = f"{chart.title}: {len(points)} points" + (f", {chart.limit_name} at {chart.limit:g}" if chart.limit else "")
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}">',
        f"<title>{safe(label)}</title>",
        *_axes(frame, chart.unit),
        *_marks(frame, chart.marks),
        *(part for i, series in enumerate(chart.series) for part in _series(frame, series, i)),
        *_limit(frame, chart),
        "</svg>",
    ]
    head = f"<figcaption>{_legend(chart)}</figcaption>"
    return f'<figure class="chart-figure">{head}{"".join(parts)}{_mark_list(chart)}</figure>'


def _frame(chart: Chart, points: Sequence[tuple[int, float]], width: int, height: int) -> Frame:
    times = [at for at, _ in points] + [at for at, _ in chart.marks]
    values = [value for _, value in points]
    values += [bound for series in chart.series for bound in (*series.low, *series.high)]
    values += [] if chart.limit is None else [chart.limit]
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    low = 0.0 if low >= 0 and low < 0.7 * high else low
    ticks = nice_ticks(low, high if high > low else low + 1.0)
    x0, x1 = min(times), max(times)
    if x0 == x1:
        x0, x1 = x0 - 30 * NS_PER_S, x1 + 30 * NS_PER_S
    top = TOP + (MARK_ROOM if chart.marks else 0)
    return Frame(width=width, height=height, x0=x0, x1=x1, y0=ticks[0], y1=ticks[-1], top=top)


def _axes(frame: Frame, unit: str) -> list[str]:
    right, floor = frame.width - RIGHT, frame.height - BOTTOM
    parts = []
    for tick in nice_ticks(frame.y0, frame.y1):
        y = frame.y(tick)
        if frame.y0 - 1e-9 <= tick <= frame.y1 + 1e-9:
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick_label(tick)}</text>'
            )
    step_s = _time_step_s(frame)
    first = -(-frame.x0 // (step_s * NS_PER_S))
    for i in range(first, frame.x1 // (step_s * NS_PER_S) + 1):
        at = i * step_s * NS_PER_S
        x = frame.x(at)
        anchor = "end" if x > right - 20 else "middle"
        text = time_label(at, step_s)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="{anchor}">{text}</text>')
    parts.append(f'<text class="tick unit" x="{right}" y="{frame.height - 1}" text-anchor="end">time, UTC</text>')
    if unit:
        parts.append(f'<text class="tick unit" x="2" y="{frame.top - 8}">{safe(unit)}</text>')
    return parts


def _time_step_s(frame: Frame) -> int:
    span_s = (frame.x1 - frame.x0) / NS_PER_S
    return next((step for step in TIME_STEPS_S if span_s / step <= 7), TIME_STEPS_S[-1])


def _series(frame: Frame, series: Series, index: int) -> list[str]:
    colour = f"c{index % COLOURS}"
    xs = [frame.x(at) for at, _ in series.points]
    ys = [frame.y(value) for _, value in series.points]
    parts = []
    if len(series.low) == len(series.high) == len(xs) and xs:
        upper = [f"{x:.1f},{frame.y(v):.1f}" for x, v in zip(xs, series.high, strict=True)]
        lower = [f"{x:.1f},{frame.y(v):.1f}" for x, v in zip(xs, series.low, strict=True)]
        parts.append(f'<polygon class="band {colour}" points="{" ".join([*upper, *reversed(lower)])}"/>')
        parts += _whiskers(frame, series, xs, colour) if len(xs) <= FEW else []
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    parts.append(f'<polyline class="line {colour}" points="{line}"/>')
    if len(xs) <= 60:
        radius = 2.2 if len(xs) > 1 else 3.5
        for x, y, (at, value) in zip(xs, ys, series.points, strict=True):
            title = f"{series.name}: {value:.4g} at {utc_text(at)}"
            parts.append(
                f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
                f"<title>{safe(title)}</title></circle>"
            )
    return parts


def _whiskers(frame: Frame, series: Series, xs: Sequence[float], colour: str) -> list[str]:
    """Each point's interval as a line of its own: a band between few points would be no picture of it."""
    return [
        f'<line class="whisker {colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(a):.1f}" y2="{frame.y(b):.1f}"/>'
        for x, a, b in zip(xs, series.low, series.high, strict=True)
    ]


def _limit(frame: Frame, chart: Chart) -> list[str]:
    if chart.limit is None:
        return []
    y, right = frame.y(chart.limit), frame.width - RIGHT
    text = f"{chart.limit_name} {tick_label(chart.limit)}"
    above = y - 5 if y > frame.top + 14 else y + 13
    return [
        f'<line class="limit" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="limit-name" x="{LEFT + 4}" y="{above:.1f}">{safe(text)}</text>',
    ]


def _marks(frame: Frame, marks: Sequence[tuple[int, str]]) -> list[str]:
    parts = []
    free = 0.0
    for number, (at, label) in enumerate(marks, start=1):
        if not frame.x0 <= at <= frame.x1:
            continue
        x = frame.x(at)
        centre = max(x, free)  # a number that would lie on the one before it moves aside
        free = centre + MARK_STEP
        floor = frame.height - BOTTOM
        parts.append(
            f'<g class="mark"><title>{safe(label)} at {utc_text(at)}</title>'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top - 2}" y2="{floor}"/>'
            f'<circle cx="{centre:.1f}" cy="{frame.top - 11}" r="8"/>'
            f'<text x="{centre:.1f}" y="{frame.top - 7.5}" text-anchor="middle">{number}</text></g>'
        )
    return parts


def _mark_list(chart: Chart) -> str:
    if not chart.marks:
        return ""
    items = "".join(f"<li>{safe(text)} <span class='muted'>{utc_text(at)}</span></li>" for at, text in chart.marks)
    return f'<ol class="chart-marks">{items}</ol>'


def _legend(chart: Chart) -> str:
    names = "".join(
        f'<span class="key"><svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect class="fill c{i % COLOURS}" width="10" height="10" rx="2"/></svg>{safe(series.name)}</span>'
        for i, series in enumerate(chart.series)
    )
    return f'<span class="chart-title">{safe(chart.title)}</span>{names if len(chart.series) > 1 else ""}'


def bar_chart(chart: Bars, width: int = 760) -> str:
    """Bars from zero, one below the other, each with its interval as a line; bars that are faint are not resolved.

    Values that are not finite have no bar. A chart without bars says so in words.
    """
    if not chart.bars:
        return f'<p class="chart-empty">{safe(chart.title)}: nothing to show.</p>'
    known = [v for bar in chart.bars for v in (bar.value, bar.low, bar.high) if math.isfinite(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    ticks = nice_ticks(low if chart.least is None else chart.least, high if chart.most is None else chart.most)
    left, right, height = BAR_NAME_ROOM, width - RIGHT, BAR_STEP * len(chart.bars) + 26

    def x(value: float) -> float:
        clipped = min(max(value, ticks[0]), ticks[-1])
        return left + (clipped - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    label = f"{chart.title}: {len(chart.bars)} bars with intervals"
    floor = height - 22
    parts = [
        f'<svg class="chart bars" viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}">',
        f"<title>{safe(label)}</title>",
        *(_bar_tick(x(tick), tick, floor) for tick in ticks),
        *(part for n, bar in enumerate(chart.bars) for part in _bar(bar, x, n * BAR_STEP, chart.unit)),
        f'<text class="tick unit" x="{left - 24}" y="{floor + 15}" text-anchor="end">{safe(chart.unit)}</text></svg>',
    ]
    head = f'<figcaption><span class="chart-title">{safe(chart.title)}</span></figcaption>'
    return f'<figure class="chart-figure">{head}{"".join(parts)}</figure>'


def _bar_tick(x: float, tick: float, floor: float) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{floor}"/>'
        f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{tick_label(tick)}</text>'
    )


def _bar(bar: Bar, x: Callable[[float], float], top: float, unit: str) -> list[str]:
    middle = top + BAR_STEP / 2
    said = f"{bar.name}: {figure(bar.value)} {unit} ({figure(bar.low)} to {figure(bar.high)}) {bar.note}".rstrip()
    colour = "c5" if bar.faint else "c0"
    name = bar.name if len(bar.name) <= BAR_NAME_CHARS else bar.name[: BAR_NAME_CHARS - 1] + "\u2026"
    parts = [
        f'<g class="bar"><title>{safe(said)}</title>'
        f'<text class="tick" x="{BAR_NAME_ROOM - 8}" y="{middle + 3.5:.1f}" text-anchor="end">{safe(name)}</text>'
    ]
    if math.isfinite(bar.value):
        a, b = sorted((x(0.0), x(bar.value)))
        parts.append(
            f'<rect class="fill {colour}" opacity="0.35" x="{a:.1f}" y="{top + 4:.1f}" width="{b - a:.1f}" '
            f'height="{BAR_STEP - 8}"/><circle class="dot {colour}" cx="{x(bar.value):.1f}" cy="{middle:.1f}" r="3"/>'
        )
    parts.append(
        f'<line class="whisker {colour}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{middle:.1f}" '
        f'y2="{middle:.1f}"/></g>'
    )
    return parts


def interval_bar(
    estimate: Estimate, limit: float | None = None, width: int = 460, limit_name: str = "limit", about: str = ""
) -> str:
    """An estimate drawn as its interval and value on a line in its unit, beside a named limit; open ends are arrows.

    `about` says under the line what is measured.
    """
    known = [v for v in (estimate.value, estimate.low, estimate.high, limit) if v is not None and math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * 0.12 or abs(high) * 0.12 or 0.5
    low, high = low - room, high + room

    def place(value: float) -> float:
        return 12 + (min(max(value, low), high) - low) / (high - low) * (width - 24)

    a, b, v = place(estimate.low), place(estimate.high), place(estimate.value)
    label = estimate_text(estimate) + ("" if limit is None else f"; {limit_name} {_figure(limit, estimate)}")
    parts = [
        f'<svg class="interval" viewBox="0 0 {width} {76 if about else 62}" role="img" aria-label="{safe(label)}">',
        f"<title>{safe(label)}</title>",
        f'<line class="grid" x1="12" x2="{width - 12}" y1="{MID}" y2="{MID}"/>',
        f'<line class="span c0" x1="{a:.1f}" x2="{b:.1f}" y1="{MID}" y2="{MID}"/>',
        _end(a, math.isfinite(estimate.low), -1),
        _end(b, math.isfinite(estimate.high), 1),
        f'<circle class="dot c0" cx="{v:.1f}" cy="{MID}" r="5"/>',
        *_end_labels(estimate, a, b, v, width),
    ]
    if limit is not None and math.isfinite(limit):
        x = place(limit)
        text, side = f"{limit_name} {_figure(limit, estimate)}", "end" if x > width / 2 else "start"
        shift = -4 if side == "end" else 4
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{MID + 14}"/>')
        parts.append(f'<text class="limit-name" x="{x + shift:.1f}" y="11" text-anchor="{side}">{safe(text)}</text>')
    if about:
        parts.append(f'<text class="tick" x="12" y="72">{safe(about)}</text>')
    return "".join(parts) + "</svg>"


def _end(x: float, closed: bool, side: int) -> str:
    if closed:
        return f'<line class="span c0" x1="{x:.1f}" x2="{x:.1f}" y1="{MID - 6}" y2="{MID + 6}"/>'
    near = x - 8 * side
    return f'<polygon class="fill c0" points="{x:.1f},{MID} {near:.1f},{MID - 6} {near:.1f},{MID + 6}"/>'


def _end_labels(estimate: Estimate, a: float, b: float, v: float, width: int) -> list[str]:
    wide = b - a > 90
    places = [(a, estimate.low), (v, estimate.value), (b, estimate.high)] if wide else [(v, estimate.value)]
    if wide and (v - a < 44 or b - v < 44):
        places = [(a, estimate.low), (b, estimate.high)]
    return [
        f'<text class="tick" x="{min(max(x, 18), width - 18):.1f}" y="{MID + 23}" text-anchor="middle">'
        f"{safe(_figure(value, estimate))}</text>"
        for x, value in places
    ]


def estimate_text(estimate: Estimate) -> str:
    """An estimate in words: value, interval with its confidence, sample size and method."""
    unit = f" {estimate.unit}" if estimate.unit else ""
    value, low, high = (figure(each) for each in (estimate.value, estimate.low, estimate.high))
    return (
        f"{value}{unit} ({estimate.confidence * 100:.3g}% interval {low} to {high}; n = {estimate.n:,}; "
        f"{estimate.method})"
    )


def figure(value: float) -> str:
    """A measured number with no more digits than anybody believes: three, or whole thousands."""
    return tick_label(float(f"{value:.3g}")) if math.isfinite(value) else tick_label(value)


def _figure(value: float, estimate: Estimate) -> str:
    return f"{figure(value)} {estimate.unit}".rstrip()


def sparkline(values: Sequence[float | None], label: str, width: int = 110, height: int = 24) -> str:
    """A small line without axes; unknown values leave a gap, and a line without any known value draws nothing."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    low, high = min(0.0, *known), max(known)
    step = width / max(len(values) - 1, 1)

    def y(value: float) -> float:
        return height - 2 - (value - low) / ((high - low) or 1.0) * (height - 4)

    runs: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append(f"{i * step:.1f},{y(value):.1f}")
    lines = "".join(f'<polyline class="line c0" points="{" ".join(run)}"/>' for run in runs if len(run) > 1)
    dots = "".join(_lone_dot(run[0]) for run in runs if len(run) == 1)
    return (
        f'<svg class="sparkline" viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}" '
        f'preserveAspectRatio="none">{lines}{dots}</svg>'
    )


def _lone_dot(point: str) -> str:
    x, _, y = point.partition(",")
    return f'<circle class="dot c0" cx="{x}" cy="{y}" r="1.5"/>'


def safe(text: str) -> str:
    """Text as it may stand in a drawing: escaped, with control and direction characters shown as marks."""
    return escape(visible(text))


def utc_text(at_ns: int) -> str:
    """A time in full: 2026-11-05 12:34:56 UTC."""
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
