"""In which order a route's targets are asked: as written, by weight, or by weight and always alike for one caller."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from random import Random

_SPAN = 2.0**64


def ordered_by(names: Sequence[str], weights: Sequence[float], key: str | None, random: Random) -> list[int]:
    """The places of the targets in the order in which to ask them; the chance to be first is the weight's share.

    With a `key` the order is always the same for it (weighted rendezvous hashing: Thaler and Ravishankar 1998, weights
    after Schindelhauer and Schomaker 2005): each target scores -weight / ln(u) with u from a hash of key and name. When
    a target is added or taken away, only the keys that it wins or held move. Without a key, u is drawn. Targets of
    weight 0 come last, in their order.
    """
    scored = []
    for place, (name, weight) in enumerate(zip(names, weights, strict=True)):
        u = random.random() if key is None else _uniform(key, name)
        u = min(max(u, 1e-18), 1 - 1e-16)
        scored.append((-(-weight / math.log(u)) if weight > 0 else 0.0, place))
    return [place for _, place in sorted(scored)]


def _uniform(key: str, name: str) -> float:
    hashed = hashlib.blake2b(f"{len(key)}:{key}{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(hashed) + 0.5) / _SPAN
