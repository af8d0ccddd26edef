"""The concurrency test of caps, pointed at our own gateway as at any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.lab.overspend import Plan, run, upstream
from watchkeeper.lab.watch import Watch, free_port, lab_settings

pytestmark = pytest.mark.door

CAP = 0.2
POLICY = f'\n[[policies]]\nuse = "budget"\nwith = {{ per = "organisation", usd = {CAP} }}\n'


def test_two_hundred_calls_at_once_do_not_spend_more_than_the_cap(tmp_path: Path) -> None:
    with upstream() as lab, Watch(tmp_path / "w", lab_settings(lab.base_url) + POLICY) as watch:
        plain = run(Plan(target=watch.base_url, cap_usd=CAP, sessions=50), lab)
        assert plain.verdict == "held" and (plain.used_share or 0) > 0.5, plain
        assert plain.answered + plain.refused["403"] == 200
        streamed = run(Plan(target=watch.base_url, cap_usd=CAP, sessions=50, stream=True), lab)
        assert plain.spent_usd + streamed.spent_usd <= CAP


def test_a_gateway_without_a_limit_is_found_out(tmp_path: Path) -> None:
    port = free_port()
    with Watch(tmp_path / "w", lab_settings(f"http://127.0.0.1:{port}/v1")) as watch:
        words = ["lab", "overspend", "--target", watch.base_url, "--cap-usd", "0.1", "--calls", "40", "--json"]
        words += ["--concurrency", "40", "--upstream", f"127.0.0.1:{port}"]
        done = subprocess.run(
            [sys.executable, "-m", "watchkeeper", *words], capture_output=True, text=True, timeout=60, check=False
        )
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["verdict"] == "overspent" and found["overspent_usd"] > 0.2
