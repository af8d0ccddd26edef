"""Notices that a judge's scores move, and says whether the judge moved, the system it judges, or both.

Problem
    Scores fall from one week to the next. The system may have got worse; or the model that judges was changed, and the
    same answers would get other scores now. Mending the wrong one costs weeks.

Method
    Some answers, the anchors, are kept and judged again on a schedule: their scores are posted with `subject_kind`
    "anchor", the anchor's id as the subject and the score's usual name. Anchors are held against their own first
    judgments and live answers against the first live ones, by bets whose error holds at all times together
    (`analysis/anchors.py`). Moved anchors mean a moved ruler; live answers that moved by more than the anchors can
    have, a moved system; both, and not by the same amount, both; and where that cannot be told yet, "not resolved".

    Measured by simulation at the defaults, 100 anchors judged daily beside 200 live scores of 0 or 1 a day, 20 streams
    each: none of 100 unchanged streams of 30 days raised an alarm. A judge that turned a fifth of its yes into no was
    found within 1 day in the median, a tenth within 6; a system whose good answers fell from 80% to 70% within 6.5, and
    no stream of a moved judge was called a moved system. A system that fell by five points was not found in 25 days.

Limits
    Anchors must be like what is judged, good and bad in the same mixture. A drop of the ruler that hides a gain of the
    system is told as "ruler moved". Scores outside `low` to `high` are taken as that end, and counted. Live answers
    change with who asks as well: "system moved" says that the scores of what is asked moved, not why. A judge whose
    version or parameters change is another judge and begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis.anchors import Judged, Moved, moved
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.judgments import Scores
from watchkeeper.queries.question import Reader
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id
from watchkeeper.records.score import Score

ANCHOR = "anchor"
_PAGE = 50_000
_DAY_NS = 86_400_000_000_000


class JudgeDrift(msgspec.Struct, frozen=True, kw_only=True):
    """Anchors beside live scores; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="judge_drift",
        version="1",
        theme="quality",
        summary="Tells whether a judge moved, or the system that it judges, by anchors that are judged again.",
        references=("Vovk, Gammerman and Shafer 2005", "Shin, Ramdas and Rinaldo 2022"),
    )
    every: ClassVar[timedelta] = timedelta(hours=1)

    score: Annotated[str, msgspec.Meta(description="The name of the judge's scores.", min_length=1)] = "judge"
    anchor_baseline: Annotated[
        int, msgspec.Meta(ge=2, description="How many judgments of an anchor are its baseline.")
    ] = 5
    live_baseline: Annotated[int, msgspec.Meta(ge=20, description="How many live scores are the baseline.")] = 1_000
    alpha: Annotated[
        float, msgspec.Meta(gt=0, lt=0.5, description="The probability of a false alarm, over all time.")
    ] = 0.05
    low: Annotated[float, msgspec.Meta(description="The lowest score the judge can give.")] = 0.0
    high: Annotated[float, msgspec.Meta(description="The highest score the judge can give.")] = 1.0
    severity: Annotated[str, msgspec.Meta(pattern="^(page|ticket|note)$", description="page, ticket or note.")] = (
        "ticket"
    )

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Weigh all scores of the judge as it is now; a finding when anchors or live scores moved."""
        scores = _latest_ruler(await _scores(reader, self.score, window.end_ns))
        anchors: dict[str, list[Judged]] = {}
        live: list[Judged] = []
        outside = 0
        for score in scores:
            place = ((score.value or 0.0) - self.low) / (self.high - self.low)
            outside += not 0 <= place <= 1
            judged = Judged(min(1.0, max(0.0, place)), score.event_ns // _DAY_NS)
            (anchors.setdefault(score.subject_id, []) if score.subject_kind == ANCHOR else live).append(judged)
        found = moved(
            anchors,
            live,
            anchor_baseline=self.anchor_baseline,
            live_baseline=self.live_baseline,
            alpha=self.alpha,
        )
        if found.cause == "quiet":
            return None
        return self._finding(found, scores, {"anchors": len(anchors), "outside": outside}, window.end_ns)

    def __post_init__(self) -> None:
        """Refuse a scale without a length; raises `ValueError`."""
        if not self.low < self.high:
            raise ValueError(f"`low` must lie below `high`, and they are {self.low:g} and {self.high:g}")

    def _finding(self, found: Moved, scores: Sequence[Score], counts: dict[str, int], end_ns: int) -> Finding:
        ruled = found.cause in ("ruler moved", "both")
        shift = found.ruler_shift if ruled else found.system_shift
        odds = max(found.ruler_odds, found.system_odds)
        meaning = {
            "ruler moved": "the judge gives the same answers other scores than it did; its live scores say nothing of "
            "the system until it is mended",
            "system moved": "live answers are scored otherwise than they were, by more than the anchors can have moved",
            "both": "the judge moved, and live scores moved by another amount: the system moved too",
            "not resolved": "live scores moved, and the anchors do not suffice to tell whether the judge did",
        }[found.cause]
        return Finding(
            finding_id=new_id("fnd", end_ns),
            monitor=self.header.id,
            version=self.header.version,
            subject=f"judge:{self.score}",
            at_ns=end_ns,
            window_start_ns=scores[0].event_ns,
            window_end_ns=end_ns,
            severity=self.severity,
            sentence=(
                f"{found.cause.capitalize()}: {meaning}. Anchors shifted by {found.ruler_shift.value:+.3g}, live "
                f"scores by {found.system_shift.value:+.3g}; the odds are {min(odds, 1e12):,.0f} to 1 against nothing "
                f"having changed (alarm at {found.alarm_at:,.0f})."
            ),
            estimate=shift,
            evidence={
                "cause": found.cause,
                "ruler_odds": min(found.ruler_odds, 1e12),
                "system_odds": min(found.system_odds, 1e12),
                "ruler_shift": found.ruler_shift.value,
                "system_shift": found.system_shift.value,
                "anchors": counts["anchors"],
                "scores_outside_the_scale": counts["outside"],
            },
        )


def _latest_ruler(scores: Sequence[Score]) -> list[Score]:
    """The scores by the judge as it is now: its latest scorer, version and parameters."""
    valued = [score for score in scores if score.value is not None]
    if not valued:
        return []
    last = valued[-1]
    ruler = (last.scorer, last.version, last.parameters)
    return [score for score in valued if (score.scorer, score.version, score.parameters) == ruler]


async def _scores(reader: Reader, name: str, end_ns: int) -> list[Score]:
    """All scores of a name up to a time, oldest first."""
    rows: list[Any] = []
    while True:
        items = (await reader.ask(Scores(score=name, until=end_ns, limit=_PAGE, cursor=len(rows)))).items
        rows += items
        if len(items) < _PAGE:
            break
    known = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return sorted((msgspec.convert(row, Score) for row in known), key=lambda s: (s.event_ns, s.score_id))
