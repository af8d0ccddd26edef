"""What is to be replaced in the record, where, and by what: the rules of redaction, checked when they are loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from copy import copy
from fnmatch import fnmatchcase
from typing import NamedTuple

from watchkeeper.analysis.pattern_cost import CostlyPattern, checked
from watchkeeper.analysis.sensitive import DETECTORS, Detector, Place
from watchkeeper.engines.recorder.literals import Node
from watchkeeper.engines.recorder.rule_spec import Action, RuleSpec

PLACES = ("request", "reply", "tool_arguments", "tool_results", "attributes", "metadata")
TOKEN_DIGITS = 12
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")


_NO_PROBES: frozenset[str] = frozenset()


class WrongRule(ValueError):
    """A rule that cannot work; the message says what is wrong and what to write instead."""


class Hit(NamedTuple):
    """What a rule found in a text."""

    start: int
    end: int
    rule: Rule
    value: str


class Rule:
    """A rule ready for use. `label` stands in what replaces a value; `name` in counts and in what a span says."""

    def __init__(self, spec: RuleSpec, known: Sequence[str] = ()) -> None:
        """Raises `WrongRule`. `known` are literal values to be found besides (credentials this process holds)."""
        self.name, self.label, self._detector, self._pattern = _kind(spec)
        self.action: Action = spec.action
        self.places = frozenset(spec.places)
        self.fields = tuple(tuple(reversed(each.lower().split("."))) for each in spec.fields)
        self.known = tuple(sorted({each for each in known if len(each) >= 8}, key=len, reverse=True))
        self.always = self._pattern is not None or any(steps[0].strip("*?") != steps[0] for steps in self.fields)
        self._field_bytes = tuple(steps[0].encode() for steps in self.fields)
        self._known_bytes = tuple(each.encode() for each in self.known)
        unknown = self.places - set(PLACES)
        if unknown:
            raise WrongRule(f"`in` names {', '.join(sorted(unknown))}; it may hold {', '.join(PLACES)}")

    @property
    def digits(self) -> bool:
        """Whether it looks for numbers, which ids may look like."""
        return self._detector is not None and self._detector.digits

    def applies(self, places: frozenset[str] | None) -> bool:
        """Whether it is asked there; None is everywhere."""
        return not self.places or places is None or bool(self.places & places)

    def screen(self, data: bytes, lower: bytes) -> frozenset[str] | None:
        """What some bytes may hold for it: None for nothing, else probes for `find`. `lower` is in lower case."""
        if self.fields:
            hit = self.always or any(each in lower for each in self._field_bytes)
            return frozenset() if hit else None
        seen = frozenset(self._detector.screen(data)) if self._detector is not None else _NO_PROBES
        if self._known_bytes and any(each in data for each in self._known_bytes):
            return seen | {"known"}
        return seen if seen or self.always else None

    def find(self, text: str, probes: frozenset[str] | None) -> Iterable[Place]:
        """The places in a text that it is about; rules about fields find none."""
        if self._pattern is not None:
            return [match.span() for match in self._pattern.finditer(text)]
        if self._detector is None:
            return ()
        found = list(self._detector.find(text, probes))
        for value in self.known:
            at = text.find(value)
            while at >= 0:
                found.append((at, at + len(value)))
                at = text.find(value, at + len(value))
        return found

    def names(self, node: Node) -> bool:
        """Whether it is about the value at this place of a document."""
        for steps in self.fields:
            above = node.steps()
            if all((own := next(above, None)) is not None and _same(own.lower(), step) for step in steps):
                return True
        return False

    def always_token(self) -> Rule:
        """The same rule with tokens, for names under which things are counted and joined."""
        if self.action == "token":
            return self
        other = copy(self)
        other.action = "token"
        return other

    def instead(self, value: str, key: bytes) -> str:
        """What stands in place of a value; `key` is the tenant's."""
        if self.action == "drop":
            return ""
        if self.action == "mask":
            return f"[{self.label}]"
        normal = self._detector.normal(value) if self._detector is not None else value.strip()
        mark = hashlib.blake2b(
            self.label.encode() + b"\0" + normal.encode("utf-8", "surrogatepass"),
            key=key,
            digest_size=TOKEN_DIGITS // 2,
            person=b"wk-token",
        )
        return f"[{self.label}:{mark.hexdigest()}]"


def _same(own: str, step: str) -> bool:
    return own == step or (("*" in step or "?" in step) and fnmatchcase(own, step))


def _kind(spec: RuleSpec) -> tuple[str, str, Detector | None, re.Pattern[str] | None]:
    """Name, label, detector and pattern of a rule."""
    given = [name for name in ("detect", "pattern", "fields") if getattr(spec, name)]
    if len(given) != 1:
        raise WrongRule(f"it needs one of `detect`, `pattern` and `fields`; it has {' and '.join(given) or 'none'}")
    if spec.name is not None and _NAME.match(spec.name) is None:
        raise WrongRule(
            f"`name` is {spec.name!r}; write lower-case letters, digits, - and _, beginning with a letter, at most 32"
        )
    if spec.detect is not None:
        detector = DETECTORS.get(spec.detect)
        if detector is None:
            raise WrongRule(f"`detect` is {spec.detect!r}; there are {', '.join(DETECTORS)}")
        return spec.name or spec.detect, spec.name or detector.label, detector, None
    if spec.pattern is not None:
        try:
            return spec.name or "pattern", spec.name or "pattern", None, checked(spec.pattern)
        except CostlyPattern as error:
            raise WrongRule(f"`pattern` is not taken: {error}") from error
    for field in spec.fields:
        if not field or field.startswith(".") or field.endswith(".") or ".." in field or field == "*":
            raise WrongRule(f"`fields` holds {field!r}; write a name, or names joined by dots with * for any one step")
    return spec.name or "fields", spec.name or "field", None, None
