"""An issuer's word is taken when all of it is right, and for no other reason."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from joserfc.jwk import RSAKey

from tests.issuer import CLIENT, LabIssuer
from watchkeeper.adapters.identity.oidc import LEEWAY_S, Attempt, Issuer, IssuerError, IssuerSettings, Vouched

pytestmark = pytest.mark.anyio
ROLES = {"wk-admins": "admin", "wk-operators": "operator", "wk-viewers": "viewer"}


@pytest.fixture
async def issuer() -> AsyncIterator[LabIssuer]:
    async with LabIssuer() as running:
        yield running


def client(issuer: LabIssuer, **more: Any) -> Issuer:
    return Issuer(
        IssuerSettings(
            issuer=issuer.url,
            client_id=CLIENT,
            redirect_uri="https://watch.example/ui/signin/callback",
            roles=ROLES,
            **more,
        )
    )


async def sign_in(issuer: LabIssuer, us: Issuer, **more: str) -> Vouched:
    where, attempt = await us.begin("/ui/traces")
    brought = {name: values[0] for name, values in parse_qs(issuer.authorize(where, **more)).items()}
    return await us.finish(attempt, brought)


async def closing(issuer: LabIssuer, **more: Any) -> Vouched:
    us = client(issuer, **more)
    try:
        return await sign_in(issuer, us)
    finally:
        await us.close()


async def test_whom_the_issuer_vouches_for_gets_the_role_of_the_claim(issuer: LabIssuer) -> None:
    assert await closing(issuer) == Vouched(subject="ada-42", role="operator", shown="ada@example.org")
    issuer.claims = {"roles": ["wk-viewers", "wk-admins", "other"]}
    assert (await closing(issuer)).role == "admin"
    issuer.claims = {"roles": None, "realm_access": {"roles": "wk-viewers"}}
    assert (await closing(issuer, role_claim="realm_access.roles")).role == "viewer"


@pytest.mark.parametrize("roles", [None, [], ["WK-ADMINS"], ["admin"], {"wk-admins": True}, [["wk-admins"]], 5])
async def test_nobody_without_a_role_gets_in(issuer: LabIssuer, roles: Any) -> None:
    issuer.claims = {"roles": roles}
    with pytest.raises(IssuerError, match="gives you a role"):
        await closing(issuer)


async def test_a_tenant_comes_from_its_claim_and_is_never_left_out(issuer: LabIssuer) -> None:
    issuer.claims = {"org": "shop"}
    assert (await closing(issuer, tenant_claim="org")).tenant == "shop"
    for odd in (None, ["shop", "bank"], [], 7):
        issuer.claims = {"org": odd}
        with pytest.raises(IssuerError, match="one tenant"):
            await closing(issuer, tenant_claim="org")


NOW = time.time()
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("nonce", {"nonce": "another"}),
    ("nonce", {"nonce": None}),
    ("another client", {"aud": "somebody-else"}),
    ("another client", {"aud": []}),
    ("another client", {"aud": None}),
    ("another party", {"aud": [CLIENT, "other"]}),
    ("another party", {"azp": "other"}),
    ("another issuer", {"iss": "https://evil.example"}),
    ("another issuer", {"iss": None}),
    ("expired", {"exp": int(NOW) - LEEWAY_S - 60}),
    ("expired", {"exp": None}),
    ("not a time", {"exp": "tomorrow"}),
    ("not a time", {"exp": True}),
    ("just now", {"iat": int(NOW) - 7_200}),
    ("just now", {"iat": int(NOW) + LEEWAY_S + 300}),
    ("not valid yet", {"nbf": int(NOW) + LEEWAY_S + 300}),
    ("names nobody", {"sub": None}),
    ("names nobody", {"sub": ""}),
]


@pytest.mark.parametrize(("says", "claims"), WRONG, ids=[f"{s}, {number}" for number, (s, _) in enumerate(WRONG)])
async def test_a_token_with_a_wrong_claim_is_refused(issuer: LabIssuer, says: str, claims: dict[str, Any]) -> None:
    issuer.claims = claims
    with pytest.raises(IssuerError, match=says):
        await closing(issuer)


async def test_clocks_may_differ_by_a_minute(issuer: LabIssuer) -> None:
    now = int(time.time())
    issuer.claims = {"exp": now - LEEWAY_S + 20, "iat": now + LEEWAY_S - 20, "nbf": now + LEEWAY_S - 20}
    assert (await closing(issuer)).subject == "ada-42"


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_an_unsigned_token_and_one_signed_with_our_public_knowledge_are_refused(
    issuer: LabIssuer, algorithm: str
) -> None:
    issuer.header = {"alg": algorithm}
    with pytest.raises(IssuerError, match="not taken"):
        await closing(issuer)


async def test_a_token_that_somebody_else_signed_is_refused(issuer: LabIssuer) -> None:
    issuer.signs_with = RSAKey.generate_key(2048)
    with pytest.raises(IssuerError, match="does not hold"):
        await closing(issuer)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "e30.e30.", "é.é.é", "\x00"])
async def test_what_is_no_token_is_refused(issuer: LabIssuer, token: str) -> None:
    issuer.raw_token = token or "   "
    with pytest.raises(IssuerError):
        await closing(issuer)


async def test_an_answer_for_another_browser_is_refused_before_the_code_is_used(issuer: LabIssuer) -> None:
    us = client(issuer)
    where, attempt = await us.begin("/")
    brought = {name: values[0] for name, values in parse_qs(issuer.authorize(where)).items()}
    for odd in (
        {"state": "x"},
        {"state": ""},
        {"iss": "https://evil.example"},
        {"error": "access_denied"},
        {"code": ""},
    ):
        with pytest.raises(IssuerError):
            await us.finish(attempt, {**brought, **odd})
    assert issuer.asked.get("token", 0) == 0
    with pytest.raises(IssuerError, match="too long"):
        await us.finish(msgspec.structs.replace(attempt, expires_s=1), brought)
    await us.close()


async def test_a_code_is_good_once_and_only_with_its_verifier(issuer: LabIssuer) -> None:
    us = client(issuer)
    where, attempt = await us.begin("/")
    brought = {name: values[0] for name, values in parse_qs(issuer.authorize(where)).items()}
    thief = msgspec.structs.replace(attempt, verifier="v" * 64)
    with pytest.raises(IssuerError, match="invalid_grant"):
        await us.finish(thief, brought)
    issuer.codes[brought["code"]] = {n: v[0] for n, v in parse_qs(urlsplit(where).query).items()}
    assert await us.finish(attempt, brought)
    with pytest.raises(IssuerError, match="invalid_grant"):
        await us.finish(attempt, brought)
    await us.close()


async def test_new_keys_of_the_issuer_are_taken_and_unknown_ones_do_not_make_us_ask_for_ever(issuer: LabIssuer) -> None:
    us = client(issuer)
    await sign_in(issuer, us)
    issuer.rotate()
    with pytest.raises(IssuerError):
        await sign_in(issuer, us)  # asked less than half a minute ago
    assert us._keys is not None
    us._keys = (us._keys[0] - 60, us._keys[1])
    assert (await sign_in(issuer, us)).subject == "ada-42"
    assert issuer.asked["jwks"] == 2
    issuer.header = {"kid": "no-such-key"}
    for _ in range(5):
        with pytest.raises(IssuerError):
            await sign_in(issuer, us)
    assert issuer.asked["jwks"] == 2
    await us.close()


async def test_an_issuer_that_calls_itself_otherwise_or_sends_us_over_plain_http_is_refused(issuer: LabIssuer) -> None:
    for odd in (
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
    ):
        issuer.metadata = odd
        with pytest.raises(IssuerError):
            await closing(issuer)
    with pytest.raises(IssuerError, match="https"):
        Issuer(IssuerSettings(issuer="http://id.example", client_id=CLIENT))


async def test_an_issuer_that_is_not_there_is_told_in_a_sentence(issuer: LabIssuer) -> None:
    us = Issuer(IssuerSettings(issuer="http://127.0.0.1:9", client_id=CLIENT))
    with pytest.raises(IssuerError, match="cannot be reached"):
        await us.begin("/")
    await us.close()


async def test_each_attempt_has_its_own_state_nonce_and_verifier(issuer: LabIssuer) -> None:
    us = client(issuer)
    made = [(await us.begin("/"))[1] for _ in range(20)]
    for name in ("state", "nonce", "verifier"):
        assert len({getattr(each, name) for each in made}) == 20
    assert all(isinstance(each, Attempt) and len(each.verifier) >= 43 for each in made)
    await us.close()
