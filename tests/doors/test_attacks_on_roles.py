"""What somebody with a key or a session of little reach tries through the front door of a real server."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings
from watchkeeper.server.callers import Level
from watchkeeper.server.roles import ACCESS

pytestmark = [pytest.mark.door, pytest.mark.slow]

SAID = "only-the-bank-knows-0815"
NAMES = {f"X-Watchkeeper-{name}": f"{SAID}-{name}" for name in ("Session", "Run", "User", "Agent")}
WITH_A_KEY_MAY = {"POST /api/v1/jobs", "POST /api/v1/runs/{run:path}/cancel", "POST /api/v1/effects/{rest:path}"}
"""Where the scopes of a key say more than the table, which is about people: see `engines/jobs/rights.py`."""


class Who(NamedTuple):
    """A key, how far it reaches by its scopes, and whether it is bound to its tenant."""

    secret: str
    level: Level
    bound: bool


class House:
    """A server that asks for keys, before the lab, with traffic of the tenant "bank"."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.owner = self.key("owner", "--all-tenants", "--scope", "admin", "--scope", "call", "--scope", "ingest")
        self.bank = self.key("bank", "--tenant", "bank")
        self.shop = [
            Who(self.key("call", "--tenant", "shop", "--scope", "call"), Level.NONE, True),
            Who(self.key("call-all", "--all-tenants", "--scope", "call"), Level.NONE, False),
            Who(self.key("read", "--tenant", "shop", "--scope", "read"), Level.VIEWER, True),
            Who(self.key("read-all", "--all-tenants", "--scope", "read"), Level.VIEWER, False),
            Who(self.key("operate", "--tenant", "shop", "--scope", "operate"), Level.OPERATOR, True),
            Who(self.key("operate-all", "--all-tenants", "--scope", "operate"), Level.OPERATOR, False),
        ]
        self._connection: http.client.HTTPConnection | None = None

    def key(self, *words: str) -> str:
        return str(self.watch.cli("key", "create", *words)["secret"])

    def ask(
        self, method: str, path: str, secret: str | None, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """One request over a connection that stays."""
        if self._connection is None:
            host, _, port = self.watch.listen.rpartition(":")
            self._connection = http.client.HTTPConnection(host, int(port), timeout=60)
        sent = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if secret is not None:
            sent["X-Watchkeeper-Key"] = secret
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        data = response.read()
        if response.will_close:
            self._connection = None
        return response.status, data, {name.lower(): value for name, value in response.getheaders()}

    def json(self, method: str, path: str, secret: str, value: Any = None, **headers: str) -> Any:
        body = None if value is None else json.dumps(value).encode()
        status, data, _ = self.ask(method, path, secret, body, **headers)
        assert status < 400, (path, data)
        return json.loads(data)

    def raw(self, data: bytes) -> bytes:
        """What is answered to these bytes, until the connection ends or says nothing more."""
        host, _, port = self.watch.listen.rpartition(":")
        got = b""
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(data)
            try:
                while piece := connection.recv(65_536):
                    got += piece
            except (TimeoutError, ConnectionResetError):
                pass
        return got


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    anything = Rule(name="anything", when=When(), answer=SAID)
    with LabServer(LabConfig(rules=(anything,))) as lab:
        policies = '\n[[policies]]\nuse = "budget"\nwith = { per = "user", usd = 5 }\n[[policies]]\nuse = "loop"\n'
        settings = lab_settings(lab.base_url) + policies
        with Watch(tmp_path_factory.mktemp("roles"), settings, server="require_keys = true\n") as watch:
            yield House(watch)


def _may(who: Who, address: str) -> bool:
    access = ACCESS[address]
    return address in WITH_A_KEY_MAY or (who.level >= access.level and not (access.house and who.bound))


def _writings(path: str) -> list[str]:
    """The path of an address with an id in it, and other writings of it."""
    plain = re.sub(r"\{[^}]*\}", "x", path)
    deep = re.sub(r"\{[^}]*\}", "%252e%252e%252fx", path)
    return [plain, plain + "/", "/" + plain, plain + ";a=b", plain + "?role=admin&tenant=bank", deep]


def test_no_role_gets_further_through_the_front_than_its_line_says(house: House) -> None:
    claimed = {"X_Watchkeeper_Role": "admin", "X_Watchkeeper_Actor": "key:owner", "X_HTTP_Method_Override": "DELETE"}
    for address in ACCESS:
        method, _, path = address.partition(" ")
        form = path.startswith("/ui")
        media = "application/x-www-form-urlencoded" if form else "application/json"
        for who in house.shop:
            for written in _writings(path):
                body = None if method == "GET" else b"csrf=x" if form else b"{}"
                status, data, _ = house.ask(method, written, who.secret, body, **claimed, Content_Type=media)
                assert status < 500, (address, written, data)
                if not _may(who, address):
                    assert status in (401, 403, 404, 405, 415) or (status == 303 and written.endswith("/")), (
                        address, written, who, status, data[:200],
                    )  # fmt: skip


def test_no_other_method_does_what_the_lines_method_may_not(house: House) -> None:
    for address in ACCESS:
        path = address.partition(" ")[2]
        written = _writings(path)[0]
        for who in house.shop:
            head = house.ask("HEAD", written, who.secret)[0]
            assert head >= 400 or head == house.ask("GET", written, who.secret)[0], (written, who)
            for other in ("OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND"):
                line = f"{other} {path}"
                body = b"{}" if other in ("PUT", "PATCH") else None
                status, data, _ = house.ask(other, written, who.secret, body)
                assert status < 500, (other, written, data)
                if line not in ACCESS or not _may(who, line):
                    assert status in (401, 403, 404, 405, 415), (other, written, who, status)


def test_a_path_without_its_end_is_led_to_by_its_path_alone(house: House) -> None:
    status, _, headers = house.ask("GET", "/ui/traces/", house.owner, Host="localhost")
    assert (status, headers["location"]) == (303, "/ui/traces")


@pytest.mark.parametrize(
    "path",
    ["/internal/metrics", "/internal/ready", "/%69nternal/metrics", "/ui/../internal/metrics", "/internal/ready/"],
)
def test_what_the_processes_tell_each_other_is_told_to_nobody_else(house: House, path: str) -> None:
    for secret in (house.shop[0].secret, house.owner):
        assert house.ask("GET", path, secret)[0] == 404


@pytest.fixture(scope="module")
def secrets_of_the_bank(house: House) -> dict[str, str]:
    """Something of everything, made by the tenant "bank": each kind with its id."""
    talk = {"model": "lab-small", "messages": [{"role": "user", "content": SAID}], "max_tokens": 20}
    status, _, told = house.ask("POST", "/v1/chat/completions", house.bank, json.dumps(talk).encode(), **NAMES)
    assert status == 200
    trace, span = told["x-watchkeeper-trace"], told["x-watchkeeper-span"]
    claim = {"run": SAID, "step": "1", "tool": SAID, "object": SAID, "claim": "c" * 20, "lease_s": 60, "detail": SAID}
    effect = house.json("POST", "/api/v1/effects/claim", house.bank, claim)["effect_id"]
    job = house.json("POST", "/api/v1/jobs", house.bank, {"request": {"path": "/v1/chat/completions", "body": talk}})[
        "id"
    ]
    score = {"subject_kind": "trace", "subject_id": trace, "name": SAID, "value": 0.5}
    house.json("POST", "/api/v1/scores", house.bank, score)
    response = house.json("POST", "/v1/responses", house.bank, {"model": "lab-small", "input": SAID})["id"]
    house.json("POST", "/api/v1/ingest/flush", house.owner, {})
    return {"trace": trace, "span": span, "effect": effect, "job": job, "response": response}


def test_the_rows_of_another_tenant_are_nowhere(house: House, secrets_of_the_bank: dict[str, str]) -> None:
    known = secrets_of_the_bank
    trace, span, job = known["trace"], known["span"], known["job"]
    questions = [each["name"] for each in house.json("GET", "/api/v1", house.owner)["items"]]
    paths = [f"/api/v1/{name}?since=30d" for name in questions] + [f"/api/v1/{name}" for name in questions]
    paths += [f"/api/v1/spans/{trace}/{span}", f"/api/v1/spans/{span}/request?trace={trace}"]
    paths += [f"/api/v1/spans/{span}/bodies/reply", f"/api/v1/lineage?trace_id={trace}"]
    paths += [f"/api/v1/trace?trace_id={trace}", f"/api/v1/scores?subject={trace}"]
    paths += [f"/api/v1/body_rate?text={SAID}", f"/api/v1/search?since=30d&text={SAID}"]
    paths += [f"/api/v1/jobs/{job}", f"/api/v1/jobs/{job}/events", f"/api/v1/effects/{known['effect']}"]
    paths += [f"/v1/responses/{known['response']}", f"/ui/search?since=all&text={SAID}", "/ui/search?text=knows"]
    pages = ("traces", "sessions", "decisions", "documents", "jobs", "effects")
    paths += [f"/ui/{page}?since=all" for page in pages] + [f"/ui/traces/{trace}", f"/ui/traces/{trace}/{span}"]
    paths += [f"/ui/traces/{trace}/lineage", f"/ui/jobs/{job}", f"/ui/effects/{known['effect']}"]
    paths += [f"/api/v1/reports/{name}?subject={about}" for name in ("evidence", "incident", "tokens")
              for about in (f"trace:{trace}", f"session:{SAID}-Session", "last:30d", "tenant:bank")]  # fmt: skip
    shown = 0
    for path in paths:
        hidden = [each for each in (SAID, *known.values()) if each not in path]
        for who in house.shop:
            if not who.bound:
                continue
            _, data, _ = house.ask("GET", path, who.secret, Accept="text/html" if path.startswith("/ui") else "*/*")
            assert not [each for each in hidden if each.encode() in data], (path, who)
        data = house.ask("GET", path, house.owner, Accept="text/html" if path.startswith("/ui") else "*/*")[1]
        shown += any(each.encode() in data for each in hidden)
    assert shown > 15  # the owner sees the bank's in as many places, so that there was something to hide


@pytest.mark.parametrize(
    "name", ["X-Watchkeeper-Key", "X-Watchkeeper-User", "Authorization", "Idempotency-Key", "Host"]
)
def test_a_header_on_which_something_rests_is_not_sent_twice(house: House, name: str) -> None:
    sent = f"GET /api/v1/keys HTTP/1.1\r\nHost: {house.watch.listen}\r\nX-Watchkeeper-Key: {house.shop[0].secret}\r\n"
    twice = "" if name in ("X-Watchkeeper-Key", "Host") else f"{name}: one\r\n"
    answer = house.raw(f"{sent}{twice}{name}: {house.owner}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ") and (b"header_twice" in answer or b"two_hosts" in answer)


LENGTHS = [b"+2", b"-2", b"0x2", b"2_0", b"2, 2", b"2;2", "٢".encode(), b"9" * 40]
FRAMINGS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
    b'Transfer-Encoding: chunked\r\n\r\n2;a="\r\n"\r\n{}\r\n0\r\n\r\n',
    b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"X-A: b\r\n Content-Length: 2\r\n\r\n{}",
    b"X-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}",
    b"X-A: b\rX-Watchkeeper-Role: admin\r\nContent-Length: 2\r\n\r\n{}",
    b"X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
    *(b"Content-Length: " + length + b"\r\n\r\n{}" for length in LENGTHS),
]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_hides_behind_a_doubtful_length_is_never_answered(house: House, framing: bytes) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {house.watch.listen}\r\n"
    head += f"X-Watchkeeper-Key: {house.shop[0].secret}\r\nContent-Type: application/json\r\n"
    smuggled = f"GET /api/v1/keys HTTP/1.1\r\nHost: {house.watch.listen}\r\nX-Watchkeeper-Key: {house.owner}\r\n\r\n"
    answer = house.raw(head.encode() + framing + smuggled.encode())
    statuses = re.findall(rb"^HTTP/1.1 (\d)", answer, re.MULTILINE)
    assert statuses in ([], [b"4"], [b"5"]), answer[:300]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET http://evil.example/api/v1/keys HTTP/1.1", b"403"),
        ("CONNECT evil.example:443 HTTP/1.1", b"400"),
        ("GET /v1/models", b"505"),
        ("GET /v1/models HTTP/1.2", b"400"),
        ("PRI * HTTP/2.0", b"400"),
        ("get /v1/models HTTP/1.1", b"400"),
        ("GET /v1/..%2fapi%2fv1%2fkeys HTTP/1.1", b"404"),
        ("GET //v1/..%2fapi/v1/keys HTTP/1.1", b"404"),
        ("GET /v1/%2e%2e/api/v1/keys HTTP/1.1", b"404"),
        ("GET /api/v1/keys%00 HTTP/1.1", b"403"),
        ("GET /api/v1/%6beys HTTP/1.1", b"403"),
        ("GET /healthz/../api/v1/keys HTTP/1.1", b"404"),
        ("GET /ui/static/../../api/v1/keys HTTP/1.1", b"404"),
        ("GET /ui/static/..%2f..%2fpages.py HTTP/1.1", b"404"),
        ("GET /ui/static/..%5c..%5cpages.py HTTP/1.1", b"404"),
        ("GET /ui/signin/../keys HTTP/1.1", b"404"),
        ("GET /v1/files/%0d%0aX-Injected:%20y HTTP/1.1", b"404"),
        ("TRACE /api/v1/keys HTTP/1.1", b"405"),
    ],
)
def test_no_writing_of_the_first_line_leads_past_the_guard(house: House, line: str, expected: bytes) -> None:
    rest = f"\r\nHost: {house.watch.listen}\r\nX-Watchkeeper-Key: {house.shop[0].secret}\r\n"
    answer = house.raw(f"{line}{rest}Content-Type: application/json\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] == expected, answer[:200]


def test_a_key_that_is_wrong_is_repeated_nowhere(house: House) -> None:
    wrong = "wk-0123456789-" + "f00d" * 12
    places = [
        {"X_Watchkeeper_Key": wrong},
        {"Authorization": f"Bearer {wrong}"},
        {"api_key": wrong},
        {"x_api_key": wrong},
    ]
    said = b""
    for path in ("/v1/models", "/api/v1/traces", "/ui/traces", "/metrics", f"/v1/models?key={wrong}"):
        for place in places:
            status, data, headers = house.ask("GET", path, None, Accept="text/html", **place)
            assert status in (303, 401), (path, place)
            said += data + str(headers).encode()
    for path in ("/v1/traces", "/api/v1/decide", "/api/v1/jobs", "/v1/chat/completions"):
        for place in places:
            status, data, headers = house.ask("POST", path, None, b"{}", **place)
            assert status == 401, (path, place)
            said += data + str(headers).encode()
    log = (house.watch.folder / "serve.log").read_bytes()
    assert b"f00d" not in said + log + house.ask("GET", "/api/v1/audits", house.owner)[1]


@pytest.mark.parametrize("value", ["", " ", "wk-", "wko-", "x" * 60_000, "wk-ä", "wk-0123456789-" + "0" * 5_000])
def test_an_odd_key_is_refused_in_words(house: House, value: str) -> None:
    sent = f"GET /api/v1/traces HTTP/1.1\r\nHost: {house.watch.listen}\r\nX-Watchkeeper-Key: {value}\r\n\r\n"
    answer = house.raw(sent.encode())
    assert answer.split(b" ", 2)[1] == b"401" and b'"code"' in answer, answer[:200]
