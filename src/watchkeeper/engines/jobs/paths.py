"""Where the doors to jobs and to the ledger of effects are."""

from __future__ import annotations

JOBS = "/api/v1/jobs"
EFFECTS = "/api/v1/effects/"
RUNS = "/api/v1/runs/"
_BELOW = (JOBS + "/", EFFECTS)


def answers(method: str, path: str) -> bool:
    """Whether a request is about a job, a claim to an effect, or a run to be cancelled.

    Lists of jobs and effects are questions to the index, and are answered where those are; a run that a policy has
    stopped is let go on there too.
    """
    cancels = path.startswith(RUNS) and path.endswith("/cancel")
    return cancels or path.startswith(_BELOW) or (path == JOBS and method == "POST")
