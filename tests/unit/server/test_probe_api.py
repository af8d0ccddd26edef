"""Probes through the API: whoever asks a round spends the owner's money, so only the owner may."""

from __future__ import annotations

import json

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import House
from watchkeeper.engines.monitoring.probes import Probe, Prober
from watchkeeper.records.record import Record
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
PROBE = Probe(name="colour", model="m", messages='[{"role":"user","content":"Colour?"}]', parameters={})


async def test_only_the_owner_asks_probes_and_accepts_their_answers(house: House) -> None:
    kept: list[Record] = []
    looked: list[int] = []

    def nobody() -> None:
        looked.append(1)

    app = store_app(house.parts(prober=Prober((PROBE,), nobody, kept.append, lambda: 5)))
    caller = {**JSON, "x-watchkeeper-actor": "key:0123456789"}
    for path in ("run", "colour/accept"):
        got = await ask(app, f"/api/v1/probes/{path}", "POST", caller, b"{}")
        assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "role_missing")
    assert (kept, looked) == ([], [])
    assert (await ask(app, "/api/v1/probes", headers={**caller, "x-watchkeeper-role": "viewer"})).status == 200
    assert (await ask(app, "/api/v1/probes/colour/accept", "POST", JSON, b"{}")).status == 200
    assert (await ask(app, "/api/v1/probes/nope/accept", "POST", JSON, b"{}")).status == 404
    assert (await ask(app, "/api/v1/probes/run", "POST", JSON, b'{"rounds": 201}')).status == 400
    assert len(kept) == 2
