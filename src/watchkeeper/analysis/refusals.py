"""Knows a refusal by its beginning. Limits: English; one in other words, or after a preamble, is not known."""

from __future__ import annotations

import re

_BEGINS = re.compile(
    r"\W*(i['’]m sorry|i am sorry|sorry,|i can(no|['’])t|i['’]m (not able|unable)|i am (not able|unable)|i won['’]t"
    r"|as an ai\b|unfortunately,? i can)",
    re.IGNORECASE,
)
_LONGEST = 2_000


def begins_as_refusal(text: str) -> bool:
    """Whether a text of at most 2,000 characters begins as refusals do."""
    return len(text) <= _LONGEST and _BEGINS.match(text) is not None
