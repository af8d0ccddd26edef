"""Checks whether an output keeps to a clause, where the clause says something that a program can see.

Testable are: JSON asked for; at most, at least or exactly so many words, sentences, characters, lines or paragraphs; a
quoted text that must or must never be said, that the answer must begin or end with; no emoji, no Markdown, no bullets,
no exclamation marks; upper or lower case. A clause with a condition ("if the customer asks ...") is not testable:
whether it applied cannot be seen.

Limits: adherence shows that a clause is kept, not that it is why; compare with the rate without the clause. Sentences
are counted by their marks.
"""

from __future__ import annotations

import json
import re

from watchkeeper.records.record import Record

_CONDITION = re.compile(r"\b(?:if|unless|when|whenever|except|in case|until|where)\b", re.I)
_NOT = re.compile(r"\b(?:never|don['’]?t|do not|must not|should not|avoid|no|without)\b", re.I)
_QUOTED = re.compile(r"[\"“”«»`]([^\"“”«»`]{1,80})[\"“”«»`]")
_COUNT = re.compile(
    r"(?P<bound>at most|no more than|up to|under|fewer than|less than|maximum of|within|in|at least|more than"
    r"|minimum of|exactly)\s+(?P<number>\d+|one|two|three|four|five)\s+"
    r"(?P<unit>word|sentence|character|line|paragraph)s?\b",
    re.I,
)
_SMALL = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_MARKDOWN = re.compile(r"^\s*(?:#{1,6} |[-*+] |\d+\. |> )|\*\*|__|```|\[[^\]]+\]\(", re.M)
_BULLETS = re.compile(r"^\s*(?:[-*+•]|\d+\.)\s", re.M)
_ABSENT = (
    (re.compile(r"\bemojis?\b", re.I), _EMOJI, "no emoji"),
    (re.compile(r"\bmarkdown\b", re.I), _MARKDOWN, "no Markdown"),
    (re.compile(r"\b(?:bullets?|bullet points?|lists?)\b", re.I), _BULLETS, "no bullets"),
    (re.compile(r"\bexclamation (?:marks?|points?)\b", re.I), re.compile("!"), "no exclamation marks"),
)


class Check(Record):
    """What an output is checked for: a kind, in words (`what`), and the text or the bounds that it needs."""

    kind: str
    what: str
    text: str = ""
    least: float = 0.0
    most: float = float("inf")

    def holds(self, output: str) -> bool:
        """Whether an output keeps to it."""
        said, wanted = output.strip(), self.text.casefold()
        if self.kind == "json":
            return _is_json(said)
        if self.kind == "count":
            return self.least <= _counted(said, self.text) <= self.most
        if self.kind == "absent pattern":
            return not next(pattern for _, pattern, what in _ABSENT if what == self.what).search(said)
        if self.kind == "case":
            return said == (said.upper() if self.text == "upper" else said.lower())
        folded = said.casefold()
        if self.kind == "begins":
            return folded.startswith(wanted)
        if self.kind == "ends":
            return folded.rstrip(" .!").endswith(wanted.rstrip(" .!"))
        return (wanted in folded) == (self.kind == "says")


def check_of(text: str) -> Check | None:
    """The check of a clause, None where it is not testable."""
    if _CONDITION.search(text):
        return None
    forbids = _NOT.search(text) is not None
    for named, _, what in _ABSENT if forbids else ():
        if named.search(text):
            return Check(kind="absent pattern", what=what)
    if re.search(r"\bjson\b", text, re.I) and not forbids:
        return Check(kind="json", what="is JSON")
    count = _COUNT.search(text)
    if count is not None and not re.search(r"\b(?:never|don['’]?t|do not)\b", text, re.I):
        return _count_check(count)
    if re.search(r"\b(?:all caps|upper ?case|capital letters)\b", text, re.I) and not forbids:
        return Check(kind="case", what="is upper case", text="upper")
    if re.search(r"\b(?:lower ?case)\b", text, re.I) and not forbids:
        return Check(kind="case", what="is lower case", text="lower")
    return _quoted_check(text, forbids)


def _quoted_check(text: str, forbids: bool) -> Check | None:
    quoted = _QUOTED.findall(text)
    if len(quoted) != 1 or not re.search(
        r"\b(?:say|use|include|mention|write|begin|start|end|finish|close|sign)", text, re.I
    ):
        return None
    said = quoted[0]
    if forbids:
        return Check(kind="never says", what=f"does not say {said!r}", text=said)
    if re.search(r"\b(?:begin|start|open)\b", text, re.I):
        return Check(kind="begins", what=f"begins with {said!r}", text=said)
    if re.search(r"\b(?:end|finish|close|sign)\b", text, re.I):
        return Check(kind="ends", what=f"ends with {said!r}", text=said)
    return Check(kind="says", what=f"says {said!r}", text=said)


def _count_check(match: re.Match[str]) -> Check:
    number = float(_SMALL.get(match["number"].casefold(), 0) or match["number"])
    bound, unit = match["bound"].casefold(), match["unit"].casefold()
    least, most = 0.0, float("inf")
    if bound in ("at least", "minimum of", "more than"):
        least = number + (bound == "more than")
    elif bound in ("exactly", "in"):
        least = most = number
    else:
        most = number - (bound in ("under", "fewer than", "less than"))
    return Check(kind="count", what=f"{match.group()}", text=unit, least=least, most=most)


def _counted(said: str, unit: str) -> int:
    if unit == "word":
        return len(said.split())
    if unit == "sentence":
        return len(re.findall(r"[^.!?。！？]*\w[^.!?。！？]*(?:[.!?。！？]+(?!\d)|\Z)", said))
    if unit == "character":
        return len(said)
    if unit == "line":
        return len([line for line in said.splitlines() if line.strip()])
    return len([part for part in re.split(r"\n\s*\n", said) if part.strip()])


def _is_json(said: str) -> bool:
    try:
        json.loads(said)
    except (ValueError, RecursionError):
        return False
    return True
