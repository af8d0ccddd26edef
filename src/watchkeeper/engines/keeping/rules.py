"""The rules of retention as one value: what is kept for certain, what at random, for how long, and the disk cap."""

from __future__ import annotations

from watchkeeper.records.ids import digest
from watchkeeper.records.kept import Reason, Stage
from watchkeeper.records.record import Record, as_json

DAY_NS = 24 * 3600 * 1_000_000_000
HOUR_NS = 3600 * 1_000_000_000
ALL_REASONS = tuple(reason.value for reason in Reason if reason is not Reason.RANDOM)
STAGES = (Stage.WHOLE, Stage.SAMPLED, Stage.BODIES, Stage.FIELDS, Stage.METADATA, Stage.RECORDS, Stage.TRIMMED)
"""In the order in which they come; a later one includes those before it."""


class Rules(Record):
    """What retention goes by. Lengths are nanoseconds since a record came in; None is for ever.

    Bodies are whole for `window_ns`. After it a trace keeps its bodies for one of `reasons`, or by the random `share`,
    until `bodies_ns`. `fields_ns` ends previews, attributes and messages, `metadata_ns` spans, `records_ns` the rest.
    After `identities_ns` the names in `identity_fields` are pseudonyms.
    Under the cap nothing younger than `floor_ns` goes.

    A call is a cost outlier above Tukey's fence on the logarithm (the upper quartile times the ratio of the quartiles
    to the power of `cost_fence`) and above twice the median, for its upstream and model; it is slow above the quantile
    `slow_quantile` of its model. A score is low below `low_score`; `complaints` name scores that people give.
    """

    sampling: bool = True
    window_ns: int = 7 * DAY_NS
    share: float = 0.02
    reasons: tuple[str, ...] = ALL_REASONS
    complaints: tuple[str, ...] = ("feedback", "complaint", "thumbs", "rating")
    low_score: float = 0.5
    cost_fence: float = 1.5
    slow_quantile: float = 0.99
    bodies_ns: int | None = 90 * DAY_NS
    fields_ns: int | None = 180 * DAY_NS
    metadata_ns: int | None = 400 * DAY_NS
    records_ns: int | None = 7 * 365 * DAY_NS
    identities_ns: int | None = None
    identity_fields: tuple[str, ...] = ("user",)
    disk_cap_bytes: int | None = None
    floor_ns: int = DAY_NS

    @property
    def version(self) -> str:
        """A name for exactly these rules."""
        return digest(as_json(self))[:16]

    def ages(self) -> tuple[tuple[Stage, int | None], ...]:
        """When each stage comes, in order."""
        return (
            (Stage.SAMPLED, self.window_ns if self.sampling else None),
            (Stage.BODIES, self.bodies_ns),
            (Stage.FIELDS, self.fields_ns),
            (Stage.METADATA, self.metadata_ns),
            (Stage.RECORDS, self.records_ns),
        )

    def due(self, youngest_ns: int, now_ns: int) -> Stage:
        """The stage in which a segment should be whose youngest record came in then."""
        found = Stage.WHOLE
        for stage, age_ns in self.ages():
            if age_ns is not None and now_ns - youngest_ns >= age_ns:
                found = stage
        return found


def before(stage: str, other: str) -> bool:
    """Whether one stage comes before another."""
    return STAGES.index(Stage(stage)) < STAGES.index(Stage(other))
