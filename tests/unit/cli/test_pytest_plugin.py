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


OWN = """
import pytest

SUITE = {
    "name": "sums",
    "cases": [{"id": n, "input": f"{n} + {n}", "expected": str(2 * n)} for n in range(30)],
    "scorers": [{"use": "exact"}],
}


def right(messages):
    return str(2 * int(messages[-1]["content"].split()[0]))


async def mostly(messages):
    number = int(messages[-1]["content"].split()[0])
    return str(2 * number) if number % 10 else "many"


def test_a_verdict_with_its_interval(watchkeeper_eval):
    run = watchkeeper_eval(SUITE, answer=right)
    assert run["exact"].value == 1.0 and 0.8 < run["exact"].low < 1.0 and run["exact"].n == 30
    assert run.at_least("exact", 0.8)


def test_what_is_not_resolved_is_not_true_and_says_so(watchkeeper_eval):
    run = watchkeeper_eval(SUITE, answer=mostly)
    verdict = run.at_least("exact", 0.85)
    assert verdict.passed is None
    assert verdict


def test_two_functions_case_by_case(watchkeeper_eval):
    before = watchkeeper_eval(SUITE, answer=right)
    after = watchkeeper_eval(SUITE, answer=mostly)
    assert after.against(before)
    assert not after.against(before, require="better")
    assert not before.against(watchkeeper_eval(SUITE, answer=lambda messages: "x")).passed is None
    with pytest.raises(ValueError, match="needs a margin"):
        after.against(before, require="equivalent")


def test_single_cases(watchkeeper_eval):
    run = watchkeeper_eval(SUITE, cases=["7", "sums/10"], answer=mostly)
    assert [case.case_id for case in run.cases] == ["sums/7", "sums/10"]
    assert run.case("7").passed and run.case("10").said == "many"
    assert not run.case("10").passed


def test_mistakes_are_told(watchkeeper_eval):
    with pytest.raises(KeyError, match="Did you mean 'sums/12'"):
        watchkeeper_eval(SUITE, cases=["sums/12x"], answer=right)
    with pytest.raises(KeyError, match="there are: exact"):
        watchkeeper_eval(SUITE, answer=right)["exakt"]
    with pytest.raises(TypeError, match="knows no concurency"):
        watchkeeper_eval(SUITE, answer=right, concurency=3)
    with pytest.raises(ValueError, match="did you mean `cases`"):
        watchkeeper_eval({**SUITE, "casses": []}, answer=right)
    with pytest.raises(Exception, match="no `scorers`"):
        broken = {"name": "x", "cases": SUITE["cases"], "properties": [{"name": "p", "holds": "at_most", "words": 3}]}
        watchkeeper_eval(broken, answer=right)


def test_a_file_and_a_baseline(watchkeeper_eval):
    run = watchkeeper_eval("ship.eval.yaml", repeats=2)
    assert len(run.cases) == 6 and run.case("0").passed is False
    assert run.outcome.experiment.experiment_id.startswith("exp_")
    assert run.against(run.outcome.experiment.experiment_id)
"""


@pytest.mark.slow
def test_the_fixture_runs_suites_and_gives_verdicts(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile(test_own=OWN)
    with LabServer(LabConfig(rules=(Rule(name="calm", answer="All is well."),))) as lab:
        done = run(pytester, "test_own.py", "--eval-target", lab.base_url)
        calls = len(lab.calls)
    done.assert_outcomes(passed=5, failed=1)
    assert calls == 6
    done.stdout.fnmatch_lines(["*<exact at least 0.85: not resolved. 0.9 (95% interval*"])
    assert not list((pytester.path / "data" / "evals").glob("runs/*"))


@pytest.mark.slow
def test_an_async_test_is_told_to_be_a_plain_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_own="""
        import asyncio

        def test_inside_a_loop(watchkeeper_eval):
            async def inside():
                watchkeeper_eval({})
            asyncio.run(inside())
        """
    )
    done = run(pytester, "test_own.py")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*call it in a plain test, not in an async one*"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scorers": [], "properties": [{"name": "p", "holds": "at_most", "words": 3}]}, "no `scorers`"),
        ({"casse": []}, "did you mean `cases`"),
        ({"cases": []}, "the suite has no cases"),
    ],
)
def test_a_suite_that_cannot_be_used_is_one_sentence(
    pytester: pytest.Pytester, suite: Path, change: dict[str, object], says: str
) -> None:
    suite.write_text(yaml.safe_dump(yaml.safe_load(suite.read_text()) | change))
    done = run(pytester)
    done.assert_outcomes(errors=1)
    said = done.stdout.str()
    assert says in said and "Traceback" not in said and "suite.py" not in said
