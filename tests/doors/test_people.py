"""Keys, people and roles on a real server; no secret of it comes out of any page, answer, metric, command or log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings
from watchkeeper.queries.registry import QUESTIONS
from watchkeeper.server.roles import ACCESS

pytestmark = [pytest.mark.door, pytest.mark.slow]
PLANTED = "planted-provider-secret-of-no-known-form-8842"
SAID = {"model": "lab-small", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PLANTED_PROVIDER", PLANTED)
    rule = Rule(name="short", when=When(model="*"), answer="It is short.")
    with LabServer(LabConfig(rules=(rule,))) as lab:
        settings = lab_settings(lab.base_url).replace('credential = "none"', 'credential = "env:PLANTED_PROVIDER"')
        assert "PLANTED_PROVIDER" in settings
        running = Watch(tmp_path_factory.mktemp("people"), settings)
        with running:
            yield running
    patch.undo()


def call(watch: Watch, secret: str) -> int:
    return watch.http("POST", "/v1/chat/completions", SAID, headers={"X-Watchkeeper-Key": secret}).status


def signed_in(watch: Watch, name: str, password: str) -> str:
    page = watch.http("GET", "/ui/signin")
    visit = page.headers["set-cookie"].split(";")[0]
    token = re.findall(rb'name="csrf" value="([^"]+)"', page.body)[0].decode()
    body = urlencode({"name": name, "password": password, "csrf": token, "next": "/"}).encode()
    got = watch.http("POST", "/ui/signin", body, headers={**FORM, "Cookie": visit})
    assert got.status == 303, got.body
    found = re.search(r"wk_session=[^;,]+", got.headers["set-cookie"])
    return found[0] if found else ""


def test_a_keys_limit_holds_for_calls_at_the_same_moment(watch: Watch) -> None:
    made = watch.cli("key", "add", "limited", "--limit", "calls=7/day")
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: call(watch, made["secret"]), range(48)))
    assert (answers.count(200), answers.count(403)) == (7, 41)


def test_a_rotated_key_goes_on_for_its_overlap_and_models_are_kept_to(watch: Watch) -> None:
    made = watch.cli("key", "add", "turning", "--model", "lab-small")
    fresh = watch.cli("keys", "rotate", made["id"], "--overlap", "1h")
    assert [call(watch, each["secret"]) for each in (made, fresh)] == [200, 200]
    last = watch.cli("key", "rotate", made["id"])
    time.sleep(1.0)
    assert [call(watch, each["secret"]) for each in (made, fresh, last)] == [401, 401, 200]
    headers = {"X-Watchkeeper-Key": last["secret"]}
    got = watch.http("POST", "/v1/chat/completions", SAID | {"model": "lab-large"}, headers=headers)
    assert json.loads(got.body)["error"]["code"] == "model_not_allowed"
    assert watch.cli("key", "show", made["id"])["models"] == ["lab-small"]


def test_people_sign_in_with_roles_and_the_trail_knows(watch: Watch) -> None:
    admin = watch.cli("people", "add", "root", "--role", "admin")
    viewer = watch.cli("people", "add", "vera", "--tenant", "shop")
    assert watch.http("GET", "/api/v1/traces").status == 401
    mine = signed_in(watch, "vera", viewer["password"])
    assert watch.http("GET", "/ui/traces", headers={"Cookie": mine}).status == 200
    assert watch.http("GET", "/ui/keys", headers={"Cookie": mine}).status == 403
    root = signed_in(watch, "root", admin["password"])
    assert b"vera" in watch.http("GET", "/ui/people", headers={"Cookie": root}).body
    watch.cli("people", "role", "vera", "operator", "--tenant", "shop")
    assert watch.http("GET", "/ui/traces", headers={"Cookie": mine}).status == 401
    watch.command("search", "nothing")
    acts = {each["act"] for each in watch.cli("ask", "audits", "limit=100")["items"]}
    assert {"person.added", "person.role_changed", "signin", "key.created", "key.rotated"} <= acts


def test_no_secret_comes_out_of_anything(watch: Watch) -> None:
    key = watch.cli("key", "add", "planted", "--scope", "admin", "--scope", "call", "--all-tenants")
    person = watch.cli("people", "add", "planted", "--role", "admin")
    hidden = {PLANTED, key["secret"].rpartition("-")[2], person["password"]}
    assert call(watch, key["secret"]) == 200
    shown = {"X-Watchkeeper-Key": key["secret"], "Accept": "text/html"}
    outputs = [
        watch.http("GET", path, headers=shown).body for path in ("/metrics", "/readyz", "/healthz", "/ui/signin")
    ]
    outputs.append(watch.http("GET", "/metrics", headers=shown | {"Accept": "application/openmetrics-text"}).body)
    spans = json.loads(watch.http("GET", "/api/v1/spans?limit=1", headers=shown).body)["items"]
    for address in ACCESS:
        method, _, path = address.partition(" ")
        for name in ("trace_id", "span_id"):
            path = path.replace("{" + name + "}", spans[0][name])
        path = path.replace("{key_id}", key["id"]).replace("{name}", "request")
        for each in [path.replace("{question}", name) for name in QUESTIONS] if "{question}" in path else [path]:
            answer = watch.http(method, each, {} if method != "GET" else None, headers=shown if method == "GET" else {})
            outputs += [answer.body, repr(answer.headers).encode()]
    for path, body in (("/v1/chat/completions", b"{"), ("/v1/nothing", b"{}"), ("/api/v1/keys", b"[]")):
        outputs.append(watch.http("POST", path, body, headers={"X-Watchkeeper-Key": key["secret"]}).body)
    for words in (("key", "list"), ("people", "list"), ("ask", "audits"), ("ask", "spans"), ("doctor",), ("verify",)):
        done = watch.command(*words)
        outputs += [done.stdout, done.stderr]
    outputs += [path.read_bytes() for path in Path(watch.folder).glob("*.log")]
    assert len(outputs) > 150
    for secret in hidden:
        assert not [each[:200] for each in outputs if secret.encode() in each]
