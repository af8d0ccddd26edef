"""Names what in a prompt is likely to split badly, to miss the prompt cache, or to be counted wrongly.

Each hazard is a place with a reason, found by looking at one request:

- a system or last message that ends in a space or line break: with byte-pair vocabularies the next word is then begun
  from a bare space, which is another token than the word with its space;
- a date, a clock time or a random id in the head (tools, system), which changes the prefix of every request;
- JSON in a message with spaces between its tokens or keys out of order: more tokens, and a prefix that changes
  when the writer of the JSON does;
- characters out of composed normal form (NFC), zero-width or byte-order marks: they look the same and are other
  tokens.

Limits: hazards are no errors; what they cost is seen in the estimates and in the cached tokens, not here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from watchkeeper.analysis.prefix import Part, canonical
from watchkeeper.records.record import Record

HazardKind = Literal["trailing space", "volatile head", "loose JSON", "odd characters"]
_HEAD = ("tools", "system", "developer")
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b1[5-9]\d{8}(?:\d{3})?\b|\b\d{1,2}:\d\d:\d\d\b"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
)
_UNSEEN = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
_SHOWN = 60


class Hazard(Record):
    """One hazard: what it is, where it stands, and the text in question."""

    kind: HazardKind
    path: str
    text: str


def hazards(parts: Sequence[Part]) -> tuple[Hazard, ...]:
    """The hazards of one prompt, at most one of a kind for each part."""
    found: list[Hazard] = []
    for index, part in enumerate(parts):
        ends = part.role in _HEAD or index == len(parts) - 1
        if ends and part.text and part.text[-1].isspace():
            found.append(Hazard(kind="trailing space", path=part.path, text=repr(part.text[-20:])))
        volatile = _VOLATILE.search(part.text) if part.role in _HEAD else None
        if volatile is not None:
            found.append(Hazard(kind="volatile head", path=part.path, text=volatile.group()))
        if part.role != "tools" and _is_loose(part.text):
            found.append(Hazard(kind="loose JSON", path=part.path, text=part.text.strip()[:_SHOWN]))
        unseen = _UNSEEN.search(part.text)
        if unseen is not None or not unicodedata.is_normalized("NFC", part.text):
            at = unseen.start() if unseen is not None else 0
            found.append(Hazard(kind="odd characters", path=part.path, text=ascii(part.text[at : at + 20])))
    return tuple(found)


def _is_loose(text: str) -> bool:
    """Whether a text is JSON that its canonical form is at least a twentieth shorter than, or has other key order."""
    stripped = text.strip()
    form = canonical(stripped) if len(stripped) > 1 else None
    if form is None:
        return False
    shortest = json.dumps(json.loads(stripped), separators=(",", ":"), ensure_ascii=False)
    ordered = json.dumps(json.loads(form), separators=(",", ":"), ensure_ascii=False)
    return len(stripped) > 1.05 * len(shortest) or shortest != ordered
