"""The API answers every named question, gives exact bytes back, and says mistakes in one shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import TRACE, House
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.queries.registry import QUESTIONS, parameters
from watchkeeper.server.inside import call
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


def required(name: str) -> str:
    """A query string with something for each required parameter."""
    one_of = ["text=x"] if name == "body_rate" else []
    return "&".join(one_of + [f"{each.name}=x" for each in parameters(QUESTIONS[name]) if each.required])


@pytest.mark.parametrize("name", sorted(QUESTIONS))
async def test_every_question_is_answered(house: House, name: str) -> None:
    got = await ask(store_app(house.parts()), f"/api/v1/{name}?{required(name)}")
    assert got.status == 200, got.text
    json.loads(got.body)


async def test_the_index_lists_the_questions_with_their_parameters(house: House) -> None:
    items = json.loads((await ask(store_app(house.parts()), "/api/v1")).body)["items"]
    traces = next(item for item in items if item["name"] == "traces")
    assert "since" in [each["name"] for each in traces["parameters"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/nope", b"", 404, "unknown_question"),
        ("GET", "/api/v1/traces?since=bad", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/traces?colour=red", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/trace", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/traces?cursor=9223372036854775808", b"", 400, "bad_parameter"),
        ("GET", f"/api/v1/spans/{TRACE}/ffffffffffffffff", b"", 404, "not_found"),
        ("GET", f"/api/v1/spans/{7:016x}/bodies/nope", b"", 404, "no_such_payload"),
        ("GET", "/api/v1/incidents/inc_9", b"", 404, "not_found"),
        ("POST", "/api/v1/incidents/inc_9/resolve", b"{}", 404, "not_found"),
        ("POST", "/api/v1/incidents/inc_1/explode", b"{}", 404, "unknown_action"),
        ("POST", "/api/v1/incidents/inc_1/note", b"{}", 400, "empty_note"),
        ("POST", "/api/v1/incidents/inc_1/note", b"{", 400, "bad_body"),
        ("POST", "/api/v1/incidents/inc_1/note", b'{"note": 3}', 400, "bad_body"),
        ("GET", "/api/v1/reports/nope", b"", 404, "unknown_report"),
        ("GET", "/api/v1/replies", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/replies?version=model:m&limit=0", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/replies?version=model:m&since=soon", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/replies?version=manifest:aaaaaaaaaa", b"", 400, "bad_parameter"),
        ("GET", "/api/v1/keys", b"", 501, "not_available"),
        ("POST", "/api/v1/policies/backtest", b"{}", 501, "not_available"),
        ("POST", "/api/v1/traces", b"{}", 405, "method"),
    ],
)
async def test_a_mistake_is_answered_in_one_shape(
    house: House, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    got = await ask(store_app(house.parts()), path, method, JSON, body)
    error = json.loads(got.body)["error"]
    assert (got.status, error["code"]) == (status, code)
    assert error["type"].startswith("watchkeeper_")
    assert len(error["message"].split()) > 3


async def test_a_request_comes_back_byte_for_byte(house: House) -> None:
    odd = b'{"model":"m",  "messages":[{"role":"user","content":"<script>\\u202e"}]}'
    span = await house.call(77, [{"role": "user", "content": "x"}], {"content": "y"})
    exact = house.journal.put(odd, "request")
    span = type(span)(**{**{f: getattr(span, f) for f in span.__struct_fields__}, "bodies": (exact,), "revision": 2})
    await house.record(span)
    got = await ask(store_app(house.parts()), f"/api/v1/spans/{77:016x}/request")
    assert got.body == odd
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["x-content-type-options"] == "nosniff"


async def test_a_whole_span_has_its_messages_and_bodies(house: House) -> None:
    whole = json.loads((await ask(store_app(house.parts()), f"/api/v1/spans/{TRACE}/{7:016x}")).body)
    assert [body["name"] for body in whole["span"]["bodies"]] == ["request", "reply"]
    assert whole["conversation"]["output"][0]["text"].startswith("HAT101")
    assert whole["attributes"]["team"] == "search"


async def test_an_incident_moves_through_its_states(house: House) -> None:
    app = store_app(house.parts())

    async def post(action: str, value: dict[str, Any]) -> dict[str, Any]:
        got = await ask(app, f"/api/v1/incidents/inc_1/{action}", "POST", JSON, json.dumps(value).encode())
        assert got.status == 200, got.text
        moved: dict[str, Any] = json.loads(got.body)
        return moved

    assert (await post("acknowledge", {"note": "mine"}))["incident"]["status"] == "acknowledged"
    assert (await post("note", {"text": "hm"}))["incident"]["timeline"][-1]["text"] == "hm"
    assert len((await post("cases", {}))["cases"]) == 1
    assert (await post("resolve", {}))["incident"]["status"] == "resolved"
    now = json.loads((await ask(app, "/api/v1/incidents/inc_1")).body)
    assert now["incident"]["status"] == "resolved"
    assert now["findings"][0]["estimate"]["n"] == 212
    assert len(json.loads((await ask(app, "/api/v1/incidents/inc_1/cases")).body)["cases"]) == 1


async def test_a_key_is_shown_once_and_never_again(house: House) -> None:
    ring = KeyRing(MemoryCells())
    app = store_app(house.parts(keys=ring))
    made = json.loads((await ask(app, "/api/v1/keys", "POST", JSON, b'{"name": "ci", "expires": "90d"}')).body)
    assert (await ring.check(made["secret"])).key_id == made["id"]
    listed = (await ask(app, "/api/v1/keys")).text
    assert made["id"] in listed
    assert made["secret"].rsplit("-", 1)[1] not in listed
    assert "hash" not in listed
    gone = json.loads((await ask(app, f"/api/v1/keys/{made['id']}/revoke", "POST", JSON, b"{}")).body)
    assert gone["state"] == "revoked"
    assert (await ask(app, "/api/v1/keys/ffffffffff/revoke", "POST", JSON, b"{}")).status == 404
    assert (await ask(app, "/api/v1/keys", "POST", JSON, b'{"name": "ci", "expires": "soon"}')).status == 400


async def test_a_key_makes_and_ends_no_keys(house: House) -> None:
    """A key is bound to a tenant and may be in a program's hands: it must not make itself one for another tenant."""
    ring = KeyRing(MemoryCells())
    app = store_app(house.parts(keys=ring))
    mine = (await ring.create("program", tenant="shop")).key.key_id
    asks = {**JSON, "x-watchkeeper-actor": f"key:{mine}"}
    for path, body in (("keys", b'{"name": "other", "tenant": "bank"}'), (f"keys/{mine}/revoke", b"{}")):
        got = await ask(app, f"/api/v1/{path}", "POST", asks, body)
        assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "role_missing")
    assert (await ask(app, f"/api/v1/keys/{mine}", "DELETE", asks)).status == 403
    assert [(key.key_id, key.revoked_ns) for key in await ring.list()] == [(mine, None)]
    owner = {**JSON, "x-watchkeeper-actor": "key:owner"}
    assert (await ask(app, "/api/v1/keys", "POST", owner, b'{"name": "other"}')).status == 201


