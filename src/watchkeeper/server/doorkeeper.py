"""Finds out who is at the door, and signs people in and out: with a key, a name and password, or an issuer's word."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from watchkeeper.server.asgi import Headers, Receive, Scope, Send, header, reply, reply_error
from watchkeeper.server.callers import LOCAL, Caller, caller_of_key, level_of
from watchkeeper.server.guard import SAFE_METHODS, GuardSettings, Refusal, is_loopback
from watchkeeper.server.signin import (
    ATTEMPT_COOKIE,
    SESSION_COOKIE,
    VISIT_COOKIE,
    Sessions,
    SignedIn,
    cookie,
    local_path,
    read_fields,
    shown_key,
    signin_page,
    welcome_page,
)

if TYPE_CHECKING:
    from watchkeeper.adapters.identity.oidc import Attempt, Issuer
    from watchkeeper.engines.people.accounts import Accounts

HTML = "text/html; charset=utf-8"
SIGNIN_PATHS = frozenset({"/ui/signin", "/ui/signout", "/ui/signin/issuer", "/ui/signin/callback"})
NO_STORE = (b"cache-control", b"no-store")


class HasId(Protocol):
    """What the front needs to know of a key: its public id."""

    @property
    def key_id(self) -> str:
        """The part of the key that is no secret."""
        ...


KeyCheck = Callable[[str], HasId | Awaitable[HasId | None] | None]
KeyAlive = Callable[[str], Any]
"""The key with an id while it is good (or True), else None or False; awaited where it is awaitable."""


class Doorkeeper:
    """Who asks, for every request; and the pages under /ui/signin.

    `people` are the accounts, `issuer` who else vouches for people. `signed` is told of sign-ins for the audit trail.
    """

    def __init__(
        self,
        settings: GuardSettings,
        check_key: KeyCheck | None = None,
        key_alive: KeyAlive | None = None,
        people: Accounts | None = None,
        issuer: Issuer | None = None,
        signed: Callable[[str, str], None] | None = None,
    ) -> None:
        self._settings, self._check_key, self._key_alive = settings, check_key, key_alive
        self._people, self._issuer, self._signed = people, issuer, signed
        self.sessions = Sessions(settings.secret, settings.session_s)

    async def close(self) -> None:
        """Close the connections to the issuer."""
        if self._issuer is not None:
            await self._issuer.close()

    async def identify(self, scope: Scope, outward: bool) -> Refusal | None:
        """Note in the scope who asks, or say why they are turned away.

        `outward` requests go to the gateway and the intake, which ask their own callers for keys and know no cookies.
        """
        asks = self._asks(scope)
        if outward and not asks:
            return None
        secret = shown_key(scope)
        if secret is not None:
            key = await self.key_of(secret)
            if key is not None:
                scope["watchkeeper.key"], scope["watchkeeper.caller"] = key, caller_of_key(key)
                return None
        elif not outward and (caller := await self._signed_in(scope)) is not None:
            scope["watchkeeper.caller"] = caller
            return self._forged(scope)
        elif not asks and not await self._has_people():
            scope["watchkeeper.caller"] = LOCAL
            return None
        said = "The key that was shown is not known or was revoked." if secret else "This server asks for a key."
        return Refusal(
            status=401,
            code="invalid_key" if secret else "key_required",
            sentence=f"{said} Send one as X-Watchkeeper-Key; `watchkeeper key create` makes one.",
        )

    async def key_of(self, secret: str) -> HasId | None:
        """The key that a secret belongs to, None when it is none or no longer good."""
        if self._check_key is None:
            return None
        found = self._check_key(secret)
        return await found if inspect.isawaitable(found) else found

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at one of the paths of signing in and out."""
        path, method = scope["path"], scope["method"]
        if (path, method) == ("/ui/signin", "POST"):
            await self._sign_in(scope, receive, send)
        elif (path, method) == ("/ui/signin", "GET"):
            await self._show(scope, send, _query(scope, "next"))
        elif (path, method) == ("/ui/signout", "POST"):
            await self._sign_out(scope, receive, send)
        elif (path, method) == ("/ui/signin/issuer", "GET"):
            await self._begin(scope, send)
        elif (path, method) == ("/ui/signin/callback", "GET"):
            await self._finish(scope, send)
        else:
            await reply_error(send, 405, f"{method} is not understood at {path}.", "invalid_request", "method")

    def _asks(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._settings.asks_for_keys or (client is not None and not is_loopback(client[0]))

    async def _has_people(self) -> bool:
        return self._issuer is not None or (self._people is not None and await self._people.any())

    async def _signed_in(self, scope: Scope) -> Caller | None:
        signed = self.sessions.read(cookie(scope, SESSION_COOKIE))
        return None if signed is None else await self._speaks_for(signed)

    async def _speaks_for(self, signed: SignedIn) -> Caller | None:
        if self._people is not None and await self._people.ended(signed.nonce):
            return None
        if signed.person is not None:
            person = None
            if self._people is not None:
                person = await self._people.alive(signed.person, signed.epoch, signed.nonce)
            if person is None:
                return None
            return Caller(actor=f"person:{person.name}", level=level_of(person.role), tenant=person.tenant)
        if self._key_alive is None:
            return None
        key = self._key_alive(signed.key_id)
        key = await key if inspect.isawaitable(key) else key
        return caller_of_key(key) if key else None

    def _forged(self, scope: Scope) -> Refusal | None:
        """A browser that changes something through the API says from where; without that it may be another page's."""
        if scope["method"] in SAFE_METHODS or scope["path"].startswith("/ui/") or header(scope, b"origin"):
            return None
        return Refusal(
            status=403,
            code="foreign_origin",
            sentence="A cookie alone changes nothing here. Send a key, or the header Origin as browsers do.",
        )

    async def _show(
        self, scope: Scope, send: Send, next_path: str, error: str | None = None, status: int = 403
    ) -> None:
        visit = cookie(scope, VISIT_COOKIE) or secrets.token_urlsafe(18)
        people = self._people is not None and await self._people.any()
        host = None if self._issuer is None else urlsplit(self._issuer.settings.issuer).hostname
        page = signin_page(self.sessions.form_token(visit), local_path(next_path), error, people, host)
        given = [self.sessions.cookie_header(VISIT_COOKIE, visit, self._secure(scope)), NO_STORE]
        await reply(send, 200 if error is None else status, page, HTML, given)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await read_fields(receive)
        visit = cookie(scope, VISIT_COOKIE) or ""
        if not secrets.compare_digest(form.get("csrf", "").encode(), self.sessions.form_token(visit).encode()):
            await self._show(scope, send, form.get("next", "/"), "This form had grown old. Send it again.")
            return
        if "name" in form and self._people is not None:
            await self._with_password(scope, send, form)
            return
        key = await self.key_of(form.get("key", "").strip())
        if key is None:
            self._tell("signin.failed", f"address:{_address(scope)}")
            await self._show(scope, send, form.get("next", "/"), "This key is not known or was revoked.")
            return
        self._tell("signin", f"key:{key.key_id}")
        await self._welcome(scope, send, self.sessions.issue(key.key_id), form.get("next"))

    async def _with_password(self, scope: Scope, send: Send, form: dict[str, str]) -> None:
        from watchkeeper.engines.people.accounts import Refused

        assert self._people is not None
        try:
            person = await self._people.sign_in(form["name"].strip(), form.get("password", ""), _address(scope))
        except Refused as refused:
            self._tell("signin.failed", f"address:{_address(scope)}")
            await self._show(scope, send, form.get("next", "/"), str(refused))
            return
        self._tell("signin", f"person:{person.name}")
        await self._welcome(scope, send, self.sessions.issue("", person.name, person.epoch), form.get("next"))

    async def _welcome(self, scope: Scope, send: Send, session: str, next_path: str | None) -> None:
        secure = self._secure(scope)
        given = [
            self.sessions.cookie_header(VISIT_COOKIE, "", secure, 0),
            self.sessions.cookie_header(SESSION_COOKIE, session, secure),
        ]
        await redirect(send, local_path(next_path), given)

    async def _sign_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await read_fields(receive)
        session = cookie(scope, SESSION_COOKIE)
        bound = session or cookie(scope, VISIT_COOKIE) or ""
        if not secrets.compare_digest(form.get("csrf", "").encode(), self.sessions.form_token(bound).encode()):
            await reply_error(send, 403, "This form had grown old. Reload the page.", "invalid_request", "form_token")
            return
        signed = self.sessions.read(session)
        if signed is not None and self._people is not None:
            await self._people.end(signed.nonce, signed.expires_s * 1_000_000_000)
        if signed is not None:
            self._tell("signout", f"person:{signed.person}" if signed.person else f"key:{signed.key_id}")
        await redirect(send, "/ui/signin", [self.sessions.cookie_header(SESSION_COOKIE, "", self._secure(scope), 0)])

    async def _begin(self, scope: Scope, send: Send) -> None:
        """Send the browser to the issuer, with what must come back kept in a cookie of its own."""
        from watchkeeper.adapters.identity.oidc import LONGEST_AGE_S, IssuerError

        if self._issuer is None:
            await self._show(scope, send, "/", "No issuer is set up here.", 404)
            return
        try:
            where, attempt = await self._issuer.begin(local_path(_query(scope, "next")))
        except IssuerError as error:
            await self._show(scope, send, "/", str(error), 502)
            return
        sealed = self.sessions.seal("attempt", attempt)
        # Lax, for the browser comes back from another site; it is good for one answer and ten minutes.
        kept = self.sessions.cookie_header(ATTEMPT_COOKIE, sealed, self._secure(scope), LONGEST_AGE_S, "Lax")
        await reply(send, 303, b"", HTML, [(b"location", where.encode()), NO_STORE, kept])

    async def _finish(self, scope: Scope, send: Send) -> None:
        from watchkeeper.adapters.identity.oidc import Attempt

        attempt = self.sessions.unseal("attempt", cookie(scope, ATTEMPT_COOKIE), Attempt)
        if self._issuer is None or self._people is None or attempt is None:
            self._tell("signin.failed", f"address:{_address(scope)}")
            await self._show(scope, send, "/", "This sign-in was not begun in this browser. Begin again.")
            return
        await self._take_word(scope, send, attempt)

    async def _take_word(self, scope: Scope, send: Send, attempt: Attempt) -> None:
        """Verify what the issuer says, and begin a session for whom it vouches for."""
        from watchkeeper.adapters.identity.oidc import IssuerError
        from watchkeeper.engines.people.accounts import Refused

        assert self._issuer is not None and self._people is not None
        answer = {name: values[-1] for name, values in parse_qs(_query_text(scope), keep_blank_values=True).items()}
        gone = self.sessions.cookie_header(ATTEMPT_COOKIE, "", self._secure(scope), 0, "Lax")
        try:
            if not await self._people.use_once(attempt.state, attempt.expires_s * 1_000_000_000):
                raise IssuerError("This answer was used before. Begin again.")
            word = await self._issuer.finish(attempt, answer)
            issuer = self._issuer.settings.issuer
            person = await self._people.vouched(word.subject, issuer, word.role, word.tenant, word.shown)
        except (IssuerError, Refused) as error:
            self._tell("signin.failed", f"address:{_address(scope)}")
            await self._show(scope, send, "/", str(error))
            return
        self._tell("signin", f"person:{person.name}")
        session = self.sessions.issue("", person.name, person.epoch)
        given = [gone, self.sessions.cookie_header(SESSION_COOKIE, session, self._secure(scope)), NO_STORE]
        await reply(send, 200, welcome_page(local_path(attempt.next_path)), HTML, given)

    def _tell(self, act: str, subject: str) -> None:
        if self._signed is not None:
            self._signed(act, subject)

    def _secure(self, scope: Scope) -> bool:
        return self._settings.is_secure(scope)


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown",))[0])


def _query_text(scope: Scope) -> str:
    return str(scope.get("query_string", b"").decode("latin-1"))


def _query(scope: Scope, name: str) -> str:
    return str(parse_qs(_query_text(scope)).get(name, ["/"])[-1])


async def redirect(send: Send, where: str, headers: Headers = ()) -> None:
    """Send a browser to a path of this server."""
    from urllib.parse import quote

    fields = [(b"location", quote(where, safe="/?=&%-_.~").encode()), NO_STORE, *headers]
    await reply(send, 303, b"", HTML, fields)
