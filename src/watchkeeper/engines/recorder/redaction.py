"""Takes sensitive values out of what is about to be recorded: bodies, streams, exports and records, before any write.

Only the places of the values change; every other byte stays as it came, so JSON stays JSON and a stream stays a stream.
Text is searched as it is meant: JSON escapes and percent codes undone, JSON within JSON strings opened, the pieces of a
stream joined. What stands in place of a value is plain ASCII in brackets, which no rule looks at again.

Cost: a screen over the raw bytes says whether anything can be there; where it says no, the bytes pass as they are.

Limits: base64, compressed and encrypted parts are not opened; a value that is spread over several JSON strings of one
unstreamed body is not joined; a percent code of a percent code is not undone.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from watchkeeper.engines.recorder.literals import (
    LITERAL,
    ROOT,
    Edit,
    Node,
    NotJson,
    Source,
    Value,
    unescape,
    unquote,
    walk,
)
from watchkeeper.engines.recorder.rules import TOKEN_DIGITS, Hit, Rule
from watchkeeper.engines.recorder.streaming import Channels, lines_of, looks_streamed, stream_values

MOST_NESTED = 6
SCREENED_ABOVE_CHARS = 64
"""A longer string is screened by itself before it is searched."""
MOST_PASSES = 4
SECONDS_AND_PER_MB = (2.0, 2.0)
_DIGITS = re.compile(r"\d\d|\d\.|[0-9a-fA-F]:")
_HIDDEN = tuple(re.compile(each) for each in (rb"\\/", rb"%[2-7][0-9A-Fa-f]", rb"\\u00[2-7][0-9A-Fa-f]"))
"""Apart, because a pattern that begins with a fixed byte is searched ten times as fast as a choice of several."""
_HIDDEN_TEXT = re.compile(r"%[2-7][0-9A-Fa-f]")
_QUERY = re.compile(r"[?&;]?([A-Za-z0-9_.\[\]-]{1,80})=([^\s&;\"'<>]{1,4096})")
_PAIR = re.compile(
    r"(?P<e>\\{0,8})(?P<q>[\"'])(?P<n>[\w.@$-]{1,80})(?P=e)(?P=q)\s{0,4}:\s{0,4}"
    r"(?:(?P=e)(?P=q)(?P<v>.{0,8192}?)(?<!\\)(?P=e)(?P=q)|(?P<w>[\w.+-]{1,200}))",
    re.DOTALL,
)
_LINE = re.compile(r"^[ \t-]{0,40}([\w.@$-]{1,80})[ \t]{0,4}:[ \t]{1,4}([^\s\"'{\[].{0,2000})$", re.MULTILINE)
_NUMBER = re.compile(r"-?\d[\d.eE+-]*\Z")
_TOOL_PLACES = frozenset({"tool_arguments", "tool_results"})
_TOOL_TYPES = frozenset({"tool_use", "function_call", "custom_tool_call", "mcp_call", "server_tool_use"})
_RESULT_TYPES = frozenset({"tool_result", "function_call_output", "custom_tool_call_output", "tool_call_response"})


class RedactionFailed(ValueError):
    """A payload could not be searched to its end; it must not be kept as it is."""


class Redaction(NamedTuple):
    """What is left of some bytes: the bytes, how many places were replaced, and how many by which rule."""

    data: bytes
    total: int
    by: Counter[str]


NOTHING_TAKEN: Counter[str] = Counter()
"""By which rules nothing was replaced. Nobody may count in it: it is shared."""
Probes = dict[Rule, frozenset[str]]


class Redactor:
    """Applies rules. Thread-safe. Without rules it changes nothing and costs nothing."""

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        """`key` is the secret under which tokens are made; each tenant has a key of its own from it."""
        self.rules = tuple(rules)
        self._fielded = tuple(rule for rule in rules if rule.fields)
        self._plain = self.rules[0] if len(self.rules) == 1 and not (self._fielded or self.rules[0].places) else None
        self._asked: dict[frozenset[str] | None, tuple[Rule, ...]] = {}
        self._key = key
        self._keys: dict[str, bytes] = {}
        labels = "|".join(sorted({re.escape(rule.label) for rule in rules}, key=len, reverse=True)) or "$^"
        self._mark = re.compile(rf"\[(?:{labels})(?::[0-9a-f]{{{TOKEN_DIGITS}}})?\]")

    def payload(self, data: bytes, media: str, name: str = "", tenant: str = "default") -> tuple[bytes, int]:
        """Some bytes without what the rules take out, and how many places were replaced."""
        done = self.redact(data, media, place_of(name), tenant)
        return done.data, done.total

    def redact(
        self, data: bytes, media: str = "", places: frozenset[str] | None = None, tenant: str = "default"
    ) -> Redaction:
        """As `payload`, and by which rule; `places` None means that every rule applies.

        Raises `RedactionFailed` when the search takes too long or does not come to an end.
        """
        if not self.rules or media.startswith(("image/", "audio/", "video/")):
            return Redaction(data, 0, NOTHING_TAKEN)
        probes = self._screen(data, places)
        if not probes:
            return Redaction(data, 0, NOTHING_TAKEN)
        by: Counter[str] = Counter()
        text = data.decode("utf-8", "surrogateescape")
        try:
            text = self._settled(text, probes, places, tenant, by)
        except RecursionError as error:
            raise RedactionFailed("the payload is nested too deeply to be searched") from error
        return Redaction(text.encode("utf-8", "surrogateescape"), by.total(), by) if by else Redaction(data, 0, by)

    def text(
        self, text: str, places: frozenset[str] | None = None, tenant: str = "default", node: Node = ROOT
    ) -> tuple[str, Counter[str]]:
        """A single value without what the rules take out; `node` says which field it is the value of."""
        named = self.named(node, places) if self._fielded else None
        if named is not None and text and not self._mark.fullmatch(text):
            return named.instead(text, self.tenant_key(tenant)), Counter((named.name,))
        probes = self._screen(text.encode("utf-8", "surrogatepass"), places)
        if not probes:
            return text, NOTHING_TAKEN
        by: Counter[str] = Counter()
        return self._settled(text, probes, places, tenant, by), by

    @property
    def local(self) -> bool:
        """Whether what the rules find never reaches beyond a JSON string, and is the same wherever that stands."""
        return not self._fielded and not any(rule.always or rule.places for rule in self.rules)

    def named(self, node: Node, places: frozenset[str] | None) -> Rule | None:
        """The rule that takes a field out whatever it holds, None where there is none."""
        return next((rule for rule in self._fielded if rule.applies(places) and rule.names(node)), None)

    def for_ids(self) -> Redactor:
        """The rules for ids: less those that look for numbers, which ids may look like."""
        return Redactor([rule for rule in self.rules if not rule.digits], self._key)

    def for_names(self) -> Redactor:
        """The rules for names under which things are counted and joined: they become tokens whatever the action."""
        return Redactor([rule.always_token() for rule in self.rules], self._key)

    def may_change(self, data: bytes) -> bool:
        """Whether a rule may find something in these bytes; False is certain."""
        if self._plain is not None and b"\\" not in data and b"%" not in data and not looks_streamed(data):
            return self._plain.screen(data, b"") is not None
        return bool(self._screen(data, None))

    def tenant_key(self, tenant: str) -> bytes:
        """The key under which a tenant's tokens are made."""
        key = self._keys.get(tenant)
        if key is None:
            key = hashlib.blake2b(tenant.encode(), key=self._key, digest_size=32, person=b"wk-redaction").digest()
            self._keys[tenant] = key
        return key

    def _screen(self, data: bytes, places: frozenset[str] | None) -> Probes:
        """The rules that may find something in some bytes, each with what its screen saw."""
        rules = self._asked.get(places)
        if rules is None:
            rules = tuple(rule for rule in self.rules if rule.applies(places) or rule.places & _TOOL_PLACES)
            self._asked[places] = rules
        lower = data.lower() if self._fielded else b""
        others = []
        if (b"\\" in data or b"%" in data) and any(each.search(data) for each in _HIDDEN):
            others.append(_shown(data))
        if looks_streamed(data):
            others.append(stream_values(data))
        found: Probes = {}
        for rule in rules:
            seen = rule.screen(data, lower)
            for other in others:
                more = rule.screen(other, other.lower() if lower else b"") if other else None
                if more is not None:
                    seen = more if seen is None else seen | more
            if seen is not None:
                found[rule] = seen
        return found

    def _settled(self, text: str, probes: Probes, places: frozenset[str] | None, tenant: str, by: Counter[str]) -> str:
        """The text after as many passes as it takes until nothing more is found."""
        base_s, per_mb_s = SECONDS_AND_PER_MB
        until = time.monotonic() + base_s + per_mb_s * len(text) / 1_000_000
        for _ in range(MOST_PASSES):
            edits = _Search(self, probes, tenant, until, dropping="logprobs" if by else None).edits(text, places)
            if not edits:
                return text
            if not by and '"logprobs"' in text:
                edits = _Search(self, probes, tenant, until, dropping="logprobs").edits(text, places)
            by.update(edit.rule for edit in edits if edit.rule)
            text = applied(text, edits)
            probes = self._screen(text.encode("utf-8", "surrogatepass"), places)
            if not probes:
                return text
        raise RedactionFailed(f"the payload still held sensitive values after {MOST_PASSES} passes")


