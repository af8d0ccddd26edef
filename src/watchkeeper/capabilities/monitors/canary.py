"""Notices that the model behind a name answers otherwise than it did, from probes that are asked on a schedule.

Problem
    A provider changes a model, its defaults or its safety rules, and no deploy of yours did it. Status codes stay
    green; the id in the reply may even stay the same.

Method
    Probes (`[[probes]]`) ask fixed questions several times a round. Of each answer three features are looked at: the
    answer itself, its form (text, JSON, refusal, tools, how it ended), and its length. The first `baseline` answers of
    a probe are what it says when all is well; each later one gets a conformal p-value among all before it, and bets
    against "nothing changed" are laid on them anew each round (`analysis/exchangeability.py`). Evidence is averaged
    over the features, and over all probes taken together and one by one. It exceeds 1/alpha with a probability of at
    most alpha, at any time ever, if nothing changes. The model's own name for itself is told beside it and is no
    evidence.

    Measured by simulation at the defaults, 10 probes of 3 answers a day: 1 of 600 unchanged streams of 90 days raised
    an alarm. A swap that changes half of the probes in 70% of their answers was found on the same day in the median,
    within two days in all of 200 streams; one that changes one probe of ten after 3 days in the median, and not
    within 50 days in 8 of 200.

Limits
    What every probe answers alike before and after is not seen: choose questions on which models differ. A short
    baseline hides changes: with 30 answers a change in one probe of ten was mostly never found. Failed calls are no
    answers; errors are for other monitors. A change stays found until its new state is accepted (`watchkeeper probe
    accept`), and a probe whose question is edited begins a new baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis.canary import Evidence, told, weigh
from watchkeeper.analysis.two_proportions import newcombe
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.judgments import Scores
from watchkeeper.queries.question import Reader
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id
from watchkeeper.records.score import Score

_PAGE = 50_000


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Probes compared with their own beginnings; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="canary",
        version="1",
        theme="change",
        summary="Notices that the model behind a name answers fixed probes otherwise than it did.",
        references=("Vovk, Gammerman and Shafer 2005", "Shin, Ramdas and Rinaldo 2022", "Ville 1939"),
    )
    every: ClassVar[timedelta] = timedelta(minutes=5)

    probes: Annotated[
        tuple[str, ...], msgspec.Meta(description="Only these probes; all of them when none is named.")
    ] = ()
    baseline: Annotated[
        int, msgspec.Meta(ge=10, description="How many answers of a probe are its baseline, before any bet is laid.")
    ] = 100
    alpha: Annotated[
        float, msgspec.Meta(gt=0, lt=0.5, description="The probability of a false alarm, over all time.")
    ] = 0.01
    severity: Annotated[str, msgspec.Meta(pattern="^(page|ticket|note)$", description="page, ticket or note.")] = (
        "ticket"
    )

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Bet on all answers since the baselines, up to the window's end; a finding when the stake is worth 1/alpha."""
        streams = streams_of(await _scores(reader, window.end_ns), self.probes)
        evidence = weigh(streams, self.baseline)
        if evidence.value < 1 / self.alpha:
            return None
        return self._finding(streams, evidence, window.end_ns)

    def _finding(self, streams: Mapping[str, Sequence[Score]], evidence: Evidence, end_ns: int) -> Finding:
        probe, feature = max(evidence.parts, key=lambda part: evidence.parts[part])
        before, after = streams[probe][: self.baseline], streams[probe][self.baseline :]
        usual, share_before, share_after = _shares(feature, before, after)
        estimate = newcombe(share_before, len(before), share_after, len(after))
        was = Counter(str(score.attributes.get("model")) for score in before).most_common(1)[0][0]
        now = str(after[-1].attributes.get("model"))
        rename = "" if was == now else f" The model calls itself {now!r}; it was {was!r}."
        bets = min(evidence.value, 1e12)
        return Finding(
            finding_id=new_id("fnd", end_ns),
            monitor=self.header.id,
            version=self.header.version,
            subject="canary:" + (",".join(self.probes) or "all"),
            at_ns=end_ns,
            window_start_ns=after[0].event_ns,
            window_end_ns=end_ns,
            severity=self.severity,
            sentence=(
                f"Probes are answered otherwise than their baseline: the odds are {bets:,.0f} to 1 against nothing "
                f"having changed (alarm at {1 / self.alpha:,.0f}). Most changed is the {feature} of {probe!r}: {usual} "
                f"in {share_after} of {len(after)} answers since the baseline, where it was {share_before} of "
                f"{len(before)}.{rename}"
            ),
            estimate=estimate,
            evidence={
                "odds": bets,
                "alarm_at": 1 / self.alpha,
                "probe": probe,
                "feature": feature,
                "usual": usual,
                "baseline_answers": len(before),
                "later_answers": len(after),
                "model_before": was,
                "model_now": now,
                "probes": len(streams),
            },
        )


def streams_of(scores: Sequence[Score], probes: Sequence[str] = ()) -> dict[str, list[Score]]:
    """The answers of each probe in order, under its latest question and since its latest acceptance."""
    accepted = {s.subject_id: s.event_ns for s in scores if s.name == "probe.accepted"}
    streams: dict[str, list[Score]] = {}
    for score in scores:
        if score.name != "probe" or score.label is None or (probes and score.subject_id not in probes):
            continue
        if score.event_ns <= accepted.get(score.subject_id, 0):
            continue
        stream = streams.setdefault(score.subject_id, [])
        if stream and stream[-1].version != score.version:
            stream.clear()
        stream.append(score)
    return streams


async def _scores(reader: Reader, end_ns: int) -> list[Score]:
    """All scores of probes up to a time, oldest first."""
    rows: list[Any] = []
    while True:
        asked = Scores(subject_kind="probe", until=end_ns, limit=_PAGE, cursor=len(rows))
        items = (await reader.ask(asked)).items
        rows += items
        if len(items) < _PAGE:
            break
    known = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return sorted((msgspec.convert(row, Score) for row in known), key=lambda s: (s.event_ns, s.score_id))


def _shares(feature: str, before: Sequence[Score], after: Sequence[Score]) -> tuple[str, int, int]:
    """In words what was usual in a baseline, and in how many answers it is there, before and after."""
    if feature == "length":
        middle = sorted(score.value or 0.0 for score in before)[len(before) // 2]
        counts = [sum((score.value or 0.0) <= middle for score in part) for part in (before, after)]
        return f"at most {middle:.0f} characters", counts[0], counts[1]

    usual, count = Counter(told(feature, score) for score in before).most_common(1)[0]
    return repr(usual), count, sum(told(feature, score) == usual for score in after)
