"""Says how well a judge agrees with gold labels, and with itself when the two answers change places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.analysis.intervals import clustered, wilson
from watchkeeper.analysis.mcnemar import mcnemar_exact, score_interval
from watchkeeper.analysis.quantiles import normal_quantile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

TIE = "tie"


class Judged(NamedTuple):
    """One pair: the better answer, and the judge's verdict in each order, mapped back to the answers; None: unreadable.

    Verdicts are "1" or "2" like labels, or "tie", which is never right; `swapped` is the verdict with answer 2 shown
    first.
    """

    label: str
    plain: str | None
    swapped: str | None = None


class Audit(Record, frozen=True, kw_only=True):
    """What a set of judgments says of its judge. An unreadable verdict is counted, and is not right.

    `right` is over both orders, its interval over pairs; `right_both` needs both orders. `consistent` is the same
    verdict in both orders, over pairs that were read in both. `first_bias` is the share of pairs in which the answer
    that was shown first won in both orders, less the share in which the second one did; `first_bias_p` is exact and
    `order_bias` is the same with its interval (Tango's).
    `kappa` corrects the agreement with the labels for chance, `kappa_orders` that between the orders.
    """

    pairs: int
    unreadable: int
    right: Estimate
    right_plain: Estimate
    right_swapped: Estimate | None = None
    right_both: Estimate | None = None
    consistent: Estimate | None = None
    first_bias: float | None = None
    first_bias_p: float | None = None
    order_bias: Estimate | None = None
    ties: int = 0
    kappa: Estimate | None = None
    kappa_orders: Estimate | None = None
    notes: tuple[str, ...] = ()


def audit(judged: Sequence[Judged], *, both: bool) -> Audit:
    """Audit judgments; `both` says that every pair was judged in both orders. Raises ValueError for no pairs."""
    if not judged:
        raise ValueError("There are no judgments to audit. Look at the file and its columns.")
    n = len(judged)
    plain = [each.plain == each.label for each in judged]
    unreadable = sum(each.plain is None for each in judged) + (sum(j.swapped is None for j in judged) if both else 0)
    result = Audit(
        pairs=n,
        unreadable=unreadable,
        right=wilson(sum(plain), n),
        right_plain=wilson(sum(plain), n),
        kappa=kappa([(j.label, j.plain) for j in judged if j.plain is not None]),
        ties=sum((each.plain == TIE) + (each.swapped == TIE) for each in judged),
        notes=_notes(judged, unreadable),
    )
    return _with_orders(result, judged, plain) if both else result


def _with_orders(result: Audit, judged: Sequence[Judged], plain: Sequence[bool]) -> Audit:
    n = len(judged)
    swapped = [each.swapped == each.label for each in judged]
    right = [float(x) for pair in zip(plain, swapped, strict=True) for x in pair]
    read = [(each.plain, each.swapped) for each in judged if each.plain is not None and each.swapped is not None]
    # Answer 1 stands first in the plain order and second in the swapped one.
    first = sum(pair == ("1", "2") for pair in read)
    second = sum(pair == ("2", "1") for pair in read)
    labelled = [(j.label, v) for j in judged for v in (j.plain, j.swapped) if v is not None]
    return msgspec.structs.replace(
        result,
        right=clustered(right, [i for i in range(n) for _ in range(2)]),
        right_swapped=wilson(sum(swapped), n),
        right_both=wilson(sum(a and b for a, b in zip(plain, swapped, strict=True)), n),
        consistent=wilson(sum(a == b for a, b in read), len(read)),
        first_bias=(first - second) / len(read) if read else None,
        first_bias_p=mcnemar_exact(first, second),
        order_bias=score_interval(second, first, len(read)),
        kappa=kappa(labelled),
        kappa_orders=kappa(read),
    )


def kappa(pairs: Sequence[tuple[Hashable, Hashable]], *, confidence: float = 0.95) -> Estimate | None:
    """Cohen's kappa with its large-sample interval (Fleiss, Cohen and Everitt, 1969); None where it is not defined.

    It is not defined for no pairs, nor where both sides always say one and the same thing. Limits: for few pairs the
    interval is too narrow; it assumes independent pairs.
    """
    n = len(pairs)
    rows, columns = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    expected = sum(rows[name] * columns[name] for name in rows) / (n * n) if n else 1.0
    if n == 0 or expected >= 1:
        return None
    cells = Counter(pairs)
    observed = sum(count for (a, b), count in cells.items() if a == b) / n
    value = (observed - expected) / (1 - expected)
    share_a = {name: count / n for name, count in rows.items()}
    share_b = {name: count / n for name, count in columns.items()}
    on = sum(
        cells[name, name] / n * ((1 - expected) - (share_b.get(name, 0) + share_a[name]) * (1 - observed)) ** 2
        for name in share_a
    )
    off = (1 - observed) ** 2 * sum(
        count / n * (share_b.get(a, 0.0) + share_a.get(b, 0.0)) ** 2 for (a, b), count in cells.items() if a != b
    )
    rest = (observed * expected - 2 * expected + observed) ** 2
    error = math.sqrt(max(0.0, on + off - rest) / n) / (1 - expected) ** 2
    half = normal_quantile((1 + confidence) / 2) * error
    return Estimate(
        value=value,
        low=max(-1.0, value - half),
        high=min(1.0, value + half),
        n=n,
        method="Cohen's kappa, Fleiss-Cohen-Everitt",
        confidence=confidence,
    )


def _notes(judged: Sequence[Judged], unreadable: int) -> tuple[str, ...]:
    notes = []
    if unreadable:
        notes.append(f"{unreadable} verdicts could not be read; they count as not right, and are in no kappa.")
    verdicts = {v for each in judged for v in (each.plain, each.swapped) if v is not None}
    if len(verdicts) == 1 and len(judged) > 1:
        notes.append(f"The judge says {verdicts.pop()!r} every time: it does not look at the answers.")
    return tuple(notes)
