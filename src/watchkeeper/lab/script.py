"""Scripted answers: rules that match a request by its content and say what the lab replies.

A script is a YAML list of rules, read from top to bottom; the first rule that matches answers:

    - name: crawl
      when: {system: You are a crawler, last: 'next: (?P<next>\\S+)', tool: fetch_page}
      calls:
        - tool: fetch_page
          arguments: {url: $next}
    - name: small talk
      when: {last_user: hello}
      answer: Hello. This is turn $turn of run $run.

All conditions of `when` must hold; an empty `when` matches every request. Texts may use `$name` places
(`$$` is a dollar sign): `turn` (assistant messages so far), `results` (tool results so far), `last` (text
of the last message), `last_user`, `model`, `run`, `count` (times this rule has answered before, in this
provider), and each named group of the `last` pattern. All but `count` depend on the request alone, so that
retries and concurrency change nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from watchkeeper.lab.recordings import role_of
from watchkeeper.lab.shapes import Reply, ToolCall, text_of

PLACES = frozenset({"turn", "results", "last", "last_user", "model", "run", "count"})
SANDBOX = "sandbox.yaml"


class ScriptError(ValueError):
    """A script cannot be used; the message names the file, the rule and the place."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions on a request.

    `model` is a shell-style pattern, `last` a regular expression on the last message's text, `tool` the name of a
    tool that must be offered, `last_role` the last message's role; `system` and `last_user` are substrings,
    compared without regard to case.
    """

    model: str | None = None
    system: str | None = None
    last_user: str | None = None
    last: str | None = None
    last_role: str | None = None
    tool: str | None = None


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call to answer with; strings among the arguments, however deep, may use `$name` places."""

    tool: str
    arguments: dict[str, Any] = {}


class Chance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several answers of a rule, drawn in proportion to its weight."""

    weight: float
    answer: str | None = None
    calls: tuple[ScriptedCall, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of a script: when it applies, and the text or the tool calls that it answers.

    With `chances` one of them is drawn instead, in a sequence that is the same for every provider: the n-th answer of
    a rule is always the same draw.
    """

    name: str
    when: When = When()
    answer: str | None = None
    calls: tuple[ScriptedCall, ...] = ()
    chances: tuple[Chance, ...] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request that a rule can look at."""

    model: str
    messages: Sequence[Any]
    tools: Sequence[Any] = ()
    run: str | None = None

    def text(self, role: str) -> str:
        """The text of the last message with this role, or an empty text."""
        for message in reversed(self.messages):
            if role_of(message) == role:
                return text_of(message.get("content"))
        return ""

    @property
    def last(self) -> str:
        message = self.messages[-1] if self.messages else None
        return text_of(message.get("content")) if isinstance(message, Mapping) else ""

    def count(self, role: str) -> int:
        return sum(role_of(message) == role for message in self.messages)

    @property
    def tool_names(self) -> frozenset[str]:
        functions = (tool.get("function") for tool in self.tools if isinstance(tool, Mapping))
        return frozenset(str(f.get("name")) for f in functions if isinstance(f, Mapping))


class Script:
    """Rules ready to answer. Keeps one number per rule, how often it answered; nothing else is remembered."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple((rule, check(rule)) for rule in rules)
        self._answered: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def answer(self, asked: Asked) -> tuple[str, Reply] | None:
        """The name of the first rule that matches and its reply, or None."""
        for index, (rule, pattern) in enumerate(self._rules):
            groups = _match(rule.when, pattern, asked)
            if groups is None:
                continue
            nth = self._answered[index]
            self._answered[index] += 1
            return rule.name, _reply(_drawn(rule, nth), _places(asked, nth) | groups, asked)
        return None


def load_script(path: str | Path) -> tuple[Rule, ...]:
    """Read a script from a YAML file. Raises `ScriptError` for a wrong rule, `OSError` if unreadable."""
    return parse_script(Path(path).read_text(encoding="utf-8"), str(path))


def sandbox_rules() -> tuple[Rule, ...]:
    """The shipped script that drives the sandbox agents."""
    text = resources.files("watchkeeper.lab").joinpath("data", SANDBOX).read_text(encoding="utf-8")
    return parse_script(text, SANDBOX)


def parse_script(text: str, name: str) -> tuple[Rule, ...]:
    """Rules from YAML text; `name` is what errors call it."""
    import yaml

    try:
        rules = msgspec.convert(yaml.safe_load(text), tuple[Rule, ...])
    except yaml.YAMLError as error:
        raise ScriptError(f"{name} is not YAML: {error}. A script is a list of rules.") from error
    except msgspec.ValidationError as error:
        raise ScriptError(f"{name} is not a script: {error}. Each rule has name, when, and answer or calls.") from error
    for rule in rules:
        try:
            check(rule)
        except ScriptError as error:
            raise ScriptError(f"{name}: {error}") from error
    return rules


