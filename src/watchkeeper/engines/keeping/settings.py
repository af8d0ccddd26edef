"""The settings of retention as they are written in watchkeeper.toml, and the rules they amount to."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from watchkeeper.engines.keeping.pseudonyms import FIELDS
from watchkeeper.engines.keeping.rules import ALL_REASONS, DAY_NS, Rules
from watchkeeper.queries.timespan import parse_span

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?i?B?)")
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Sampling(_Settings, frozen=True):
    """Which bodies are kept beyond the window, and with what chance. Table `[sampling]`.

    Metadata is always kept. A trace that is kept is kept whole, and its record says why and with what probability.
    """

    enabled: Annotated[bool, Meta(description="Whether bodies are thinned when the window ends.")] = True
    window: Annotated[
        str,
        Meta(description="How long all bodies are kept after they came in (`36h`); late complaints find them."),
    ] = "7d"
    share: Annotated[
        float,
        Meta(ge=0, le=1, description="The random share of traces kept besides, whole; it makes rates estimable."),
    ] = 0.02
    reasons: Annotated[
        tuple[str, ...],
        Meta(description="What a trace is kept for; any of: " + ", ".join(f"`{each}`" for each in ALL_REASONS) + "."),
    ] = ALL_REASONS
    complaints: Annotated[
        tuple[str, ...], Meta(description="Names of scores that are people's own; a low one is a complaint.")
    ] = ("feedback", "complaint", "thumbs", "rating")
    low_score: Annotated[float, Meta(description="A score below this is low.")] = 0.5
    cost_fence: Annotated[
        float,
        Meta(
            gt=0,
            description="A call is a cost outlier above its upper quartile times the ratio of the quartiles to this "
            "power, per upstream and model, and above twice the median.",
        ),
    ] = 1.5
    slow_quantile: Annotated[
        float, Meta(gt=0.5, lt=1, description="A reply is slow above this quantile of its model's durations.")
    ] = 0.99


class Retention(_Settings, frozen=True):
    """How long what is kept is kept, and how much disk it may take. Table `[retention]`.

    Lengths count from when a record came in: `36h`, `90d`, `7y`, or `forever`; none may be shorter than the one before.
    """

    bodies: Annotated[str, Meta(description="The bodies of traces that were kept beyond the window.")] = "90d"
    fields: Annotated[str, Meta(description="Previews, messages, attributes and events of spans.")] = "180d"
    metadata: Annotated[str, Meta(description="Spans: times, models, tokens, costs, users, sessions.")] = "400d"
    records: Annotated[
        str, Meta(description="Everything else: decisions, audit, effects, scores, findings, incidents, experiments.")
    ] = "7y"
    identities: Annotated[
        str,
        Meta(
            description="After this, names of users are keyed pseudonyms, everywhere; not before `bodies`, which are "
            "the bytes that passed and may hold names themselves."
        ),
    ] = "forever"
    identity_fields: Annotated[tuple[str, ...], Meta(description="Which names: `user`, `session`, or both.")] = (
        "user",
    )
    disk_cap: Annotated[
        str, Meta(description="The most that the data directory may take, such as `20GB`; no cap when empty.")
    ] = ""
    floor: Annotated[
        str, Meta(description="Nothing younger than this goes for the cap's sake; new bodies are left out instead.")
    ] = "24h"
    every: Annotated[str, Meta(description="How often it is done. The disk is looked at more often.")] = "10m"

    @property
    def every_s(self) -> float:
        """`every` in seconds."""
        return parse_span(self.every) / 1e9


class SettingProblem(ValueError):
    """A setting that cannot be used: which one, and what to write instead."""

    def __init__(self, place: str, value: object, sentence: str) -> None:
        super().__init__(f"`{place}` is {value!r}: {sentence}")


def rules_of(sampling: Sampling, retention: Retention) -> Rules:
    """The rules that the settings amount to; raises `SettingProblem` naming what does not fit."""
    for reason in sampling.reasons:
        if reason not in ALL_REASONS:
            raise SettingProblem("sampling.reasons", reason, f"no such reason; they are {', '.join(ALL_REASONS)}.")
    lengths = {
        "sampling.window": _some("sampling.window", sampling.window),
        **{f"retention.{name}": _length(f"retention.{name}", getattr(retention, name)) for name in _ORDER},
    }
    shortest, named = lengths["sampling.window"], "sampling.window"
    for name in (f"retention.{each}" for each in _ORDER):
        length = lengths[name]
        if length is not None and (shortest is None or length < shortest):
            value = getattr(retention, name.partition(".")[2])
            raise SettingProblem(name, value, f"shorter than `{named}`, which it would end; make it at least as long.")
        shortest, named = length, name
    _length("retention.every", retention.every)
    identities = _identities(retention, lengths["retention.bodies"])
    return Rules(
        sampling=sampling.enabled,
        window_ns=_some("sampling.window", sampling.window),
        share=sampling.share,
        reasons=sampling.reasons,
        complaints=sampling.complaints,
        low_score=sampling.low_score,
        cost_fence=sampling.cost_fence,
        slow_quantile=sampling.slow_quantile,
        bodies_ns=lengths["retention.bodies"],
        fields_ns=lengths["retention.fields"],
        metadata_ns=lengths["retention.metadata"],
        records_ns=lengths["retention.records"],
        identities_ns=identities,
        identity_fields=tuple(sorted(set(retention.identity_fields))),
        disk_cap_bytes=_size("retention.disk_cap", retention.disk_cap),
        floor_ns=_some("retention.floor", retention.floor),
    )


def _identities(retention: Retention, bodies_ns: int | None) -> int | None:
    """When names become pseudonyms; raises `SettingProblem`."""
    wrong = [each for each in retention.identity_fields if each not in FIELDS]
    if wrong or not retention.identity_fields:
        raise SettingProblem("retention.identity_fields", wrong, f"expected some of {', '.join(FIELDS)}.")
    length = _length("retention.identities", retention.identities)
    if length is not None and (bodies_ns is None or length < bodies_ns):
        raise SettingProblem(
            "retention.identities",
            retention.identities,
            "shorter than `retention.bodies`; bodies may hold names and cannot be written anew, so let them go first.",
        )
    return length


_ORDER = ("bodies", "fields", "metadata", "records")


def _length(place: str, text: str) -> int | None:
    if text == "forever":
        return None
    try:
        if text.endswith("y") and text[:-1].replace(".", "", 1).isdigit():
            return round(float(text[:-1]) * 365 * DAY_NS)
        return parse_span(text)
    except ValueError as error:
        raise SettingProblem(place, text, "expected a length such as 36h, 90d or 7y, or forever.") from error


def _some(place: str, text: str) -> int:
    length = _length(place, text)
    if length is None:
        raise SettingProblem(place, text, "expected a length such as 36h or 7d; it cannot be for ever.")
    return length


def _size(place: str, text: str) -> int | None:
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SettingProblem(place, text, "expected a size such as 500MB, 20GB or 1.5TiB.")
    unit = match[2].removesuffix("B")
    factor = 1024 ** "kMGT".index(unit[0]) * 1024 if unit.endswith("i") and unit != "i" else _UNITS.get(unit, 1)
    return int(float(match[1]) * factor)
