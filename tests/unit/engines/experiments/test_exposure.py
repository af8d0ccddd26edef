"""Users are sorted by depth of use, and what was judged finds the use that it is about."""

import pytest

from tests.sunsetting import score
from watchkeeper.analysis.behaviour import Told
from watchkeeper.analysis.shape_features import Reply
from watchkeeper.engines.experiments.exposure import DAY_NS, Depth, Judged, Use, cuts_of, depths_of, uses_in, uses_of

ROW = {"tenant": None, "user": "mia", "session": "s", "trace_id": "t1", "first_ns": 5, "last_ns": 9, "calls": 2}


def test_traces_of_a_session_are_one_use() -> None:
    found = uses_of([ROW, {**ROW, "trace_id": "t2", "first_ns": 3, "last_ns": 4, "calls": 1}])
    assert found == [Use(user="mia", use="s", first_ns=3, last_ns=9, calls=3, traces=("t1", "t2"))]


def test_without_a_session_each_trace_is_one_and_tenants_keep_apart() -> None:
    rows = [{**ROW, "session": None}, {**ROW, "session": None, "trace_id": "t2", "tenant": "acme"}]
    assert [(each.user, each.use) for each in uses_of(rows)] == [("acme mia", "t2"), ("mia", "t1")]


@pytest.mark.parametrize(
    ("calls", "days", "cohort"),
    [
        (1, 0.0, "light"),
        (5, 200.0, "light"),
        (6, 0.0, "regular"),
        (6, 30.0, "deep"),
        (6, None, "regular"),
        (10, 0, "deep"),
    ],
)
def test_depth_makes_the_cohort(calls: int, days: float | None, cohort: str) -> None:
    cuts = cuts_of([Depth(calls=n, uses=1, days=0.0) for n in range(1, 11)])
    assert (cuts.light_most_calls, cuts.deep_fewest_calls) == (5.5, 10)
    assert cuts.cohort(Depth(calls=calls, uses=1, days=days)) == cohort


def test_days_go_from_the_first_call_to_the_last() -> None:
    uses = [Use(user="u", use=str(n), first_ns=n * DAY_NS, last_ns=n * DAY_NS, calls=1) for n in range(4)]
    assert depths_of(uses) == {"u": Depth(calls=4, uses=4, days=3.0, first_ns=0)}
    unknown = uses_in([Told(reply=Reply(text="a"), user="u"), Told(reply=Reply(text="a"))])
    assert depths_of(unknown) == {"u": Depth(calls=1, uses=1, days=None)}


def test_scores_of_sessions_traces_and_spans_find_their_use() -> None:
    uses = [
        Use(user="u", use="s", first_ns=1, last_ns=1, calls=1, traces=("t1",)),
        Use(user="u", use="t2", first_ns=2, last_ns=2, calls=1, traces=("t2",)),
    ]
    rows = [
        score("s", 1.0),
        score(None, 0.0, subject_kind="trace", subject_id="t1"),
        score(None, 1.0, subject_kind="span", subject_id="x", trace_id="t2"),
        score("elsewhere", 1.0),
        score("s", None),
    ]
    judged = Judged(rows, uses, 1.0)
    assert (judged.of(uses[0]), judged.of(uses[1]), judged.unplaced) == (0.5, 1.0, 1)
