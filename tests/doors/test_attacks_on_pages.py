"""What a web page elsewhere, or a text that a model or a caller wrote, tries with the pages of a real server."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, urlencode

import pytest

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Answer, Watch, lab_settings
from watchkeeper.server.roles import ACCESS

pytestmark = [pytest.mark.door, pytest.mark.slow]

EVIL = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'`{{7*7}}</title><svg/onload=alert(3)>"
MARKS = ("<img src=x", "<script>alert", "<svg/onload")
FORM = "application/x-www-form-urlencoded"
PAGES = ("traces", "sessions", "decisions", "documents", "jobs", "effects", "experiments", "reports")


class Site(NamedTuple):
    """A server on whose pages hostile names stand, and the session of an admin."""

    watch: Watch
    password: str
    session: str

    def get(self, path: str) -> Answer:
        """A page as the admin's browser gets it."""
        return self.watch.http("GET", path, headers={"Accept": "text/html", "Cookie": self.session})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """A form as a browser sends it; `headers` replace those of the browser."""
        sent = {"Content-Type": FORM, "Origin": self.watch.root_url, "Cookie": self.session}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.watch.http("POST", path, urlencode(fields).encode(), headers=sent)


def _sign_in(watch: Watch, name: str, password: str, next_path: str = "/") -> Answer:
    page = watch.http("GET", "/ui/signin")
    token = re.findall(rb'name="csrf" value="([^"]+)"', page.body)[0].decode()
    body = urlencode({"name": name, "password": password, "csrf": token, "next": next_path}).encode()
    headers = {"Content-Type": FORM, "Cookie": page.headers["set-cookie"].split(";")[0]}
    return watch.http("POST", "/ui/signin", body, headers=headers)


def _session(answer: Answer) -> str:
    found = re.search(r"wk_session=[^;,]+", answer.headers["set-cookie"])
    assert found is not None
    return found[0]


def _attribute(name: str, value: str) -> dict[str, object]:
    return {"key": name, "value": {"stringValue": value}}


def _soil(watch: Watch, lab: LabServer) -> None:
    """Put the hostile text wherever a caller, a model or an owner may put a text."""
    bound = ("--tenant", EVIL, "--user", EVIL, "--team", EVIL, "--model", "lab-*", "--model", EVIL)
    secret = watch.cli("key", "create", EVIL, *bound)["secret"]
    headers = {f"X-Watchkeeper-{name}": EVIL for name in ("Session", "Run", "User", "Agent")}
    headers["X-Watchkeeper-Key"] = secret
    call = {"id": EVIL, "type": "function", "function": {"name": EVIL, "arguments": json.dumps({EVIL: EVIL})}}
    messages = [
        {"role": "system", "content": EVIL},
        {"role": "user", "content": EVIL},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": EVIL, "content": EVIL},
    ]
    tool = {"type": "function", "function": {"name": EVIL, "description": EVIL, "parameters": {}}}
    for model in ("lab-small", f"lab-{EVIL}", EVIL):
        body = {"model": model, "messages": messages, "max_tokens": 50, "tools": [tool], "metadata": {EVIL: EVIL}}
        watch.http("POST", "/v1/chat/completions", body, headers=headers)
    claim = {"run": EVIL, "step": EVIL, "tool": EVIL, "object": EVIL, "claim": "c" * 20, "lease_s": 60, "detail": EVIL}
    assert watch.http("POST", "/api/v1/effects/claim", claim, headers=headers).status == 200
    job = {"name": EVIL[:60], "request": {"path": "/v1/chat/completions", "body": body | {"model": "lab-small"}}}
    watch.http("POST", "/api/v1/jobs", job, headers=headers)
    score = {"subject_kind": "trace", "subject_id": "a" * 32, "name": EVIL, "label": EVIL, "explanation": EVIL}
    watch.http("POST", "/api/v1/scores", score, headers=headers)
    names = ("request.model", "provider.name", "agent.name", "conversation.id", "tool.name")
    told = [_attribute(EVIL, EVIL), _attribute("gen_ai.operation.name", "chat")]
    told += [_attribute(f"gen_ai.{name}", EVIL) for name in names]
    said = [{"role": EVIL, "parts": [{"type": "text", "content": EVIL}, {"type": EVIL, "content": EVIL}]}]
    told.append(_attribute("gen_ai.input.messages", json.dumps(said)))
    event = {"name": EVIL, "timeUnixNano": "1790000000000000000", "attributes": [_attribute(EVIL, EVIL)]}
    span = {
        "traceId": "a" * 32, "spanId": "b" * 16, "name": EVIL, "kind": 3, "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000001000000000", "attributes": told, "events": [event],
        "status": {"code": 2, "message": EVIL},
    }  # fmt: skip
    resource = {"attributes": [_attribute("service.name", EVIL)]}
    export = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": EVIL}, "spans": [span]}]}]}
    assert watch.http("POST", "/v1/traces", export, headers={"X-Watchkeeper-Key": secret}).status == 200
    cases = [{"id": f"{EVIL}{n}", "input": EVIL, "expected": EVIL} for n in range(3)]
    (watch.folder / "evil.jsonl").write_text("\n".join(map(json.dumps, cases)))
    target = {"base_url": lab.base_url, "model": "lab-small", "parameters": {"max_tokens": 50}}
    suite = {"name": EVIL[:80], "dataset": "evil.jsonl", "target": target, "scorers": [{"use": "exact"}]}
    (watch.folder / "evil.yaml").write_text(json.dumps(suite))
    for model in ("lab-small", "lab-large"):
        watch.cli("eval", "run", "evil.yaml", "--model", model)
    watch.flush()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rule = Rule(name="anything", when=When(), answer=EVIL)
    with LabServer(LabConfig(rules=(rule,))) as lab:
        settings = lab_settings(lab.base_url) + '\n[[policies]]\nuse = "budget"\nwith = { per = "user", usd = 5 }\n'
        with Watch(tmp_path_factory.mktemp("pages"), settings) as watch:
            _soil(watch, lab)
            password = watch.cli("people", "add", "root", "--role", "admin")["password"]
            answer = _sign_in(watch, "root", password)
            assert answer.status == 303
            yield Site(watch, password, _session(answer))


