"""Measures the shape of a reply: what parsers and habits hang on, whatever the reply says.

Each feature is a number (or 0 and 1) computed from the text, its tool calls and its pace alone: length in characters,
words, lines and sentences; words a sentence; code fences; JSON as the whole text; list items, numbered items, headings,
tables, bold words; hedges and refusals a reply; a preamble ("Sure, here is") and a closing offer; whether the first
thing said is the answer, that is no preamble, hedge or heading, and after which share of the text the first number and
the first fence come; the share of letters of each script and of common words of seven languages; exclamation and
question marks, emoji; tool calls; tokens and characters a second, time to the first token, and its share of the whole.

Limits: hedges, refusals, preambles and offers are known by phrases, in English; languages by common words, so short
replies have none. A feature that is not known of a reply (its pace, say) is missing there, never zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from watchkeeper.analysis.support import sentences
from watchkeeper.records.record import Record

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_ITEM = re.compile(r"^[ \t]*[-*+\u2022][ \t]+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]+\S", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_HEDGE = re.compile(
    r"\b(?:may|might|could be|perhaps|possibly|probably|likely|it seems|appears to|i think|i believe|generally"
    r"|typically|in most cases|not (?:entirely )?(?:sure|certain)|it depends|as far as i know)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^\W*(?:i['\u2019]m sorry|i am sorry|sorry,|i can(?:not|['\u2019]t)|i['\u2019]m (?:not able|unable)|i am (?:not"
    r" able|unable)|i won['\u2019]t|as an ai\b|unfortunately,? i can)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^\W*(?:sure|certainly|of course|absolutely|great question|good question|happy to help|here(?:['\u2019]s| is| are)"
    r"|let me|thank(?:s| you)|i['\u2019]d be happy)\b",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"(?:let me know|feel free|hope (?:this|that) helps|anything else|would you like me to|happy to)[^\n]{0,120}\s*\Z",
    re.IGNORECASE,
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_NUMBER = re.compile(r"\d")
_WORD = re.compile(r"[^\W\d_]+")
_COMMON = {
    "en": frozenset("the and of to is in that for you it with are this".split()),  # noqa: SIM905
    "de": frozenset("der die und das ist nicht ein eine zu mit sie auf".split()),  # noqa: SIM905
    "fr": frozenset("le les et des est une que vous dans pour pas du".split()),  # noqa: SIM905
    "es": frozenset("el los y que es una por con para las del se".split()),  # noqa: SIM905
    "it": frozenset("il che di e un per non sono con della gli".split()),  # noqa: SIM905
    "pt": frozenset("o os que de e um uma para com do da".split()),  # noqa: SIM905
    "nl": frozenset("de het een en van is niet dat op te voor".split()),  # noqa: SIM905
}
_SCRIPTS = {
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "kana": re.compile(r"[\u3040-\u30ff]"),
    "han": re.compile(r"[\u4e00-\u9fff]"),
    "hangul": re.compile(r"[\uac00-\ud7af]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
}
_FEWEST_WORDS = 8


class Reply(Record):
    """A reply as it came: its text, the names of its tool calls (None: not known), and its pace where it is known."""

    text: str
    tools: tuple[str, ...] | None = None
    output_tokens: int | None = None
    duration_ns: int | None = None
    first_token_ns: int | None = None


def features(reply: Reply) -> dict[str, float]:
    """The features of a reply by name; one that is not known of it is left out."""
    return {**_size(reply.text), **_format(reply.text), **_manner(reply.text), **_language(reply.text), **_acts(reply)}


def _size(text: str) -> Mapping[str, float]:
    words, pieces = len(text.split()), len(sentences(text))
    found = {
        "length.characters": float(len(text)),
        "length.words": float(words),
        "length.lines": float(text.count("\n") + 1) if text else 0.0,
        "length.sentences": float(pieces),
    }
    return found | ({"length.words_per_sentence": words / pieces} if pieces else {})


def _format(text: str) -> Mapping[str, float]:
    return {
        "format.json": float(_is_json(text)),
        "format.fences": float(len(_FENCE.findall(text)) // 2),
        "format.list_items": float(len(_ITEM.findall(text))),
        "format.numbered_items": float(len(_NUMBERED.findall(text))),
        "format.headings": float(len(_HEADING.findall(text))),
        "format.table_rows": float(len(_TABLE.findall(text))),
        "format.bold": float(len(_BOLD.findall(text))),
        "format.ends_with_newline": float(text.endswith("\n")),
    }


def _manner(text: str) -> Mapping[str, float]:
    opening = bool(_PREAMBLE.match(text))
    first = sentences(text[:400])
    hedged = bool(first and _HEDGE.search(first[0].text))
    return {
        "manner.hedges": float(len(_HEDGE.findall(text))),
        "manner.refusal": float(bool(_REFUSAL.match(text))),
        "manner.preamble": float(opening),
        "manner.closing_offer": float(bool(_OFFER.search(text))),
        "order.answer_first": float(not opening and not hedged and not text.lstrip().startswith("#")),
        **_order(text),
        "manner.exclamations": float(text.count("!")),
        "manner.questions": float(text.count("?")),
        "manner.emoji": float(len(_EMOJI.findall(text))),
    }


def _order(text: str) -> Mapping[str, float]:
    """After which share of the text (0 to 1) things first come; what does not come is left out."""
    found = {"order.first_number_at": _NUMBER.search(text), "order.first_fence_at": _FENCE.search(text)}
    return {name: match.start() / len(text) for name, match in found.items() if match is not None}


def _language(text: str) -> Mapping[str, float]:
    letters = sum(1 for character in text if character.isalpha())
    said = [word.casefold() for word in _WORD.findall(text)]
    found: dict[str, float] = {}
    if letters:
        found |= {f"language.{name}": len(found_.findall(text)) / letters for name, found_ in _SCRIPTS.items()}
    if len(said) >= _FEWEST_WORDS:
        found |= {f"language.{name}": sum(w in common for w in said) / len(said) for name, common in _COMMON.items()}
    return found


def _acts(reply: Reply) -> Mapping[str, float]:
    found: dict[str, float] = {}
    if reply.tools is not None:
        found["tools.calls"] = float(len(reply.tools))
        found["tools.any"] = float(bool(reply.tools))
    return {**found, **_pace(reply)}


def _pace(reply: Reply) -> Mapping[str, float]:
    """How a reply came; what streamed is known by its first token."""
    found: dict[str, float] = {}
    first, whole = reply.first_token_ns, reply.duration_ns
    if first is not None:
        found["pace.first_token_ms"] = first / 1e6
    flow = 0 if whole is None else whole - (first or 0)
    if reply.output_tokens and flow > 0:
        found["pace.tokens_per_s"] = reply.output_tokens / (flow / 1e9)
    if first is not None and whole is not None and 0 <= first < whole:
        found["pace.first_token_share"] = first / whole
        found["pace.characters_per_s"] = len(reply.text) / (flow / 1e9)
    return found


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
