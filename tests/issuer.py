"""A small OpenID Connect issuer on a free loopback port, which can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "watchkeeper"


class LabIssuer:
    """An issuer for the length of an `async with` block.

    `claims` changes the ID token's claims (None leaves one out), `header` its header; `signs_with` another key than
    the one that is published; `forget_challenge` leaves PKCE unchecked. `asked` counts requests by path.
    """

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
        self.signs_with: Any = None
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.asked: dict[str, int] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.raw_token: str | None = None
        self.url = ""

    async def __aenter__(self) -> LabIssuer:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def rotate(self) -> None:
        """Publish and sign with a new key."""
        self.key = RSAKey.generate_key(2048, {"kid": f"k{time.monotonic_ns()}", "use": "sig"})

    def authorize(self, location: str, **more: str) -> str:
        """What a browser brings back after somebody agreed: the query of the redirect to us."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return urlencode({"code": code, "state": asked["state"], **more})

    def _count(self, name: str) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1

    async def _configuration(self, request: web.Request) -> web.Response:
        self._count("configuration")
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                **self.metadata,
            }
        )

    async def _jwks(self, request: web.Request) -> web.Response:
        self._count("jwks")
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def _token(self, request: web.Request) -> web.Response:
        self._count("token")
        form = await request.post()
        asked = self.codes.pop(str(form.get("code")), None)
        if asked is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT, "sub": "ada-42", "exp": now + 300, "iat": now, "nonce": asked["nonce"],
            "roles": ["wk-operators"], "email": "ada@example.org", **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return web.json_response({"id_token": self.raw_token or self.sign(claims), "token_type": "Bearer"})

    def sign(self, claims: dict[str, Any]) -> str:
        """An ID token."""
        header = {"alg": "RS256", "kid": self.key.kid, **self.header}
        if header["alg"] == "none":
            return ".".join([_part(header), _part(claims), ""])
        if header["alg"].startswith("HS"):
            signed = f"{_part(header)}.{_part(claims)}"
            mac = hmac.new(self.key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
            return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        key = self.signs_with or self.key
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
