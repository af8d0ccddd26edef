"""Merkle trees: one digest over many, and a short path that shows that one of them is among them.

The tree is that of RFC 9162 (Certificate Transparency 2.0), section 2.1, with BLAKE2b-256: leaves and inner nodes are
told apart by a first byte, and a tree of n leaves splits at the largest power of two below n.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over some leaves; over none it is the digest of nothing."""
    if not leaves:
        return hashlib.blake2b(digest_size=32).digest()
    level = [_leaf(each) for each in leaves]
    while len(level) > 1:
        # Pairing level by level gives the same tree as splitting at powers of two: a last odd node moves up as it is.
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def path_to(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The nodes that lead from a leaf to the root, nearest first; raises `IndexError` for a leaf that is not there."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} among {len(leaves)}")
    level = [_leaf(each) for each in leaves]
    path = []
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
        index //= 2
    return tuple(path)


def root_from(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which a leaf's path leads in a tree of `count` leaves; None when the path does not fit."""
    if not 0 <= index < count:
        return None
    node, left = _leaf(leaf), list(path)
    while count > 1:
        if index ^ 1 < count:
            if not left:
                return None
            beside = left.pop(0)
            node = _node(beside, node) if index & 1 else _node(node, beside)
        index //= 2
        count = (count + 1) // 2
    return None if left else node


def _leaf(data: bytes) -> bytes:
    return hashlib.blake2b(_LEAF + data, digest_size=32).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(_NODE + left + right, digest_size=32).digest()