class _Search:
    """One pass over one payload."""

    def __init__(self, redactor: Redactor, probes: Probes, tenant: str, until: float, dropping: str | None) -> None:
        self._mark, self._key = redactor._mark, redactor.tenant_key(tenant)
        self._probes, self._until, self._dropping = probes, until, dropping
        self._fields = [rule for rule in probes if rule.fields]
        self._texts = [(rule, seen or None) for rule, seen in probes.items() if not rule.fields]
        self._by_tool = any(rule.places & _TOOL_PLACES for rule in probes)

    def edits(self, text: str, places: frozenset[str] | None) -> list[Edit]:
        """What has to change in a payload's text."""
        if looks_streamed(text[:512].encode("utf-8", "replace")):
            return _apart(self._stream(list(lines_of(text)), text, places))
        return self.inside(text, places, ROOT, 0)

    def inside(self, text: str, places: frozenset[str] | None, node: Node, nested: int) -> list[Edit]:
        """What has to change in a text: as JSON where it looks like it, else as plain text."""
        if time.monotonic() > self._until:
            raise RedactionFailed("the search of the payload took too long")
        if nested < MOST_NESTED and text.lstrip()[:1] in ("{", "[", '"') and '"' in text:
            return self._json(text, places, node, nested)
        return self._flat(text, places)

    def _json(self, text: str, places: frozenset[str] | None, node: Node, nested: int) -> list[Edit]:
        if self._fields or self._by_tool or self._dropping:
            try:
                return _apart(self._values(text, walk(text, node), places, nested))
            except NotJson:
                if self._fields:
                    return _apart([*self._literals(text, places, nested), *self._instead(self._pairs(text, places))])
        return _apart(self._literals(text, places, nested))

    def _literals(self, text: str, places: frozenset[str] | None, nested: int) -> Iterator[Edit]:
        """The edits of each string, and of what stands between the strings."""
        at = 0
        for match in LITERAL.finditer(text):
            start, end = match.span()
            if start - at > 7:
                yield from self._between(text, at, start, places)
            if end - start > 6:
                yield from self.literal(text, start + 1, end - 1, places, ROOT, nested)
            at = end
        if len(text) > at + 7:
            yield from self._between(text, at, len(text), places)

    def _between(self, text: str, start: int, end: int, places: frozenset[str] | None) -> Iterator[Edit]:
        """What is not in quotes: a number that becomes a string, or the tail of a text that was cut."""
        source = unescape(text[start:end])
        for edit in self._flat(source.text, places):
            left, right = start + source.place(edit.start), start + source.place(edit.end)
            around = (text[:left].rstrip()[-1:] or ":") + (text[right:].lstrip()[:1] or ",")
            number = _NUMBER.match(text[left:right]) is not None and around[0] in ":,[" and around[1] in ",]}"
            yield Edit(left, right, (f'"{edit.text}"' if edit.text else "null") if number else edit.text, edit.rule)

    def _values(self, text: str, values: Iterable[Value], places: frozenset[str] | None, nested: int) -> Iterator[Edit]:
        for value in values:
            own = places if places is None or not self._by_tool else places | _tool_places(value.node)
            rule = next((rule for rule in self._fields if rule.applies(own) and rule.names(value.node)), None)
            if rule is not None:
                yield from self._replaced(text, value, rule)
            elif self._dropping and value.node.step == self._dropping and text[value.start : value.end] != "null":
                yield Edit(value.start, value.end, "null", "logprobs")
            elif value.kind == "text":
                yield from self.literal(text, value.start + 1, value.end - 1, own, value.node, nested)
            elif value.kind == "plain" and value.end - value.start > 7:
                yield from self._between(text, value.start, value.end, own)

    def _replaced(self, text: str, value: Value, rule: Rule) -> Iterator[Edit]:
        """The whole value of a field."""
        written = text[value.start : value.end]
        if written in ("null", '""'):
            return
        if value.kind == "text":
            said = unescape(written[1:-1]).text
            if not self._mark.fullmatch(said):
                yield Edit(value.start + 1, value.end - 1, rule.instead(said, self._key), rule.name)
            return
        instead = rule.instead(written, self._key)
        yield Edit(value.start, value.end, f'"{instead}"' if instead else "null", rule.name)

    def literal(
        self, text: str, start: int, end: int, places: frozenset[str] | None, node: Node, nested: int
    ) -> Iterator[Edit]:
        """The edits of the inside of one JSON string, which lies at `start` to `end`."""
        source = unescape(text[start:end])
        for edit in self.inside(source.text, places, node, nested + 1):
            yield _lifted(edit, source, start)

    def _flat(self, text: str, places: frozenset[str] | None) -> list[Edit]:
        """The edits of plain text; values that overlap are taken out as one."""
        hits = list(self._hits(text, places))
        if "%" in text and _HIDDEN_TEXT.search(text):
            source = unquote(text)
            hits += [
                hit._replace(start=source.place(hit.start), end=source.place(hit.end))
                for hit in self._hits(source.text, places)
            ]
        if self._fields:
            hits += self._pairs(text, places)
        if not hits:
            return []
        hits.sort(key=lambda hit: (hit.start, -hit.end))
        marks = [match.span() for match in self._mark.finditer(text)] if "[" in text else []
        joined: list[Hit] = []
        for hit in hits:
            if any(start < hit.end and hit.start < end for start, end in marks):
                continue
            if joined and hit.start < joined[-1].end:
                last = joined[-1]
                end = max(last.end, hit.end)
                joined[-1] = last if end == last.end else Hit(last.start, end, last.rule, text[last.start : end])
            else:
                joined.append(hit)
        return self._instead(joined)

    def _instead(self, hits: Iterable[Hit]) -> list[Edit]:
        return [Edit(hit.start, hit.end, hit.rule.instead(hit.value, self._key), hit.rule.name) for hit in hits]

    def _hits(self, text: str, places: frozenset[str] | None) -> Iterator[Hit]:
        data = text.encode("utf-8", "surrogatepass") if len(text) > SCREENED_ABOVE_CHARS else b""
        for rule, probes in self._texts:
            if not rule.applies(places) or (rule.digits and not _DIGITS.search(text)):
                continue
            if data and (seen := rule.screen(data, b"")) is None:
                continue
            for start, end in rule.find(text, (seen or None) if data else probes):
                if end > start:
                    yield Hit(start, end, rule, text[start:end])

    def _pairs(self, text: str, places: frozenset[str] | None) -> Iterator[Hit]:
        """The values of fields that a rule names within other text: in queries, forms, headers, quoted JSON."""
        found: list[tuple[str, int, int]] = []
        if "=" in text:
            found += [(match.group(1), *match.span(2)) for match in _QUERY.finditer(text)]
        if ":" in text:
            found += [(match.group(1), *match.span(2)) for match in _LINE.finditer(text)]
            for match in _PAIR.finditer(text):
                found.append((match.group("n"), *match.span("v" if match.group("v") is not None else "w")))
        for name, start, end in found:
            node = Node(None, name, {})
            rule = next((rule for rule in self._fields if rule.applies(places) and rule.names(node)), None)
            value = text[start:end]
            if rule is not None and end > start and value != "null" and not self._mark.fullmatch(value):
                yield Hit(start, end, rule, value)

    def _stream(self, lines: list[tuple[int, int]], text: str, places: frozenset[str] | None) -> list[Edit]:
        """The edits of a stream: each event's own, and those of what its pieces say together."""
        channels, found, at = Channels(), [], 0
        for start, end in lines:
            found += self._flat_at(text, at, start, places)
            at = end
            try:
                values = walk(text[start:end])
            except NotJson:
                found += [_moved(each, start) for each in self._literals(text[start:end], places, 0)]
                continue
            rest = [value for value in values if not channels.take(value, text, start)]
            found += [_moved(each, start) for each in self._values(text[start:end], rest, places, 0)]
        found += self._flat_at(text, at, len(text), places)
        for channel in channels.all():
            own = places if places is None else places | _tool_places(channel.node)
            edits = self.inside(channel.text, own, channel.node, 1)
            if edits:
                found += channel.spread(edits)
        return found

    def _flat_at(self, text: str, start: int, end: int, places: frozenset[str] | None) -> list[Edit]:
        return [_moved(each, start) for each in self._flat(text[start:end], places)] if end - start > 8 else []


