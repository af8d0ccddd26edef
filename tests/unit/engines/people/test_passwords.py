"""Passwords are kept as slow salted hashes, and compared in constant time."""

from __future__ import annotations

import pytest

from watchkeeper.engines.people.passwords import check_password, hash_password, is_right

FAST = 1 << 8
GOOD = "correct horse battery"


def test_the_right_password_is_right_and_no_other_is() -> None:
    kept = hash_password(GOOD, FAST)
    assert is_right(GOOD, kept)
    for wrong in ("", GOOD + " ", GOOD.upper(), GOOD[:-1], "\ud800"):
        assert not is_right(wrong, kept)


def test_two_people_with_one_password_have_two_hashes() -> None:
    first, second = hash_password(GOOD, FAST), hash_password(GOOD, FAST)
    assert (first.salt, first.hash) != (second.salt, second.hash)
    assert GOOD.encode() not in first.hash + first.salt


@pytest.mark.parametrize(("length", "taken"), [(11, False), (12, True), (1_000, True), (1_001, False)])
def test_short_and_endless_passwords_are_refused_without_being_repeated(length: int, taken: bool) -> None:
    password = "pässwörd" * 200
    if taken:
        check_password(password[:length])
        return
    with pytest.raises(ValueError, match=f"{length} characters") as told:
        check_password(password[:length])
    assert "pässw" not in str(told.value)
