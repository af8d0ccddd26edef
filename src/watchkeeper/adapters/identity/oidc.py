"""Signs people in with an OpenID Connect issuer: authorization code with PKCE, state and nonce, ID tokens verified.

After OpenID Connect Core 1.0 (3.1), RFC 7636 (PKCE) and RFC 9700 (best current practice). Needs the extra `oidc`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from watchkeeper.records.record import Record

if TYPE_CHECKING:
    import aiohttp

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519")
"""Signatures that are taken: none that is missing, and none whose key the issuer and we would share."""

LEEWAY_S = 60
LONGEST_AGE_S = 600
METADATA_S = 3_600.0
REFETCH_S = 30.0
TIMEOUT_S = 10.0
LONGEST_ANSWER = 1 << 20
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class IssuerError(Exception):
    """The issuer's word was not taken; the message says why and never repeats a token or secret."""


class IssuerSettings(Record):
    """The issuer, how we are known there, and where in its claims a role and a tenant stand.

    `roles` maps a value of the claim to a role; the highest that fits counts, and nobody without one gets in.
    `tenants` maps likewise, where `tenant_claim` is set; a person without a tenant there gets in only as an admin.
    """

    issuer: str
    client_id: str
    client_secret: str | None = None
    redirect_uri: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    role_claim: str = "roles"
    roles: dict[str, str] = {}
    tenant_claim: str | None = None


