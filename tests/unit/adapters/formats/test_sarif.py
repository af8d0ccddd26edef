"""SARIF: what failed and what the evidence does not say, each with a rule, a place and a stable fingerprint."""

import json

import msgspec

from tests.unit.adapters.formats.sheets import SHEET
from watchkeeper.adapters.formats.sarif import MOST_RESULTS, sarif
from watchkeeper.records.sheet import Line


def test_failures_errors_and_gates_are_results_and_passes_are_not() -> None:
    (run,) = json.loads(sarif(SHEET, "1.2"))["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    found = [(each["ruleId"], each["level"]) for each in run["results"]]
    assert found == [
        ("gate-failed", "error"),
        ("gate-not-resolved", "warning"),
        ("case-failed", "warning"),
        ("case-error", "error"),
    ]
    assert {name for name, _ in found} <= rules and run["tool"]["driver"]["version"] == "1.2"
    for each in run["results"]:
        place = each["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == SHEET.path and place["region"]["startLine"] == 1


def test_a_case_keeps_its_fingerprint_whatever_it_says() -> None:
    again = msgspec.structs.replace(SHEET, experiment_id="exp_2", lines=SHEET.lines[::-1])
    first, second = (
        {r["partialFingerprints"]["case/v1"] for r in json.loads(sarif(s, "1"))["runs"][0]["results"]}
        for s in (SHEET, again)
    )
    assert first == second and len(first) == 4


def test_no_more_results_than_a_code_host_takes_and_the_rest_is_counted() -> None:
    lines = tuple(Line(case_id=str(n), passed=False) for n in range(MOST_RESULTS + 7))
    (run,) = json.loads(sarif(msgspec.structs.replace(SHEET, lines=lines), "1"))["runs"]
    assert len(run["results"]) == MOST_RESULTS and run["properties"]["left_out"] == 9


def test_a_path_is_a_uri_whatever_its_name() -> None:
    (run,) = json.loads(sarif(msgspec.structs.replace(SHEET, path="my evals/größe:1.yaml"), "1"))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20evals/gr%C3%B6%C3%9Fe%3A1.yaml"
