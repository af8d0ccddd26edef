"""`once` and `effect` do what the ledger says, and nothing without its word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import watchkeeper
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.connection import NotAccepted, Unreachable

NAMES = {"run": "r", "step": "s", "object": "o"}
Ledger = Callable[..., list[tuple[str, dict[str, Any]]]]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger that answers one after the other; returns what it was asked."""

    def make(*answers: Any) -> list[tuple[str, dict[str, Any]]]:
        asked: list[tuple[str, dict[str, Any]]] = []
        waiting = list(answers)

        def post(path: str, value: dict[str, Any]) -> Any:
            asked.append((path.rsplit("/", 1)[1], value))
            given = waiting.pop(0)
            if isinstance(given, Exception):
                raise given
            return {"effect_id": "eff_1", "receipt": None, "granted": False, **given}

        monkeypatch.setattr(current_client().connection, "post", post)
        return asked

    return make


def test_the_first_does_it_and_settles_with_the_receipt(ledger: Ledger) -> None:
    asked = ledger({"granted": True, "status": "planned"}, {"status": "done"})
    assert watchkeeper.once(lambda: {"id": 1}, tool="t", **NAMES) == {"id": 1}
    assert [(path, said.get("status"), said.get("receipt")) for path, said in asked] == [
        ("claim", None, None),
        ("settle", "done", {"id": 1}),
    ]
    assert asked[0][1]["claim"] == asked[1][1]["claim"]


def test_another_does_nothing_and_has_the_receipt(ledger: Ledger) -> None:
    ledger({"status": "done", "receipt": {"id": 1}})
    assert watchkeeper.once(lambda: pytest.fail("done twice"), tool="t", **NAMES) == {"id": 1}


def test_it_waits_for_who_is_at_it(ledger: Ledger) -> None:
    asked = ledger({"status": "planned"}, {"status": "done", "receipt": 7})
    assert watchkeeper.once(lambda: pytest.fail("done twice"), tool="t", **NAMES) == 7
    assert len(asked) == 2


def test_it_does_not_wait_for_ever(ledger: Ledger) -> None:
    ledger({"status": "planned"})
    with pytest.raises(TimeoutError, match="nothing was done here"):
        watchkeeper.once(lambda: pytest.fail("done twice"), tool="t", wait_s=0.0, **NAMES)


def test_an_unknown_one_is_not_done_again(ledger: Ledger) -> None:
    ledger({"status": "unknown"})
    with pytest.raises(watchkeeper.EffectUnknown, match="effects settle eff_1") as caught:
        watchkeeper.once(lambda: pytest.fail("done twice"), tool="t", **NAMES)
    assert caught.value.effect_id == "eff_1"


def test_a_status_that_finds_nothing_lets_it_be_done(ledger: Ledger) -> None:
    asked = ledger({"status": "unknown"}, {"status": "failed"}, {"granted": True, "status": "planned"}, {})
    assert watchkeeper.once(lambda: 5, tool="t", status=lambda key: None, **NAMES) == 5
    assert [said.get("status") for _, said in asked] == [None, "failed", None, "done"]


@pytest.mark.parametrize("error", [Unreachable("no"), NotAccepted(409, "The run was cancelled.")])
def test_without_the_ledgers_word_nothing_is_done(ledger: Ledger, error: Exception) -> None:
    ledger(error)
    with pytest.raises(watchkeeper.Denied):
        watchkeeper.once(lambda: pytest.fail("done"), tool="t", **NAMES)


def test_a_block_that_raises_leaves_it_unknown_unless_it_says_otherwise(ledger: Ledger) -> None:
    asked = ledger({"granted": True, "status": "planned"}, {}, {"granted": True, "status": "planned"}, {})
    with pytest.raises(TimeoutError), watchkeeper.effect("t", **NAMES):
        raise TimeoutError
    with pytest.raises(TimeoutError), watchkeeper.effect("t", **NAMES) as act:
        act.failed("refused before it was sent")
        raise TimeoutError
    assert [said["status"] for path, said in asked if path == "settle"] == ["unknown", "failed"]


def test_key_and_names_do_not_mix() -> None:
    with pytest.raises(TypeError, match="either key="):
        watchkeeper.effect("t", "k", **NAMES)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="either key="):
        watchkeeper.effect("t", run="r")  # type: ignore[call-overload]
