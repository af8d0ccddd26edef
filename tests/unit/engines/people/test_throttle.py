"""Whoever guesses is slowed down, and whoever does not is not."""

from __future__ import annotations

from watchkeeper.engines.people.throttle import PER_ADDRESS, PER_PAIR, WINDOW_S, Throttle


def test_the_fifth_wrong_attempt_begins_a_wait_that_doubles() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    for _ in range(PER_PAIR + 3):
        throttle.failed("ada", "a")
        waits.append(throttle.wait_s("ada", "a"))
    assert waits[: PER_PAIR - 1] == [0.0] * (PER_PAIR - 1)
    assert waits[PER_PAIR - 1 :] == [15.0, 30.0, 60.0, 120.0]
    now[0] = 121.0
    assert throttle.wait_s("ada", "a") == 0.0


def test_somebody_elses_guesses_do_not_keep_a_person_out() -> None:
    throttle = Throttle(lambda: 0.0)
    for _ in range(PER_PAIR + 5):
        throttle.failed("ada", "attacker")
    assert throttle.wait_s("ada", "attacker") > 0
    assert throttle.wait_s("ada", "home") == 0.0


def test_an_address_that_tries_many_names_waits() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(PER_ADDRESS):
        throttle.failed(f"name-{number}", "attacker")
    assert throttle.wait_s("new-name", "attacker") > 0


def test_success_forgets_the_pair_and_not_the_address() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(PER_ADDRESS):
        throttle.failed(f"name-{number}", "attacker")
    throttle.failed("own", "attacker")
    throttle.succeeded("own", "attacker")
    assert throttle.wait_s("own", "attacker") > 0


def test_signing_in_rightly_again_and_again_keeps_nobody_waiting() -> None:
    throttle = Throttle(lambda: 0.0)
    for _ in range(200):
        assert throttle.wait_s("ada", "proxy") == 0.0
        throttle.failed("ada", "proxy")
        throttle.succeeded("ada", "proxy")


def test_a_quiet_quarter_of_an_hour_begins_anew_and_memory_stays_small() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(20):
        throttle.failed("ada", "a")
    now[0] = WINDOW_S + 1
    assert throttle.wait_s("ada", "a") == 0.0
    for number in range(30_000):
        throttle.failed(f"n{number}", f"a{number}")
    assert len(throttle._failed) <= 20_000
