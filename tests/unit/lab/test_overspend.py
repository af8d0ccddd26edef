"""What the concurrency test of caps fires, and when it says that nothing was tested."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from watchkeeper.cli.lab import lab
from watchkeeper.lab.overspend import Plan, is_loopback, run, upstream


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://gateway.example.org/v1", False),
    ],
)
def test_load_is_fired_at_this_machine_only_unless_asked_for(url: str, here: bool) -> None:
    assert is_loopback(url) is here
    if not here:
        done = CliRunner().invoke(lab, ["overspend", "--target", url, "--cap-usd", "1"])
        assert done.exit_code == 2 and "--beyond-loopback" in done.output


@pytest.mark.parametrize(("changes", "says"), [({"calls": 0}, "calls is 0"), ({"target": "ftp://x"}, "target is")])
def test_a_plan_that_cannot_be_meant_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Plan(**{"target": "http://127.0.0.1:1/v1", "cap_usd": 1.0, **changes})  # type: ignore[arg-type]


def test_a_gateway_that_does_not_use_the_metering_upstream_is_not_tested() -> None:
    with upstream() as metering:
        verdict = run(Plan(target="http://127.0.0.1:9/v1", cap_usd=1.0, calls=2, concurrency=2), metering)
    assert verdict.verdict == "not_tested" and "No call reached" in verdict.why


def test_a_cap_that_was_never_reached_is_not_tested() -> None:
    with upstream() as metering:
        verdict = run(Plan(target=metering.base_url, cap_usd=9.0, calls=3, concurrency=3), metering)
    assert verdict.verdict == "not_tested" and "never reached" in verdict.why


def test_a_provider_without_any_gateway_overspends() -> None:
    with upstream() as metering:
        verdict = run(Plan(target=metering.base_url, cap_usd=0.001, calls=3, concurrency=3, waves=2), metering)
    assert verdict.verdict == "overspent" and verdict.upstream_calls == 6
    assert verdict.spent_usd == pytest.approx(sum(verdict.spent_by_wave_usd))
