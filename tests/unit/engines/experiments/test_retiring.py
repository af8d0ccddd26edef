"""What is attached to a version is found in the records and the settings, and what others need is marked."""

from collections.abc import Mapping
from typing import Any

import pytest

from watchkeeper.engines.experiments.retiring import Names, attached

OLD, NEW, OTHER = "0123456789abcdef0123456789abcdef", "f" * 32, "e" * 32


def incident(incident_id: str, title: str, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"subject": "a", "status": "open", "timeline": [], "traces": []}
    return {"incident_id": incident_id, "title": title} | plain | more


RECORDS: dict[str, list[dict[str, Any]]] = {
    "manifests": [
        {"digest": OLD, "components": {"model": "gpt-4", "system": "p1", "tools": "t1", "parameters": "none"}},
        {"digest": NEW, "components": {"model": "gpt-5", "system": "p2", "tools": "t1", "parameters": "none"}},
        {"digest": OTHER, "components": {"model": "gpt-5", "system": "p1", "tools": "t3"}},
    ],
    "experiments": [
        {"experiment_id": "exp_2", "suite": "tickets", "compositions": {OLD: 9}},
        {"experiment_id": "exp_1", "suite": "tickets", "compositions": {NEW: 9}},
        {"experiment_id": "exp_0", "suite": "letters", "compositions": {OTHER: 9}},
    ],
    "scores": [
        {"scorer": "judge", "version": "1", "parameters": "d" * 32},
        {"scorer": "exact", "version": "1", "parameters": ""},
    ],
    "findings": [
        {"monitor": "canary", "finding_id": "fnd_1", "subject": f"probe:a:{OLD[:12]}", "sentence": "", "evidence": {}},
        {"monitor": "slo", "finding_id": "fnd_2", "subject": "slo:a", "sentence": "gpt-4o is slow", "evidence": {}},
    ],
    "incidents": [
        incident("inc_1", "late", traces=["t1"]),
        incident("inc_2", "gpt-4 loops"),
        incident("inc_3", "gpt-4o loops"),
    ],
    "cases": [
        {"dataset": "regressions", "origin": "incident:inc_1"},
        {"dataset": "regressions", "origin": "span:t1/s1"},
        {"dataset": "fresh", "origin": "incident:inc_9"},
    ],
}  # fmt: skip
SETTINGS = {
    "probes": [{"name": "capital", "model": "gpt-4"}, {"name": "tide", "model": "gpt-4o"}],
    "policies": [{"use": "budget", "name": None, "with": {"models": ["gpt-4", "x"]}}],
}


def ask(question: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    del asked
    return RECORDS[question]


def test_each_thing_is_found_and_nothing_else() -> None:
    names = Names(manifests=(OLD,), models=("gpt-4",), traces=frozenset({"t1"}))
    found = attached(ask, names, [NEW], SETTINGS)
    assert [(each.kind, each.name, each.shared) for each in found] == [
        ("prompt", "p1", False),
        ("tools", "t1", True),
        ("suite", "tickets", True),
        ("judge", "judge 1 dddddddddddd", False),
        ("probes", "capital", False),
        ("policies", "budget", False),
        ("monitor", "canary", False),
        ("incident", "inc_1", False),
        ("incident", "inc_2", False),
        ("dataset", "regressions", False),
    ]
    assert "2 of its cases" in found[-1].why


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gpt-4", True),
        ("gpt-4o", False),
        ("gpt-4-turbo", False),
        ("the gpt-4.", True),
        ("gpt-4.1", False),
        ("my-gpt-4", False),
    ],
)
def test_a_model_is_meant_as_a_whole_word(text: str, meant: bool) -> None:
    pattern = Names(manifests=(), models=("gpt-4",)).pattern()
    assert pattern is not None and (pattern.search(text) is not None) == meant


def test_a_version_without_names_has_no_pattern() -> None:
    assert Names(manifests=(), models=()).pattern() is None
