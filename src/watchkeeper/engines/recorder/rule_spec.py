"""A rule of redaction as its owner writes it in the settings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Action = Literal["mask", "token", "drop"]


class RuleSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken out before anything is recorded. Tables `[[redactions]]`: `detect`, `pattern` or `fields`."""

    name: Annotated[
        str | None, Meta(description="Its name in counts, and in what stands in place of a value; lower-case letters.")
    ] = None
    detect: Annotated[
        str | None,
        Meta(description="`secret_keys`, `cards`, `emails`, `phones`, `ibans` or `ip_addresses`."),
    ] = None
    pattern: Annotated[
        str | None,
        Meta(description="A regular expression; refused when it could take long on any text (bound its repeats)."),
    ] = None
    fields: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of JSON fields, attributes, headers and query parameters, or paths such as `*.email`, "
            "matched from their end; upper and lower case are one."
        ),
    ] = ()
    action: Annotated[
        Action,
        Meta(
            description="`mask` writes `[email]`; `token` writes `[email:3f9a1c22d0b7]`, the same for equal values of "
            "a tenant; `drop` leaves nothing."
        ),
    ] = "mask"
    places: Annotated[
        tuple[str, ...],
        Meta(
            description="Where it applies: `request`, `reply`, `tool_arguments`, `tool_results`, `attributes`, "
            "`metadata`; everywhere when not given."
        ),
    ] = msgspec.field(name="in", default=())