def test_no_page_lets_a_name_or_a_text_become_markup(site: Site) -> None:
    told = quote(EVIL, safe="")
    left = [f"/ui/{page}?since=all" for page in PAGES] + ["/", "/ui/traces/" + "a" * 32]
    left += [f"/ui/{page}" for page in ("upstreams", "probes", "incidents", "drops", "retention", "audit", "budgets")]
    left += ["/ui/keys", "/ui/people", "/ui/search?since=all&text=onerror", f"/ui/search?text={told}&after={told}"]
    left += [f"/ui/traces?model={told}&service={told}&session={told}&since={told}", f"/ui/decisions?resumed={told}"]
    left += [f"/ui/{page}/{told}" for page in (*PAGES, "incidents", "nothing")] + [f"/ui/documents/view?uri={told}"]
    left += [
        f"/ui/signin?next=/{told}",
        f"/ui/experiments/x?against={told}",
        f"/ui/reports/evidence?subject={told}&since={told}",
    ]
    seen: set[str] = set()
    shown = 0
    while left and len(seen) < 150:
        path = left.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = site.get(path)
        page = answer.body.decode("utf-8", "replace")
        assert answer.status < 500, path
        assert not [mark for mark in MARKS if mark in page], path
        assert not re.search(r'(href|src|action)="(javascript|data|//|http)', page.replace(site.watch.root_url, "")), (
            path
        )
        shown += "onerror=alert(1)" in html.unescape(page)
        if "text/html" in answer.headers.get("content-type", ""):
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
            assert "'unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "DENY" and answer.headers["x-content-type-options"] == "nosniff"
        left += [html.unescape(each) for each in re.findall(r'href="(/ui/[^"#]*)"', page) if "/static/" not in each]
    assert shown > 20
    assert any(path.startswith("/ui/experiments/exp") for path in seen)


FORMS = [address.partition(" ")[2] for address in ACCESS if address.startswith("POST /ui/")]


@pytest.mark.parametrize("path", FORMS)
def test_no_form_is_taken_that_another_page_could_have_sent(site: Site, path: str) -> None:
    path = re.sub(r"\{[^}]*\}", "x", path)
    own = re.search(rb'name="csrf" value="([^"]+)"', site.get("/ui/keys").body)
    assert own is not None
    right = {"csrf": own[1].decode(), "name": "made-by-another", "role": "admin", "scope": "admin", "run": "x"}
    other = re.search(rb'name="csrf" value="([^"]+)"', site.watch.http("GET", "/ui/signin").body)
    assert other is not None
    answers = [
        site.post(path, {**right, "csrf": ""}),
        site.post(path, {**right, "csrf": other[1].decode()}),
        site.post(path, right, Origin="https://evil.example"),
        site.post(path, right, Origin="null"),
        site.post(path, right, Sec_Fetch_Site="same-site"),
        site.post(path, right, Sec_Fetch_Site="cross-site"),
        site.post(path, right, Content_Type="text/plain"),
        site.post(path, right, Content_Type="multipart/form-data; boundary=x"),
        site.post(path, right, Host="evil.example"),
    ]
    assert [each.status for each in answers if each.status not in (403, 404, 405, 415, 421)] == []
    site.get(f"{path}?{urlencode(right)}")
    assert b"made-by-another" not in site.get("/ui/people").body + site.get("/ui/keys").body


def test_a_session_alone_changes_nothing_through_the_api(site: Site) -> None:
    for media in ("application/json", "text/plain", FORM):
        headers = {"Content-Type": media, "Cookie": site.session}
        for more in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = site.watch.http("POST", "/api/v1/keys", {"name": "x"}, headers=headers | more)
            assert answer.status in (403, 415), (media, more)


@pytest.mark.parametrize(
    "where",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/%2f%2fevil.example", "/\t/evil.example",
     "javascript:alert(1)", "/.//evil.example", "///evil.example", "/ui/traces\r\nSet-Cookie: a=b", "@evil.example"],
)  # fmt: skip
def test_signing_in_leads_to_a_path_of_this_server_alone(site: Site, where: str) -> None:
    answer = _sign_in(site.watch, "root", site.password, where)
    assert answer.status == 303
    assert re.match(r"/(?![/\\])[!-~]*\Z", answer.headers["location"]), answer.headers["location"]
    assert "a=b" not in answer.headers["set-cookie"]


def test_a_session_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    given = _sign_in(site.watch, "root", site.password).headers["set-cookie"]
    assert "HttpOnly" in given and "SameSite=Strict" in given
    secure = {"Host": "localhost", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    assert "Secure" in site.watch.http("GET", "/ui/signin", headers=secure).headers["set-cookie"]
