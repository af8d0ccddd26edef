"""Reads the features that a call declares of itself, by which it lies in a cell of a capability map.

`X-Watchkeeper-Features: family=dates, difficulty=easy` declares them; what the header leaves out and a policy reads may
stand in the request's own `metadata`. A value may be percent-encoded. Nothing is read out of what the model is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import unquote

import msgspec

from watchkeeper.analysis.cells import FEATURE, text
from watchkeeper.records.record import Scalar

HEADER = b"x-watchkeeper-features"
MOST = 16
LONGEST = 100
_LONGEST_HEADER = 4096
_metadata = msgspec.json.Decoder(dict[str, object])


def declared_features(
    headers: Mapping[bytes, bytes], fields: Mapping[str, msgspec.Raw], wanted: Collection[str]
) -> dict[str, Scalar]:
    """The attributes `watchkeeper.feature.NAME` of a call; what cannot be read is as if it had not been declared.

    `wanted` are the names that are read out of `metadata`, where the header does not declare them.
    """
    found: dict[str, Scalar] = {}
    if HEADER in headers:
        for member in headers[HEADER][:_LONGEST_HEADER].decode("latin-1").split(",")[:MOST]:
            name, equals, value = member.partition("=")
            if equals:
                _add(found, name.strip(), unquote(value))
    if wanted and "metadata" in fields:
        try:
            metadata = _metadata.decode(fields["metadata"])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            metadata = {}
        for name in sorted(wanted):
            if FEATURE + name not in found and not isinstance(metadata.get(name), dict | list):
                _add(found, name, text(metadata.get(name)))
    return found


def _add(found: dict[str, Scalar], name: str, value: str) -> None:
    value = value.strip()
    if name and value and len(name) <= LONGEST and len(value) <= LONGEST and (name + value).isprintable():
        found.setdefault(FEATURE + name, value)
