"""Capabilities are found by their id and built from their settings; a mistake names what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.compose.discovery import build, discover
from watchkeeper.config import Capability, Config, ConfigError


def test_what_is_installed_is_found_by_its_id() -> None:
    assert {"budget", "loop"} <= set(discover("policies"))
    assert {"exact", "schema"} <= set(discover("scorers"))
    assert "slo" in discover("monitors")
    assert "incident" in discover("reports")


def test_parameters_reach_the_capability() -> None:
    policy = build("policies", Capability(use="loop", parameters={"repeats": 7}), Config())
    assert (policy.repeats, policy.cycles) == (7, 4)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (Capability(use="lop"), ["there is no 'lop'", "budget", "loop"]),
        (Capability(use="loop", parameters={"repeat": 3}), ["`with.repeat` is not a parameter", "repeats"]),
        (Capability(use="loop", parameters={"repeats": 1}), ["`with.repeats` is 1", ">= 2"]),
        (Capability(use="loop", parameters={"repeats": "x"}), ["`with.repeats` is 'x'", "Expected `int`"]),
        (Capability(use="budget", name="mine", parameters={"per": "session"}), ["'mine'", "neither usd nor tokens"]),
        (Capability(use="budget", parameters={"usd": 1}), ["per"]),
    ],
)
def test_a_mistake_names_file_use_and_what_is_known(use: Capability, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build("policies", use, Config(file="mine.toml"))
    for word in ["mine.toml", *words]:
        assert word in str(caught.value)


def test_a_report_takes_its_consumers_from_the_settings() -> None:
    stated = Capability(use="behaviour", parameters={"consumers": [{"name": "a", "regex": "x"}], "calls": 50})
    report = build("reports", stated, Config())
    assert (report.consumers[0].name, report.calls, report.rows) == ("a", 50, 30)
    with pytest.raises(ConfigError, match="needs one of regex, json_path and json"):
        build("reports", Capability(use="behaviour", parameters={"consumers": [{"name": "a"}]}), Config())


FRONTIER = {"map": "map.json", "models": ["desk"], "to": "strong"}


def test_a_parameter_that_is_a_file_is_read_from_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"columns": ["family"], "bar": 0.8, "cells": []}')
    policy = build("policies", Capability(use="frontier", parameters=FRONTIER), Config(file=str(tmp_path / "wk.toml")))
    assert policy.map.columns == ("family",)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), ("{", "no such file"), ('{"columns": ["a"], "bar": 0.8, "cells": [{}]}', "missing")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "map.json").write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        build("policies", Capability(use="frontier", parameters=FRONTIER), Config(file=str(tmp_path / "wk.toml")))
    assert "`with.map`" in str(caught.value) and "map.json" in str(caught.value)
