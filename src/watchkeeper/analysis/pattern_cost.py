"""Says, before a regular expression is ever run, whether it could run away on the text that suits it worst.

A backtracking engine tries, from each place, every way in which the repeats of a pattern can share out the text. The
number of ways is bounded by the product of the choices of all repeats that follow one another, and by a power of it
where one repeat stands inside another. Python's own parser gives the tree; the product is taken over it. A pattern is
accepted when no place can cost more than `MOST_STEPS`, so the time for a text is at most that many steps for each of
its characters.

Limits: the bound is of the worst case and refuses some patterns that would never meet it. A repeat without an upper
bound is accepted only at the very end, where nothing can fail after it; anywhere else it needs one, as in `\\d{1,20}`.
Back references, look-behinds of other than fixed width and conditionals are refused. The parser's tree is that of the
running Python; its names have not changed from 3.11 to 3.14.
"""

from __future__ import annotations

import re
import re._constants as tree  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from typing import Any

MOST_STEPS = 2_000
LONGEST_PATTERN = 1_000
_REPEATS = (tree.MAX_REPEAT, tree.MIN_REPEAT, tree.POSSESSIVE_REPEAT)
_SINGLE = (tree.LITERAL, tree.NOT_LITERAL, tree.ANY, tree.IN)


class CostlyPattern(ValueError):
    """A pattern that is not accepted; the message says which part and what to write instead."""


def checked(pattern: str) -> re.Pattern[str]:
    """The compiled pattern; raises `CostlyPattern` when it is not valid, may be slow, or matches nothing at all."""
    if len(pattern) > LONGEST_PATTERN:
        raise CostlyPattern(f"it has {len(pattern)} characters, at most {LONGEST_PATTERN} are taken; split it in two")
    try:
        compiled = re.compile(pattern)
        parsed = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise CostlyPattern(f"it is not a valid regular expression: {error}") from error
    if parsed.getwidth()[0] == 0:
        raise CostlyPattern("it matches empty text too, so it would match everywhere; ask for at least one character")
    steps = _sequence(list(parsed), last=True)
    if steps > MOST_STEPS:
        raise CostlyPattern(
            f"at one place of a text it could need {steps:,} steps, at most {MOST_STEPS:,} are taken; "
            "narrow its repeats, for example \\d{1,20} rather than \\d{1,500}"
        )
    return compiled


def _sequence(items: list[Any], last: bool) -> int:
    """The most ways to go through items one after another; `last` when nothing can fail behind them."""
    steps = 1
    for place, (kind, value) in enumerate(items):
        at_end = last and place == len(items) - 1
        steps *= _item(kind, value, at_end)
    return steps


def _item(kind: Any, value: Any, last: bool) -> int:
    if kind in _REPEATS:
        return _repeat(kind, value, last)
    if kind is tree.BRANCH:
        return int(sum(_sequence(list(branch), last) for branch in value[1]))
    if kind is tree.SUBPATTERN:
        return _sequence(list(value[-1]), last)
    if kind is tree.ATOMIC_GROUP:
        return _sequence(list(value), False)
    if kind in (tree.ASSERT, tree.ASSERT_NOT):
        return _sequence(list(value[1]), False)
    if kind in (tree.GROUPREF, tree.GROUPREF_EXISTS, tree.GROUPREF_IGNORE):
        raise CostlyPattern("it refers back to a group, which cannot be bounded; write the part out")
    if kind in (*_SINGLE, tree.AT):
        return 1
    raise CostlyPattern(f"its part {str(kind).lower()} is not known here; write it more simply")


def _repeat(kind: Any, value: tuple[Any, Any, Any], last: bool) -> int:
    low, high, body = value
    inner = list(body)
    if high is tree.MAXREPEAT or high > 100_000:
        if len(inner) == 1 and inner[0][0] in _SINGLE and last:
            return 1
        raise CostlyPattern(
            "it repeats something without an upper bound (`*`, `+` or `{n,}`) before its end; "
            "say how long that can be, for example `{1,40}`"
        )
    if len(inner) == 1 and inner[0][0] in _SINGLE:
        return int(high) - int(low) + 1
    ways = _sequence(inner, False)
    if ways == 1:
        return int(high) - int(low) + 1
    total = ways ** min(int(high), 64)
    return int(min(total, 1 << 62)) * (int(high) - int(low) + 1)
