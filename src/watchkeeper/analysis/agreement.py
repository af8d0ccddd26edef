"""Says how well a judge agrees with gold labels, and with itself when the two answers change places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.analysis.intervals import clustered_rate, wilson
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


class Orders(Record, frozen=True, kw_only=True):
    """What a judge says of the same pairs in both orders, which needs no labels.

    `consistent` is the same verdict in both orders, over all pairs: one that could not be read is the same as nothing.
    `first_bias` is the share of pairs in which the answer that was shown first won in both orders, less the share in
    which the second one did, over the pairs that were read in both; `first_bias_p` is exact and `order_bias` is the
    same with its interval (Tango's). `kappa_orders` corrects the agreement of the orders for chance.
    """

    consistent: Estimate
    first_bias: float | None
    first_bias_p: float
    order_bias: Estimate
    kappa_orders: Estimate | None


class Audit(Record, frozen=True, kw_only=True):
    """What a set of judgments says of its judge. An unreadable verdict is counted, and is not right.

    `right` is over both orders, its interval over pairs; `right_both` needs both orders. What the orders say of each
    other is that of `Orders`. `kappa` corrects the agreement with the labels for chance, over both orders together, its
    interval over pairs.
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


def orders(verdicts: Sequence[tuple[str | None, str | None]]) -> Orders:
    """Hold the verdicts on pairs against those in the other order, mapped back; None: unreadable."""
    read = [(plain, swapped) for plain, swapped in verdicts if plain is not None and swapped is not None]
    # Answer 1 stands first in the plain order and second in the swapped one.
    first = sum(pair == ("1", "2") for pair in read)
    second = sum(pair == ("2", "1") for pair in read)
    return Orders(
        consistent=wilson(sum(a == b for a, b in read), len(verdicts)),
        first_bias=(first - second) / len(read) if read else None,
        first_bias_p=mcnemar_exact(first, second),
        order_bias=score_interval(second, first, len(read)),
        kappa_orders=kappa(read),
    )


def _with_orders(result: Audit, judged: Sequence[Judged], plain: Sequence[bool]) -> Audit:
    n = len(judged)
    swapped = [each.swapped == each.label for each in judged]
    right = [float(x) for pair in zip(plain, swapped, strict=True) for x in pair]
    labelled = [(i, (j.label, v)) for i, j in enumerate(judged) for v in (j.plain, j.swapped) if v is not None]
    own = orders([(each.plain, each.swapped) for each in judged])
    return msgspec.structs.replace(
        result,
        right=clustered_rate(right, [i for i in range(n) for _ in range(2)]),
        right_swapped=wilson(sum(swapped), n),
        right_both=wilson(sum(a and b for a, b in zip(plain, swapped, strict=True)), n),
        kappa=kappa([pair for _, pair in labelled], [i for i, _ in labelled]),
        **{name: getattr(own, name) for name in own.__struct_fields__},
    )


def kappa(
    pairs: Sequence[tuple[Hashable, Hashable]],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Estimate | None:
    """Cohen's kappa with its large-sample interval (Fleiss, Cohen and Everitt, 1969); None where it is not defined.

    `clusters[i]` says to what `pairs[i]` belongs: the two orders of one pair hang together, and the interval is then
    over clusters. It is not defined for no pairs, nor where both sides always say one and the same thing. Where no
    spread was seen, as when all agree, its bounds are those of the agreement (Wilson's). Limits: for few pairs the
    interval is too narrow.
    """
    n = len(pairs)
    rows, columns = ({k: v / n for k, v in Counter(pair[side] for pair in pairs).items()} for side in (0, 1))
    expected = sum(share * columns.get(name, 0.0) for name, share in rows.items()) if n else 1.0
    if n == 0 or expected >= 1:
        return None
    observed = sum(a == b for a, b in pairs) / n
    value = (observed - expected) / (1 - expected)
    # How far one pair moves kappa: its derivative by the shares.
    pulls = {
        (a, b): ((a == b) - observed) / (1 - expected)
        - (1 - observed) * (columns.get(a, 0.0) + rows.get(b, 0.0) - 2 * expected) / (1 - expected) ** 2
        for a, b in set(pairs)
    }
    sums: dict[Hashable, float] = {}
    for key, pair in zip(range(n) if clusters is None else clusters, pairs, strict=True):
        sums[key] = sums.get(key, 0.0) + pulls[pair]
    half = normal_quantile((1 + confidence) / 2) * math.sqrt(math.fsum(x * x for x in sums.values())) / n
    low, high = value - half, value + half
    if half <= 1e-9:
        bounds = wilson(observed * len(sums), len(sums), confidence=confidence)
        low, high = ((bound - expected) / (1 - expected) for bound in (bounds.low, bounds.high))
    return Estimate(
        value=value,
        low=max(-1.0, low),
        high=min(1.0, high),
        n=n,
        method="Cohen's kappa, Fleiss-Cohen-Everitt" + ("" if clusters is None else " over pairs"),
        confidence=confidence,
    )


def _notes(judged: Sequence[Judged], unreadable: int) -> tuple[str, ...]:
    notes = []
    if unreadable:
        what = "they count as neither right nor consistent, and are in no kappa"
        notes.append(f"{unreadable} verdicts could not be read; {what}.")
    verdicts = {v for each in judged for v in (each.plain, each.swapped) if v is not None}
    if len(verdicts) == 1 and len(judged) > 1:
        notes.append(f"The judge says {verdicts.pop()!r} every time: it does not look at the answers.")
    return tuple(notes)
