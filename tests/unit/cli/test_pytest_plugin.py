"""Suites as tests: each case is one, a gate is one, and the suite is run once."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    cases = [{"id": n, "input": f"Ship {n}?", "expected": "All is well." if n else "Sunk."} for n in range(3)]
    path = pytester.path / "ship.eval.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "ship",
                "target": {"model": "lab-small", "base_url": "http://127.0.0.1:9/v1"},
                "cases": cases,
                "scorers": [{"use": "exact"}],
            }
        )
    )
    return path


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    installed = any(each.name == "watchkeeper" for each in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "watchkeeper.cli.pytest_plugin")
    data = ("-p", "no:cacheprovider", "--eval-data", str(pytester.path / "data"))
    return pytester.runpytest_subprocess(*plugin, *data, *words)


@pytest.mark.slow
def test_each_case_is_a_test_and_the_suite_is_run_once(pytester: pytest.Pytester, suite: Path) -> None:
    with LabServer(LabConfig(rules=(Rule(name="calm", answer="All is well."),))) as lab:
        done = run(
            pytester, "--eval-target", lab.base_url, "--eval-at-least", "exact=0.05", "--eval-at-least", "exact=0.9"
        )
        calls = len(lab.calls)
    done.assert_outcomes(passed=3, failed=2)
    assert calls == 3
    done.stdout.fnmatch_lines(
        ["*ship/0: exact = 0*", "*expected: Sunk.*", "*came: *All is well.*", "*exact at least 0.9: not resolved*"]
    )


@pytest.mark.slow
def test_calls_that_fail_are_failures_in_their_own_words(pytester: pytest.Pytester, suite: Path) -> None:
    done = run(pytester, "-k", "ship/1")
    done.assert_outcomes(failed=1, deselected=2)
    done.stdout.fnmatch_lines(["*ship/1: http://127.0.0.1:9/v1: no connection came about*"])
