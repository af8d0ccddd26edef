"""Writes a run as JUnit XML, which every CI server shows: a case for each case, and one for each gate.

The shape is that of the Jenkins xunit schema (`testsuites/testsuite/testcase` with `failure`, `error`, `skipped`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as Xml

from watchkeeper.records.sheet import Line, Ruling, Sheet

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_CHARS = 10_000


def junit(sheet: Sheet) -> bytes:
    """The run as JUnit XML, UTF-8."""
    suite = Xml.Element("testsuite", name=_text(sheet.suite), timestamp=_moment(sheet.at_ns))
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for line in sheet.lines:
        _count(counts, _case(suite, sheet.suite, line))
    for ruling in sheet.rulings:
        _count(counts, _gate(suite, sheet.suite, ruling))
    for name, number in counts.items():
        suite.set(name, str(number))
    suite.set("time", f"{sum(line.duration_ns for line in sheet.lines) / 1e9:.3f}")
    properties = Xml.Element("properties")
    for name, value in (("experiment", sheet.experiment_id), ("target", sheet.target)):
        Xml.SubElement(properties, "property", name=name, value=_text(value))
    for name, mean in sheet.summary.items():
        told = f"{mean.value:.6g} ({mean.confidence:.0%} interval {mean.low:.6g} to {mean.high:.6g}, n = {mean.n})"
        Xml.SubElement(properties, "property", name=f"mean {_text(name)}", value=told)
    suite.insert(0, properties)
    # The schema has no `skipped` at the root.
    root = Xml.Element("testsuites", {name: str(number) for name, number in counts.items() if name != "skipped"})
    root.append(suite)
    document: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _case(suite: Xml.Element, name: str, line: Line) -> str:
    seconds = f"{line.duration_ns / 1e9:.3f}"
    case = Xml.SubElement(suite, "testcase", classname=_text(name), name=_text(line.case_id), time=seconds)
    if line.passed:
        return "tests"
    if line.problem is not None:
        Xml.SubElement(case, "error", message=_text(line.problem)[:300]).text = _text(line.problem)
        return "errors"
    if line.passed is None:
        Xml.SubElement(case, "skipped", message=_text(line.explanation or "nothing judged this case")[:300])
        return "skipped"
    low = ", ".join(f"{each} = {value:g}" for each, value in line.scores.items() if value is not None)
    told = [f"expected: {line.expected}"] if line.expected is not None else []
    told += [f"came: {line.said}"] if line.said is not None else []
    told += [line.explanation] if line.explanation else []
    Xml.SubElement(case, "failure", message=_text(low)[:300]).text = _text("\n".join(told))
    return "failures"


def _gate(suite: Xml.Element, name: str, ruling: Ruling) -> str:
    case = Xml.SubElement(suite, "testcase", classname=f"{_text(name)}.gates", name=_text(ruling.gate), time="0")
    if ruling.passed:
        return "tests"
    kind = "failure" if ruling.passed is False else "error"
    prefix = "" if ruling.passed is False else "not resolved: "
    Xml.SubElement(case, kind, message=_text(prefix + ruling.sentence)[:300]).text = _text(ruling.sentence)
    return "failures" if ruling.passed is False else "errors"


def _count(counts: dict[str, int], kind: str) -> None:
    counts["tests"] += 1
    if kind != "tests":
        counts[kind] += 1


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(value: str) -> str:
    """A text that XML can hold: what models write may be anything."""
    return _NOT_XML.sub("\ufffd", value)[:_MOST_CHARS]
