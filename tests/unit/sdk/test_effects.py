"""An effect is written down before it happens, and what came of it after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import watchkeeper
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.connection import Unreachable

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """What was posted at once and what was queued, in order."""
    items: Told = []
    client = current_client()
    monkeypatch.setattr(client.connection, "post", lambda path, value: items.append(("at once", value)))
    monkeypatch.setattr(client, "send", lambda path, value: items.append(("queued", value)))
    yield items


def test_the_plan_is_written_before_and_the_end_after(told: Told) -> None:
    with watchkeeper.effect("refund", key="run/1", target="order-7", amount_usd=12.5, reversible=False) as effect:
        assert [(how, each["status"]) for how, each in told] == [("at once", "planned")]
        effect.detail("accepted")
    assert [(how, each["status"]) for how, each in told] == [("at once", "planned"), ("queued", "done")]
    assert {each["id"] for _, each in told} == {effect.effect_id}
    assert {each["at"] for _, each in told} == {told[0][1]["at"]}
    assert told[1][1]["detail"] == "accepted"


def test_an_effect_that_fails_is_settled_as_failed(told: Told) -> None:
    with pytest.raises(ZeroDivisionError), watchkeeper.effect("refund", key="k"):
        raise ZeroDivisionError
    assert (told[-1][1]["status"], told[-1][1]["detail"]) == ("failed", "ZeroDivisionError")


def test_an_effect_can_be_taken_back_later(told: Told) -> None:
    with watchkeeper.effect("refund", key="k") as effect:
        pass
    effect.undone()
    assert [each["status"] for _, each in told] == ["planned", "done", "undone"]


def test_without_a_server_it_goes_on_or_does_not_as_wanted(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(path: str, value: Any) -> None:
        raise Unreachable("nobody is there")

    monkeypatch.setattr(current_client().connection, "post", away)
    with watchkeeper.effect("refund", key="k"):
        pass
    assert [(how, each["status"]) for how, each in told] == [("queued", "planned"), ("queued", "done")]
    happened = False
    with (
        pytest.raises(watchkeeper.Denied, match="could not be written down"),
        watchkeeper.effect("refund", key="k", required=True),
    ):
        happened = True
    assert not happened