class Attempt(Record):
    """A sign-in that was begun: what must come back, and where the browser goes afterwards."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    expires_s: int


class Vouched(Record):
    """Whom the issuer vouches for."""

    subject: str
    role: str
    tenant: str | None = None
    shown: str | None = None


class Issuer:
    """A client of one issuer. Its metadata and keys are kept for an hour, and asked for anew when a key is unknown."""

    def __init__(self, settings: IssuerSettings, clock_s: Callable[[], float] = time.time) -> None:
        """Raises `IssuerError` when the issuer is not reached over TLS, or joserfc is not installed."""
        try:
            import joserfc  # noqa: F401
        except ImportError as error:
            raise IssuerError("sign_in.issuer needs more: pip install 'watchkeeper[oidc]'") from error
        _must_be_safe(settings.issuer, "The issuer")
        self.settings, self._clock_s = settings, clock_s
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._fetching = asyncio.Lock()

    async def begin(self, next_path: str) -> tuple[str, Attempt]:
        """Where to send the browser, and what to keep until it comes back; raises `IssuerError`."""
        metadata = await self._known()
        attempt = Attempt(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            next_path=next_path,
            expires_s=int(self._clock_s()) + LONGEST_AGE_S,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *self.settings.scopes))),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", attempt

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Vouched:
        """Whom the issuer vouches for, from what the browser brought back; raises `IssuerError`."""
        if self._clock_s() > attempt.expires_s:
            raise IssuerError("This sign-in took too long. Begin again.")
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise IssuerError("This sign-in was not begun in this browser. Begin again.")
        # RFC 9207: an answer that names another issuer was meant for somebody else.
        if "iss" in answer and answer["iss"] != self.settings.issuer:
            raise IssuerError("The answer came from another issuer.")
        if "error" in answer:
            raise IssuerError(f"The issuer refused: {answer['error'][:80]!r}.")
        if not answer.get("code"):
            raise IssuerError("The issuer sent no code.")
        claims = await self._verified(await self._redeem(answer["code"], attempt.verifier))
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), attempt.nonce.encode()):
            raise IssuerError("The ID token was made for another sign-in (its nonce is not ours).")
        return self._vouched(claims)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _redeem(self, code: str, verifier: str) -> str:
        metadata = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.settings.redirect_uri,
            "client_id": self.settings.client_id,
            "code_verifier": verifier,
        }
        if self.settings.client_secret is not None:
            form["client_secret"] = self.settings.client_secret
        answer = await self._fetch("POST", str(metadata["token_endpoint"]), form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise IssuerError(
                f"The issuer gave no ID token for the code ({str(answer.get('error', 'no error'))[:80]})."
            )
        return token

    async def _verified(self, token: str) -> dict[str, Any]:
        """The claims of an ID token whose signature, issuer, audience and times are right."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        try:
            head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
            key_id, algorithm = head.get("kid"), head.get("alg")
        except (ValueError, AttributeError) as error:
            raise IssuerError("The ID token is not a signed token.") from error
        if algorithm not in ALGORITHMS:
            raise IssuerError(f"The ID token is signed with {str(algorithm)[:20]!r}, which is not taken.")
        keys = await self._signing_keys(key_id if isinstance(key_id, str) else None)
        try:
            decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=list(ALGORITHMS))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise IssuerError(f"The ID token's signature does not hold ({type(error).__name__}).") from error
        return self._checked(dict(decoded.claims))

    def _checked(self, claims: dict[str, Any]) -> dict[str, Any]:
        now_s = self._clock_s()
        if claims.get("iss") != self.settings.issuer:
            raise IssuerError("The ID token is of another issuer.")
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        if self.settings.client_id not in named:
            raise IssuerError("The ID token is for another client (its audience is not us).")
        party = claims.get("azp")
        if (len(named) > 1 and party is None) or (party is not None and party != self.settings.client_id):
            raise IssuerError("The ID token was issued to another party.")
        times = {name: claims.get(name) for name in ("exp", "iat", "nbf")}
        for name, value in times.items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise IssuerError(f"The ID token's {name} is not a time.")
        if times["exp"] is None or now_s > times["exp"] + LEEWAY_S:
            raise IssuerError("The ID token has expired.")
        if times["iat"] is None or not now_s - LONGEST_AGE_S - LEEWAY_S <= times["iat"] <= now_s + LEEWAY_S:
            raise IssuerError("The ID token was not issued just now; the clocks may differ.")
        if times["nbf"] is not None and now_s < times["nbf"] - LEEWAY_S:
            raise IssuerError("The ID token is not valid yet.")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise IssuerError("The ID token names nobody.")
        return claims

    def _vouched(self, claims: Mapping[str, Any]) -> Vouched:
        order = ("admin", "operator", "viewer")
        roles = {
            self.settings.roles[value]
            for value in _values(claims, self.settings.role_claim)
            if value in self.settings.roles
        }
        role = next((each for each in order if each in roles), None)
        if role is None:
            raise IssuerError(f"Nothing in the claim {self.settings.role_claim!r} gives you a role here. Ask an admin.")
        tenant = None
        if self.settings.tenant_claim is not None and role != "admin":
            tenants = _values(claims, self.settings.tenant_claim)
            if len(tenants) != 1:
                raise IssuerError(f"The claim {self.settings.tenant_claim!r} does not name one tenant. Ask an admin.")
            tenant = tenants[0]
        shown = claims.get("email") if isinstance(claims.get("email"), str) else claims.get("name")
        return Vouched(
            subject=str(claims["sub"]),
            role=role,
            tenant=tenant,
            shown=str(shown)[:200] if isinstance(shown, str) else None,
        )

    async def _known(self) -> dict[str, Any]:
        async with self._fetching:
            now_s = time.monotonic()
            if self._metadata is None or now_s - self._metadata[0] > METADATA_S:
                found = await self._fetch("GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self.settings.issuer:
                    raise IssuerError("The issuer calls itself otherwise than the settings do.")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _must_be_safe(str(found.get(name, "")), f"The issuer's {name}")
                self._metadata = (now_s, found)
            return self._metadata[1]

    async def _signing_keys(self, key_id: str | None) -> dict[str, Any]:
        """The issuer's public keys; asked for anew, at most every half minute, when a token names another."""
        uri = str((await self._known())["jwks_uri"])
        async with self._fetching:
            now_s = time.monotonic()
            age_s = None if self._keys is None else now_s - self._keys[0]
            if self._keys is not None and age_s is not None and age_s < METADATA_S:
                known = {key.get("kid") for key in self._keys[1]["keys"]}
                if key_id is None or key_id in known or age_s < REFETCH_S:
                    return self._keys[1]
            found = await self._fetch("GET", uri)
            given = found.get("keys")
            if not isinstance(given, list):
                raise IssuerError("The issuer's keys cannot be read.")
            keys = [key for key in given if isinstance(key, dict)]
            public = [key for key in keys if key.get("kty") != "oct" and key.get("use") != "enc"]
            self._keys = (now_s, {"keys": public})
            return self._keys[1]

    async def _fetch(self, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.request(
                method, url, data=form, headers={"Accept": "application/json"}, allow_redirects=False
            ) as response:
                body = await response.content.read(LONGEST_ANSWER)
                while len(body) < LONGEST_ANSWER and (more := await response.content.read(LONGEST_ANSWER - len(body))):
                    body += more
                answer = json.loads(body)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise IssuerError(f"The issuer cannot be reached or read ({type(error).__name__}).") from error
        if not isinstance(answer, dict):
            raise IssuerError("The issuer's answer is not an object.")
        return answer


def _values(claims: Mapping[str, Any], path: str) -> Sequence[str]:
    """The texts of a claim, which may lie deeper: "realm_access.roles"; a claim's own name may hold dots too."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _must_be_safe(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise IssuerError(f"{what} should be an https address; http is taken on this machine alone.")
