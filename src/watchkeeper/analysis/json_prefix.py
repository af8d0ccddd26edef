"""Tells whether a text can still become a JSON object, character by character, as RFC 8259 (2017) defines it.

A `Prefix` is a value: what was read so far, boiled down to what may follow. `after` reads on and gives the next one, or
None where no continuation is an object any more. With `keys` the object must have just these keys, each with a text.

Limits: what may follow by the grammar, not by a length or by what a text may say. Keys written with escapes are taken
as they come. Nested objects may have any keys, and the same one twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_SPACE = " \t\n\r"
_HEX = "0123456789abcdefABCDEF"
_DIGITS = "0123456789"
_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}
# In a number: which state each kind of character leads to. States in _ENDS may end the number.
_NUMBER = {
    "-": {"0": "0", "1": "d"},
    "0": {".": ".", "e": "e"},
    "d": {"0": "d", "1": "d", ".": ".", "e": "e"},
    ".": {"0": "f", "1": "f"},
    "f": {"0": "f", "1": "f", "e": "e"},
    "e": {"0": "x", "1": "x", "+": "+"},
    "+": {"0": "x", "1": "x"},
    "x": {"0": "x", "1": "x"},
}
_ENDS = frozenset("0dfx")


class Prefix(NamedTuple):
    """What was read of an object. `open` are the brackets around, `at` what is expected, `rest` its details.

    `keys` are the keys still to come at the top, None for any; `key` is the one being read there.
    """

    at: str = "start"
    open: str = ""
    rest: str = ""
    keys: frozenset[str] | None = None
    key: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the text is an object as it is."""
        return self.at == "done"

    def after(self, text: str) -> Prefix | None:
        """What is read with more text; None where that can become no such object."""
        now: Prefix | None = self
        for char in text:
            if now is None:
                return None
            now = _STEPS[now.at](now, char)
        return now


def beginning(keys: Iterable[str] | None = None) -> Prefix:
    """An object of which nothing is read yet: with just these keys, or any."""
    return Prefix(keys=None if keys is None else frozenset(keys))


def _start(p: Prefix, char: str) -> Prefix | None:
    if char in _SPACE:
        return p
    return p._replace(at="first key", open="{") if char == "{" else None


def _key(p: Prefix, char: str) -> Prefix | None:
    if char in _SPACE:
        return p
    if char == "}" and p.at == "first key":
        return _closed(p, "{")
    if char != '"' or (p.open == "{" and p.keys is not None and not p.keys):
        return None
    named = p.open == "{" and p.keys is not None
    return p._replace(at="string", rest="key", key="" if named else None)


def _colon(p: Prefix, char: str) -> Prefix | None:
    if char in _SPACE:
        return p
    return p._replace(at="value") if char == ":" else None


def _value(p: Prefix, char: str) -> Prefix | None:
    if char in _SPACE:
        return p
    if char == "]" and p.at == "first item":
        return _closed(p, "[")
    if char == '"':
        return p._replace(at="string", rest="value", key=None)
    if p.open == "{" and p.keys is not None:
        return None
    if char == "{":
        return p._replace(at="first key", open=p.open + "{")
    if char == "[":
        return p._replace(at="first item", open=p.open + "[")
    if char in _LITERALS:
        return p._replace(at="literal", rest=_LITERALS[char])
    if char == "-" or char in _DIGITS:
        return p._replace(at="number", rest={"-": "-", "0": "0"}.get(char, "d"))
    return None


def _string(p: Prefix, char: str) -> Prefix | None:
    if char == '"':
        return _string_end(p)
    if char == "\\":
        return p._replace(at="escape", key=None if p.key is None else "\\")
    if char < " ":
        return None
    if p.key is None or p.key.startswith("\\"):
        return p
    key = p.key + char
    return p._replace(key=key) if any(each.startswith(key) for each in p.keys or ()) else None


def _string_end(p: Prefix) -> Prefix | None:
    if p.rest == "value":
        return p._replace(at="after")
    if p.key is not None and p.keys is not None:
        if p.key.startswith("\\"):
            return p._replace(at="colon", keys=None, key=None)  # an escaped key: from here on anything is let pass
        if p.key not in p.keys:
            return None
        return p._replace(at="colon", keys=p.keys - {p.key}, key=None)
    return p._replace(at="colon")


def _escape(p: Prefix, char: str) -> Prefix | None:
    if char == "u":
        return p._replace(at="hex", rest=f"{p.rest}:4")
    return p._replace(at="string") if char in '"\\/bfnrt' else None


def _hex(p: Prefix, char: str) -> Prefix | None:
    if char not in _HEX:
        return None
    what, _, left = p.rest.partition(":")
    return p._replace(rest=f"{what}:{int(left) - 1}") if left != "1" else p._replace(at="string", rest=what)


def _literal(p: Prefix, char: str) -> Prefix | None:
    if not p.rest.startswith(char):
        return None
    return p._replace(rest=p.rest[1:]) if len(p.rest) > 1 else p._replace(at="after", rest="")


def _number(p: Prefix, char: str) -> Prefix | None:
    kind = "1" if char in "123456789" else {"E": "e", "-": "+"}.get(char, char)
    following = _NUMBER[p.rest].get(kind)
    if following is not None:
        return p._replace(rest=following)
    return _after(p._replace(at="after"), char) if p.rest in _ENDS else None


def _after(p: Prefix, char: str) -> Prefix | None:
    if char in _SPACE:
        return p._replace(at="after")
    if char == ",":
        if p.open == "{" and p.keys is not None and not p.keys:
            return None
        return p._replace(at="key" if p.open[-1] == "{" else "value")
    return _closed(p, {"}": "{", "]": "["}.get(char, ""))


def _closed(p: Prefix, opener: str) -> Prefix | None:
    if not opener or p.open[-1:] != opener:
        return None
    if len(p.open) == 1:
        return None if p.keys else p._replace(at="done", open="")
    return p._replace(at="after", open=p.open[:-1])


def _done(p: Prefix, char: str) -> Prefix | None:
    return p if char in _SPACE else None


_STEPS = {
    "start": _start, "first key": _key, "key": _key, "colon": _colon, "value": _value, "first item": _value,
    "string": _string, "escape": _escape, "hex": _hex, "literal": _literal, "number": _number, "after": _after,
    "done": _done,
}  # fmt: skip
