"""Signs people in with a key: a signed, expiring cookie for browsers, and the token that forms of the UI carry."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import TypeVar
from urllib.parse import parse_qs, quote

import msgspec

from watchkeeper.engines.gateway.keys import presented
from watchkeeper.records.record import Record
from watchkeeper.server.asgi import Receive, Scope, header

SESSION_COOKIE = "wk_session"
VISIT_COOKIE = "wk_visit"
MAX_FORM_BYTES = 16_384
ATTEMPT_COOKIE = "wk_attempt"
S = TypeVar("S", bound=Record)


class SignedIn(Record):
    """Who a cookie speaks for: a key by its id, or a person and the epoch of their account; until when; a nonce.

    What they may do is not in it: that is asked of the key or the account each time.
    """

    key_id: str
    expires_s: int
    nonce: str
    person: str | None = None
    epoch: int = 0


class Sessions:
    """Issues and reads sign-in cookies and form tokens; a cookie that was changed or has run out reads as nobody."""

    def __init__(self, secret: bytes, lifetime_s: int, clock_s: Callable[[], float] = time.time) -> None:
        if len(secret) < 32:
            raise ValueError(f"The signing secret has {len(secret)} bytes; it needs at least 32 random bytes.")
        self._secret, self._lifetime_s, self._clock_s = secret, lifetime_s, clock_s

    def issue(self, key_id: str, person: str | None = None, epoch: int = 0) -> str:
        """A new cookie value for a key, or for a person."""
        expires_s = int(self._clock_s()) + self._lifetime_s
        nonce = secrets.token_urlsafe(12)
        return self.seal(
            "session", SignedIn(key_id=key_id, expires_s=expires_s, nonce=nonce, person=person, epoch=epoch)
        )

    def read(self, cookie: str | None) -> SignedIn | None:
        """Who a cookie speaks for, or None."""
        signed = self.unseal("session", cookie, SignedIn)
        return signed if signed is not None and signed.expires_s > self._clock_s() else None

    def seal(self, purpose: str, record: Record) -> str:
        """A record as a cookie value that nobody else can make; it is signed, not secret."""
        payload = urlsafe_b64encode(msgspec.json.encode(record)).decode().rstrip("=")
        return f"{payload}.{self._sign(purpose, payload)}"

    def unseal(self, purpose: str, cookie: str | None, kind: type[S]) -> S | None:
        """The record of a cookie value that was sealed for the same purpose; None for any other."""
        payload, _, signature = (cookie or "").partition(".")
        if not payload or not hmac.compare_digest(signature.encode(), self._sign(purpose, payload).encode()):
            return None
        try:
            return msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=kind)
        except (ValueError, msgspec.MsgspecError):
            return None

    def form_token(self, bound_to: str) -> str:
        """The token that forms carry, bound to the visitor's cookie."""
        return self._sign("form", bound_to)

    def cookie_header(
        self, name: str, value: str, secure: bool, max_age_s: int | None = None, same_site: str = "Strict"
    ) -> tuple[bytes, bytes]:
        """A Set-Cookie header that scripts cannot read and other sites cannot send."""
        age = self._lifetime_s if max_age_s is None else max_age_s
        tail = "; Secure" if secure else ""
        text = f"{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={age}{tail}"
        return (b"set-cookie", text.encode())

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret, f"{purpose}:{text}".encode(), sha256).hexdigest()


def cookie(scope: Scope, name: str) -> str | None:
    """One cookie of a request."""
    try:
        jar = SimpleCookie(header(scope, b"cookie") or "")
    except CookieError:
        return None
    return jar[name].value if name in jar else None


def shown_key(scope: Scope) -> str | None:
    """The Watchkeeper key that a program shows, where its kind of client puts it: see `keys.presented`."""
    return presented(dict(scope["headers"]))


async def read_fields(receive: Receive) -> dict[str, str]:
    """The fields of a small urlencoded form; a larger one reads as empty."""
    data = b""
    while True:
        message = await receive()
        data += message.get("body", b"")
        if len(data) > MAX_FORM_BYTES or message["type"] != "http.request":
            return {}
        if not message.get("more_body", False):
            break
    fields = parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def local_path(value: str | None) -> str:
    """A path on this server to return to after sign-in; anything that could lead elsewhere becomes "/"."""
    path = value or "/"
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and not any(ord(c) < 33 for c in path)
    return path if safe and "\\" not in path else "/"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Watchkeeper</title><link rel="icon" href="/ui/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/static/theme.css">
<link rel="stylesheet" href="/ui/static/watchkeeper.css">
<script src="/ui/static/theme.js"></script></head>
<body class="centred"><main class="card narrow"><h1>Sign in</h1>
{error}{issuer}{people}<form method="post" action="/ui/signin"><input type="hidden" name="csrf" value="{token}">
<input type="hidden" name="next" value="{next}"><label for="key">Key</label>
<input id="key" name="key" type="password" autocomplete="off" spellcheck="false" required{key_focus}>
<p class="muted"><code>watchkeeper key create</code> makes one.</p>
<button{key_primary} type="submit">Sign in with a key</button></form></main></body></html>"""

_PEOPLE = """<form method="post" action="/ui/signin"><input type="hidden" name="csrf" value="{token}">
<input type="hidden" name="next" value="{next}"><label for="name">Name</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="100" required
 autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1000" required>
<button class="primary" type="submit">Sign in</button></form><hr>"""

_ISSUER = """<p><a class="button primary" href="/ui/signin/issuer?next={next}">Sign in with {issuer}</a></p><hr>"""

_WELCOME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={next}"><title>Signed in</title>
<link rel="stylesheet" href="/ui/static/theme.css"><link rel="stylesheet" href="/ui/static/watchkeeper.css"></head>
<body class="centred"><main class="card narrow"><h1>Signed in</h1><p><a href="{next}">Go on</a></p></main></body>
</html>"""


def signin_page(
    token: str, next_path: str, error: str | None = None, people: bool = False, issuer: str | None = None
) -> bytes:
    """The sign-in page; it needs neither script nor the store process. `issuer` is the host that vouches for people."""
    safe = {"token": escape(token), "next": escape(next_path, quote=True)}
    shown = "" if error is None else f'<p class="alert" role="alert">{escape(error)}</p>'
    outside = "" if issuer is None else _ISSUER.format(next=quote(next_path, safe=""), issuer=escape(issuer))
    return _PAGE.format(
        **safe,
        error=shown,
        issuer=outside,
        people=_PEOPLE.format(**safe) if people else "",
        key_focus="" if people else " autofocus",
        key_primary="" if people or issuer else ' class="primary"',
    ).encode()


def welcome_page(next_path: str) -> bytes:
    """What follows on an issuer's word: a page of ours that leads on, so that the browser sends its new cookie."""
    return _WELCOME.format(next=escape(quote(next_path, safe="/?=&%-_.~"), quote=True)).encode()
