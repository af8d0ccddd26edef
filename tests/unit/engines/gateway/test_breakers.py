"""A breaker opens on failures and on bad quality, and tries again by single calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.gateway.breakers import Breaker
from watchkeeper.engines.gateway.route_spec import BreakerSpec

SPEC = BreakerSpec(failures=3, open_s=10, longest_open_s=40, successes=2, min_calls=10, share=0.5, window_s=60)


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker(SPEC, now_s)
    for _ in range(3):
        breaker.failed(now_s, "5xx")
    return breaker


def test_one_failure_too_few_leaves_it_closed() -> None:
    breaker = Breaker(SPEC, 0)
    assert breaker.failed(1, "5xx") is None and breaker.failed(2, "5xx") is None
    breaker.succeeded(3)
    assert breaker.failed(4, "5xx") is None and breaker.failed(5, "5xx") is None
    assert breaker.ready(5)


def test_failures_in_a_row_open_it() -> None:
    breaker = opened(5)
    assert (breaker.state, breaker.since_s) == ("open", 5)
    assert not breaker.ready(14.9) and breaker.ready(15)


def test_a_share_of_failures_opens_it_too() -> None:
    breaker = Breaker(SPEC, 0)
    changes = [breaker.failed(n, "5xx") if n % 2 else breaker.succeeded(n) for n in range(12)]
    assert breaker.state == "open" and "calls in 60 s failed" in breaker.why
    assert sum(change is not None for change in changes) == 1


def test_failures_that_are_past_the_window_are_forgotten() -> None:
    breaker = Breaker(SPEC, 0)
    for n in range(40):
        at = n * 100.0
        assert (breaker.failed(at, "5xx") if n % 2 else breaker.succeeded(at)) is None


def test_half_open_lets_one_trial_through_at_a_time() -> None:
    breaker = opened()
    change = breaker.begin(10)
    assert change is not None and change.after == "half_open"
    assert not breaker.ready(10.1), "a trial is under way"
    assert breaker.succeeded(11) is None
    assert breaker.ready(11)
    breaker.begin(11)
    change = breaker.succeeded(12)
    assert change is not None and change.after == "closed"


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    breaker, now_s = opened(), 10.0
    for wait_s in (20, 40, 40):
        breaker.begin(now_s)
        change = breaker.failed(now_s, "5xx")
        assert change is not None and change.after == "open"
        assert not breaker.ready(now_s + wait_s - 0.1) and breaker.ready(now_s + wait_s)
        now_s += wait_s


def test_a_trial_that_says_nothing_makes_room_for_another() -> None:
    breaker = opened()
    breaker.begin(10)
    breaker.undecided()
    assert breaker.ready(10)


def test_bad_quality_holds_it_open_until_it_is_taken_back() -> None:
    breaker = Breaker(SPEC, 0)
    change = breaker.judged("canary: answers changed", 1)
    assert change is not None and change.after == "open"
    assert not breaker.ready(10_000)
    assert breaker.succeeded(10_000) is None and breaker.state == "open", "good statuses say nothing of quality"
    assert breaker.judged("canary: answers changed", 2) is None
    change = breaker.judged(None, 10_001)
    assert change is not None and change.after == "half_open" and breaker.ready(10_001)


def test_being_asked_to_wait_is_no_failure() -> None:
    breaker = Breaker(SPEC, 0)
    breaker.cool(0, 5)
    assert breaker.state == "closed" and not breaker.ready(4.9) and breaker.ready(5)


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "fail", "none", "begin", "bad", "good"]), st.floats(0, 30)), max_size=80)
)
def test_whatever_happens_it_can_always_be_tried_again_in_time(steps: list[tuple[str, float]]) -> None:
    breaker, now_s = Breaker(SPEC, 0), 0.0
    for act, pause_s in steps:
        now_s += pause_s
        match act:
            case "ok":
                breaker.succeeded(now_s)
            case "fail":
                breaker.failed(now_s, "x")
            case "none":
                breaker.undecided()
            case "begin":
                breaker.begin(now_s)
            case _:
                breaker.judged("bad" if act == "bad" else None, now_s)
    breaker.judged(None, now_s)
    assert breaker.ready(now_s + SPEC.longest_open_s + 0.1)
