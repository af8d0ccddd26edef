"""The doors to jobs and effects take what is theirs, and nothing of their neighbours."""

from __future__ import annotations

import pytest

from watchkeeper.engines.jobs.paths import answers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/jobs"), ("GET", "/api/v1/jobs/job_1"), ("GET", "/api/v1/jobs/job_1/events"),
     ("POST", "/api/v1/effects/claim"), ("GET", "/api/v1/effects/eff_1"), ("POST", "/api/v1/runs/a b/c/cancel")],
)  # fmt: skip
def test_what_is_about_one_job_effect_or_run_is_answered(method: str, path: str) -> None:
    assert answers(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/jobs"), ("GET", "/api/v1/effects"), ("POST", "/api/v1/runs"), ("POST", "/api/v1/runs/resume"),
     ("GET", "/api/v1/traces")],
)  # fmt: skip
def test_lists_and_runs_that_go_on_are_answered_elsewhere(method: str, path: str) -> None:
    assert not answers(method, path)
