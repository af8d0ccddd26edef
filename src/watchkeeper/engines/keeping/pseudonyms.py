"""Puts a keyed name in place of a person's: the same for the same person, and of no use without the house's key.

Whose a record is stands in fields of their own; those are replaced whole. The same name in free text (a preview, an
attribute, a policy's sentence) is replaced where it stands by itself and has at least `SHORTEST_IN_TEXT` characters: a
user called "1" would take every 1 out of the record. Records that belong to nobody, such as findings, are searched word
by word for names whose pseudonym the index knows; there a name with a space in it is not found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from watchkeeper.engines.recorder.belonging import word
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session

PREFIX = "anon-"
SHORTEST_IN_TEXT = 4
FIELDS = ("user", "session")
_DIGEST_BYTES = 10
_FORM = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * _DIGEST_BYTES}}}")
_WORD = re.compile(r"[^\s\"'(),;:\[\]{}<>=|/\\]{4,256}")
_TEXTS = frozenset(
    (
        "name", "message", "preview", "attributes", "events", "sentence", "facts", "amendment", "detail", "target",
        "explanation", "label", "query", "title", "subject", "timeline", "evidence", "messages", "expected", "key",
        "text",
    )
)  # fmt: skip

Sub = Callable[[str], str]


class Pseudonyms:
    """Replaces names by pseudonyms made with one key; thread-safe."""

    def __init__(self, key: bytes, fields: Collection[str] = FIELDS) -> None:
        """`fields` says which names go: "user", "session" or both."""
        self._key, self.fields = key, frozenset(fields)

    def of(self, name: str) -> str:
        """The pseudonym of a name; a pseudonym is its own."""
        if _FORM.fullmatch(name):
            return name
        return PREFIX + hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES, key=self._key).hexdigest()

    def names(self, record: Record) -> dict[str, str]:
        """The names that a record says are those it belongs to, with their pseudonyms; none that is one already."""
        found: set[str | None] = set()
        identity = getattr(record, "identity", None)
        if isinstance(identity, Identity):
            found.update(getattr(identity, field) for field in self.fields)
        if isinstance(record, Session):
            found.update(self._some(user=record.user, session=record.session_id))
        if isinstance(record, Score):
            found.update(self._some(session=record.session))
            if record.subject_kind in self.fields:
                found.add(record.subject_id)
        return {name: self.of(name) for name in found if name and not _FORM.fullmatch(name)}

    def _some(self, **names: str | None) -> list[str | None]:
        return [name for field, name in names.items() if field in self.fields]

    def identity(self, identity: Identity) -> Identity:
        """An identity with pseudonyms."""
        new = {field: self.of(name) for field in self.fields if (name := getattr(identity, field))}
        return msgspec.structs.replace(identity, **new)

    def record(self, record: Record, known: Collection[str] = ()) -> Record | None:
        """A record with pseudonyms, or None when it names nobody; `known` are pseudonyms to look for in texts."""
        names = self.names(record)
        owned = isinstance(getattr(record, "identity", None), Identity)
        if not names and (owned or not known):
            return None
        sub = self.sub(names) if owned or not known else _both(self.sub(names), self.mentions(known))
        new: dict[str, Any] = {}
        for field in record.__struct_fields__:
            old = getattr(record, field)
            said = _walk(old, sub) if field in _TEXTS else old
            if isinstance(old, Identity):
                said = self.identity(old)
            elif field in ("user", "session", "session_id", "subject_id"):
                said = names.get(old, old)
            if said != old:
                new[field] = said
        return msgspec.structs.replace(record, **new) if new else None

    def sub(self, names: Mapping[str, str]) -> Sub:
        """Replaces some names in texts."""
        long = sorted((name for name in names if len(name) >= SHORTEST_IN_TEXT), key=lambda name: (-len(name), name))
        if not long:
            return lambda text: names.get(text, text)
        pattern = re.compile("|".join(word(name).pattern for name in long))
        return lambda text: names.get(text) or pattern.sub(lambda match: names[match[0]], text)

    def mentions(self, known: Collection[str]) -> Sub:
        """Replaces words in texts whose pseudonyms are known."""

        def one(match: re.Match[str]) -> str:
            found = match[0].rstrip(".!?")
            pseudonym = self.of(found)
            return pseudonym + match[0][len(found) :] if pseudonym in known else match[0]

        return lambda text: _WORD.sub(one, text)


def _both(first: Sub, second: Sub) -> Sub:
    return lambda text: second(first(text))


def _walk(value: Any, sub: Sub) -> Any:
    if isinstance(value, str):
        return sub(value)
    if isinstance(value, dict):
        return {key: _walk(each, sub) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_walk(each, sub) for each in value)
    if isinstance(value, msgspec.Struct):
        new = {f: said for f in value.__struct_fields__ if (said := _walk(getattr(value, f), sub)) != getattr(value, f)}
        return msgspec.structs.replace(value, **new) if new else value
    return value
