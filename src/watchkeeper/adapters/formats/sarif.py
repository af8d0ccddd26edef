"""Writes what a run found as SARIF 2.1.0 (OASIS, 2020), which code hosts show beside the change."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from watchkeeper.records.ids import digest
from watchkeeper.records.sheet import Line, Ruling, Sheet

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 5000
"""More results than this are not taken by code hosts in one run."""

_RULES = {
    "case-failed": "A case does not reach its suite's bar.",
    "case-error": "A case could not be asked or judged.",
    "gate-failed": "A gate failed.",
    "gate-not-resolved": "The evidence does not say whether a gate holds.",
}


def sarif(sheet: Sheet, version: str) -> bytes:
    """The failures, errors and gates of a run as a SARIF log; `version` is this program's."""
    found = [each for line in sheet.lines if (each := _case(sheet, line)) is not None]
    gates = [each for ruling in sheet.rulings if (each := _gate(sheet, ruling)) is not None]
    results = [*gates, *found][:MOST_RESULTS]
    rules = [{"id": name, "shortDescription": {"text": told}} for name, told in _RULES.items()]
    driver = {"name": "watchkeeper", "version": version, "rules": rules}
    run: dict[str, Any] = {"tool": {"driver": driver}, "results": results, "columnKind": "utf16CodeUnits"}
    run["properties"] = {
        "experiment": sheet.experiment_id,
        "suite": sheet.suite,
        "left_out": len(gates) + len(found) - len(results),
    }
    return msgspec.json.format(msgspec.json.encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}), indent=1)


def _case(sheet: Sheet, line: Line) -> dict[str, Any] | None:
    if line.problem is not None:
        return _result(sheet, "case-error", "error", line.case_id, f"{line.case_id}: {line.problem}")
    if line.passed is not False:
        return None
    scores = ", ".join(f"{name} = {value:g}" for name, value in line.scores.items() if value is not None)
    expected = "" if line.expected is None else f" Expected {line.expected[:300]!r}, came {(line.said or '')[:300]!r}."
    return _result(sheet, "case-failed", "warning", line.case_id, f"{line.case_id}: {scores}.{expected}")


def _gate(sheet: Sheet, ruling: Ruling) -> dict[str, Any] | None:
    if ruling.passed:
        return None
    rule, level = ("gate-failed", "error") if ruling.passed is False else ("gate-not-resolved", "warning")
    return _result(sheet, rule, level, ruling.gate, f"{ruling.gate}: {ruling.sentence}")


def _result(sheet: Sheet, rule: str, level: str, what: str, text: str) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": quote(sheet.path, safe="/!$&'()*+,;=@~")}, "region": {"startLine": 1}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": _text(text)},
        "locations": [
            {"physicalLocation": place, "logicalLocations": [{"fullyQualifiedName": _text(f"{sheet.suite}/{what}")}]}
        ],
        "partialFingerprints": {"case/v1": digest(f"{sheet.suite}\0{rule}\0{what}".encode("utf-8", "replace"))},
    }


def _text(value: str) -> str:
    """A text that can be written: half a surrogate pair becomes a question mark."""
    return value.encode("utf-8", "replace").decode()
