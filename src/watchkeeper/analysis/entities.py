"""Finds what an answer names that its source does not: numbers, dates, addresses, identifiers and proper names.

Method: by rule. Numbers are compared by value ("1,200.0" is "1200"), everything else without regard to case. A run of
capitalised words is a name, without its first word where that opens a sentence. Limits: made for Latin scripts;
German nouns are
all capitalised, so names are not looked for where more than a third of the words are; a number that was computed from
the source's is not in the source, and counts as not found.
"""

from __future__ import annotations

import re

_EXACT = re.compile(r"https?://[^\s<>\"')\]]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b[A-Z]{1,5}-\d[\w-]*\b")
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w-])")
_NAME = re.compile(r"\b[A-Z][\w’'-]+(?:\s+(?:de|von|van|da|of)?\s*[A-Z][\w’'-]+)*")
_OPENS = re.compile(r"(?:^|[.!?:\n]\s*|^\W+)$")


def entities(text: str) -> tuple[str, ...]:
    """What a text names, in the order of kinds (exact forms, numbers, names), each once, as written."""
    exact = [found[0].rstrip(".,;:") for found in _EXACT.finditer(text)]
    rest = _EXACT.sub(" ", text)
    numbers = [found[0] for found in _NUMBER.finditer(rest)]
    words = re.findall(r"[^\W\d_]+", rest)
    capital = sum(word[0].isupper() for word in words)
    names = []
    if words and (capital <= 3 or capital <= len(words) / 3):
        for found in _NAME.finditer(rest):
            name = found[0]
            if _OPENS.search(rest[: found.start()]):
                name = name.partition(" ")[2]  # the first word of a sentence is capital anyway
            if name:
                names.append(name)
    return tuple(dict.fromkeys((*exact, *numbers, *names)))


def ungrounded(answer: str, source: str) -> tuple[str, ...]:
    """The entities of `answer` that do not stand in `source`."""
    known = {_value(found[0]) for found in _NUMBER.finditer(_EXACT.sub(" ", source))}
    folded = " ".join(source.casefold().split())
    return tuple(
        each
        for each in entities(answer)
        if not (_value(each) in known if _NUMBER.fullmatch(each) else " ".join(each.casefold().split()) in folded)
    )


def _value(number: str) -> float:
    return float(number.replace(",", ""))