def check(rule: Rule) -> re.Pattern[str] | None:
    """The compiled `last` pattern of a rule that can be used; raises `ScriptError` for one that cannot."""
    if rule.chances:
        _check_chances(rule)
    elif rule.answer is None and not rule.calls:
        raise ScriptError(f"rule {rule.name!r} says nothing. Give it an answer, calls, or both.")
    try:
        pattern = re.compile(rule.when.last) if rule.when.last is not None else None
    except re.error as error:
        raise ScriptError(
            f"rule {rule.name!r} has a `last` that is no regular expression: {error}. Quote or mend it."
        ) from error
    known = PLACES | set(pattern.groupindex if pattern else ())
    sayings: list[Rule | Chance] = [rule, *rule.chances]
    for text in _texts([[each.answer, *(call.arguments for call in each.calls)] for each in sayings]):
        template = Template(text)
        wrong = set(template.get_identifiers()) - known
        if wrong or not template.is_valid():
            named = ", ".join(f"${place}" for place in sorted(wrong)) or "a lone $"
            raise ScriptError(
                f"rule {rule.name!r} uses {named}, which has no meaning there. "
                f"Places are: {', '.join(sorted(known))}; write $$ for a dollar sign."
            )
    return pattern


def _check_chances(rule: Rule) -> None:
    if rule.answer is not None or rule.calls:
        raise ScriptError(f"rule {rule.name!r} has chances and an answer of its own. Give it one or the other.")
    for each in rule.chances:
        if not 0 < each.weight < float("inf"):
            raise ScriptError(f"rule {rule.name!r} has a chance of weight {each.weight}; expected a number above 0.")
        if each.answer is None and not each.calls:
            raise ScriptError(f"rule {rule.name!r} has a chance that says nothing. Give it an answer, calls, or both.")


def _drawn(rule: Rule, nth: int) -> Rule:
    """The rule itself, or with the n-th draw of its chances as its answer."""
    if not rule.chances:
        return rule
    draw = int.from_bytes(hashlib.blake2b(f"{rule.name}/{nth}".encode(), digest_size=8).digest()) / 2**64
    rest = draw * sum(each.weight for each in rule.chances)
    for each in rule.chances:
        rest -= each.weight
        if rest < 0:
            break
    return msgspec.structs.replace(rule, answer=each.answer, calls=each.calls)


def _match(when: When, pattern: re.Pattern[str] | None, asked: Asked) -> dict[str, str] | None:
    """The named groups of a rule that matches (often none: an empty dict), or None."""
    if when.model is not None and not fnmatchcase(asked.model, when.model):
        return None
    if when.system is not None and not _within(when.system, asked.text("system")):
        return None
    if when.last_user is not None and not _within(when.last_user, asked.text("user")):
        return None
    if when.last_role is not None and role_of(asked.messages[-1]) != when.last_role:
        return None
    if when.tool is not None and when.tool not in asked.tool_names:
        return None
    if pattern is None:
        return {}
    match = pattern.search(asked.last)
    return None if match is None else {k: v or "" for k, v in match.groupdict().items()}


def _within(part: str, text: str) -> bool:
    return part.casefold() in text.casefold()


def _places(asked: Asked, answered: int) -> dict[str, str]:
    return {
        "turn": str(asked.count("assistant")),
        "results": str(asked.count("tool")),
        "last": asked.last,
        "last_user": asked.text("user"),
        "model": asked.model,
        "run": asked.run or "",
        "count": str(answered),
    }


def _reply(rule: Rule, places: Mapping[str, str], asked: Asked) -> Reply:
    calls = []
    for index, call in enumerate(rule.calls):
        arguments = msgspec.json.encode(_fill(call.arguments, places)).decode()
        seed = f"{rule.name}/{asked.count('assistant')}/{index}/{asked.run}/{arguments}"
        call_id = "call_lab_" + hashlib.blake2b(seed.encode(), digest_size=8).hexdigest()
        calls.append(ToolCall(id=call_id, name=call.tool, arguments=arguments))
    content = None if rule.answer is None else Template(rule.answer).substitute(places)
    return Reply(content=content, tool_calls=tuple(calls))


def _fill(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return Template(value).substitute(places)
    if isinstance(value, dict):
        return {key: _fill(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, places) for item in value]
    return value


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