async def test_the_same_app_answers_inside_a_process(house: House) -> None:
    status, body = await call(store_app(house.parts()), "GET", "/api/v1/traces?limit=1")
    assert status == 200
    assert len(json.loads(body)["items"]) == 1
    status, body = await call(store_app(house.parts()), "POST", "/api/v1/ingest/flush", b"{}")
    counts = {"frames": 0, "records": 0, "duplicates": 0}
    assert (status, json.loads(body)) == (200, {**counts, "so_far": counts})


async def test_whoever_waits_for_the_index_waits_no_longer_than_asked_and_hears_what_is_left(house: House) -> None:
    going_on, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> dict[str, int]:
        await going_on.wait()
        ended.set()
        return {"frames": 7}

    app = store_app(house.parts(flush=slow, lag=lambda: "the index is 9 s behind"))
    late = await ask(app, "/api/v1/ingest/flush?wait=10ms", "POST", JSON, b"{}")
    assert json.loads(late.body) == {"behind": "the index is 9 s behind"}
    going_on.set()
    await ended.wait()  # what was begun goes on
    assert json.loads((await ask(app, "/api/v1/ingest/flush?wait=5s", "POST", JSON, b"{}")).body) == {"frames": 7}
    wrong = await ask(app, "/api/v1/ingest/flush?wait=soon", "POST", JSON, b"{}")
    assert (wrong.status, json.loads(wrong.body)["error"]["param"]) == (400, "wait")
