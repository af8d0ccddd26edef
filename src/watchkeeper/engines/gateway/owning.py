"""Whose the things are that a provider keeps: responses, conversations, files, batches, whatever has an id there.

Tenants that share an account at a provider could read one another's things by their ids, or find them in a list. So
what is made through the gateway is remembered with the tenant that made it (see `replies`), and for another tenant it
is not there: not by its id in a path, not by an id that a body names at its top, not in a list.

Limits: what was made elsewhere, or by the provider itself (the output of a batch), is nobody's. Lists show it to the
callers of the tenant "default" alone; its id, which cannot be guessed, is passed on. An id deep inside a body is not
looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.logbook import Logbook
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.replies import Kept
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import as_json

COLLECTIONS = frozenset(
    {
        "/files", "/batches", "/vector_stores", "/assistants", "/fine_tuning/jobs", "/evals", "/containers", "/videos",
        "/skills", "/uploads", "/threads", "/responses", "/conversations", "/messages/batches",
    }
)  # fmt: skip
"""Where providers list what they keep for an account."""

OWN_PLACE = "default"
"""The tenant of whoever shows no key, and of keys that name no other."""

LONGEST_ID = 200
_MOST_PARTS = 8
_MOST_NAMED = 64
_NAMED = ("_id", "_ids", "_file")
_KINDS = {"responses": "response", "conversations": "conversation"}
_log = logging.getLogger("watchkeeper.gateway")
_object = msgspec.json.Decoder(dict[str, Any])


async def find_for(parts: Parts, about: str, identity: Identity, what: str = "response") -> Kept | None:
    """A thing by its id; raises a 404 when it is another tenant's, as if it were not there.

    With the store out of reach it is not known whose it is: where keys tell tenants apart that is a 503.
    """
    try:
        kept = await parts.replies.find(about)
    except Exception as error:
        _log.exception("it could not be looked up whose %s %s is", what, about[:100])
        if not parts.settings.require_keys:
            return None
        raise Refusal(
            503,
            "responses_unknown",
            f"The gateway cannot look up whose {what} this is, because its store does not answer. Try again.",
            kind="unavailable",
        ) from error
    if kept is not None and kept.tenant != identity.tenant:
        raise Refusal(404, f"{what}_not_found", f"There is no {what} {about[:100]!r} for this key.", kind="not_found")
    return kept


async def check_path(parts: Parts, suffix: str, identity: Identity) -> None:
    """Raise a 404 when a path names a thing of another tenant."""
    first, *names = suffix.lstrip("/").split("/")[: _MOST_PARTS + 1]
    for name in names:
        if 0 < len(name) <= LONGEST_ID:
            await find_for(parts, unquote(name), identity, _KINDS.get(first.lower(), "object"))


async def check_named(parts: Parts, fields: Mapping[str, msgspec.Raw], identity: Identity) -> None:
    """Raise a 404 when a field at the top of a body, such as `input_file_id`, names a thing of another tenant."""
    for field, raw in list(fields.items())[:_MOST_NAMED]:
        if not field.endswith(_NAMED):
            continue
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        for name in value[:_MOST_NAMED] if isinstance(value, list) else [value]:
            if isinstance(name, str) and 0 < len(name) <= LONGEST_ID:
                await find_for(parts, name, identity, "object")


def made(logbook: Logbook, suffix: str, body: bytes) -> Kept | None:
    """What to remember of a thing that a reply says was made at a path; None where it says of none."""
    try:
        said = _object.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    name, kind = said.get("id"), said.get("object") or said.get("type")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or not isinstance(kind, str) or not logbook.spec:
        return None
    return whose(logbook, name, suffix.lower() in COLLECTIONS)


def whose(logbook: Logbook, name: str, lasting: bool) -> Kept:
    """What to remember of a thing that this call made: where it lies and whose it is."""
    return Kept(
        response_id=name,
        at_ns=logbook.start_ns,
        tenant=logbook.identity.tenant,
        session=logbook.identity.session,
        upstream="" if logbook.spec is None else logbook.spec.name,
        model="",
        request_model="",
        trace_id=logbook.trace.trace_id,
        span_id=logbook.span_id,
        root=name,
        lasting=lasting,
    )


def lists(method: str, suffix: str) -> bool:
    """Whether a request asks for a list of what the provider keeps for the whole account."""
    return method == "GET" and suffix.lower() in COLLECTIONS


async def shown(parts: Parts, body: bytes, identity: Identity) -> bytes:
    """A list without what belongs to other tenants; the same bytes where nothing had to go."""
    try:
        said = _object.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    items = said.get("data")
    if not isinstance(items, list):
        return body
    mine = [item for item in items if await _is_for(parts, item, identity)]
    if len(mine) == len(items):
        return body
    ends = {"first_id": mine[0] if mine else None, "last_id": mine[-1] if mine else None}
    for name, item in ends.items():
        if name in said:
            said[name] = item["id"] if isinstance(item, dict) else None
    return as_json({**said, "data": mine})


async def _is_for(parts: Parts, item: Any, identity: Identity) -> bool:
    name = item.get("id") if isinstance(item, dict) else None
    if not isinstance(name, str) or len(name) > LONGEST_ID:
        return identity.tenant == OWN_PLACE
    try:
        kept = await find_for(parts, name, identity, "object")
    except Refusal:
        return False
    return kept is not None or identity.tenant == OWN_PLACE