def _moved(edit: Edit, by: int) -> Edit:
    return Edit(edit.start + by, edit.end + by, edit.text, edit.rule)


def _lifted(edit: Edit, source: Source, start: int) -> Edit:
    """An edit of what a string says, as an edit of how it is written."""
    written = edit.text.replace("\\", "\\\\").replace('"', '\\"')
    return Edit(start + source.place(edit.start), start + source.place(edit.end), written, edit.rule)


def _apart(edits: Iterable[Edit]) -> list[Edit]:
    """Edits in order and without overlaps: the outer one counts."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda each: (each.start, -each.end)):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
    return kept


def applied(text: str, edits: Sequence[Edit]) -> str:
    """A text with its edits made; they are in order and do not overlap."""
    pieces: list[str] = []
    at = 0
    for edit in edits:
        pieces += (text[at : edit.start], edit.text)
        at = edit.end
    pieces.append(text[at:])
    return "".join(pieces)


def _shown(data: bytes) -> bytes:
    """The bytes with escapes and percent codes of ASCII characters undone, for the screens alone."""
    plain = re.sub(rb"\\+u00([2-7][0-9A-Fa-f])|%([2-7][0-9A-Fa-f])", _shown_byte, data)
    return plain.replace(b"\\/", b"/")


def _shown_byte(match: re.Match[bytes]) -> bytes:
    return bytes((int(match.group(1) or match.group(2), 16),))


def _tool_places(node: Node) -> frozenset[str]:
    """Whether a value is part of a tool's arguments or result, by the names and types above it."""
    found: set[str] = set()
    above: Node | None = node
    while above is not None:
        tags = above.tags
        if above.step == "arguments" or (above.step == "input" and _type_of(above) in _TOOL_TYPES):
            found.add("tool_arguments")
        if above.step in ("partial_json",):
            found.add("tool_arguments")
        if tags.get("role") in ("tool", "function") or tags.get("type") in _RESULT_TYPES:
            found.add("tool_results")
        above = above.parent
    return frozenset(found)


def _type_of(node: Node) -> str | None:
    return None if node.parent is None else node.parent.tags.get("type")


def place_of(name: str) -> frozenset[str] | None:
    """Where a payload stands, by its name; None for one that is not known, so that every rule applies."""
    if name.startswith(("request", "sent", "messages.input")):
        return frozenset({"request"})
    if name.startswith(("reply", "messages.output")):
        return frozenset({"reply"})
    if name in ("tool.arguments", "tool.result"):
        return frozenset({"tool_arguments" if name == "tool.arguments" else "tool_results"})
    return None
