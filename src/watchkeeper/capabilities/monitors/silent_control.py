"""Notices that a control stopped: a policy, scorer or rule that no longer fires, a field that replies no longer carry.

Problem
    A control that stops working is silent, and silence looks like health. A guard that reads `finish_reason` rules on
    nothing once the provider stops sending it; a judge whose key has expired judges nothing, and the chart stays flat.

Method
    Each control has opportunities and firings: a policy may rule (whatever it rules) and a scorer may judge on every
    call, a reply that was answered may carry its fields, for each upstream on its own, and a span may carry the
    attributes that a router or a guard leaves (`attributes`). How often a control fires is learnt from its own
    beginning, or declared (`expect`), and each later block of calls is a bet against "it still does"
    (`analysis/silence.py`). The evidence exceeds its threshold with a probability of at most `alpha`, over all controls
    and all time, while nothing changes; each of m controls has alpha / m.

    Measured by simulation, each of 12 controls at alpha 0.01, 60 calls an hour with a daily season and a rate that
    differs from day to day by 30% either way: none of 240 streams of 90 days raised an alarm. A control that fires on
    one call in 20 and stops after 40 days was found after 1,473 calls in the median (74 firings missed), in bursts of
    four after 3,707; one that fires on 3 calls in 10 after 339, and a field of every reply after 146.

Limits
    A control that fired fewer than 30 times and then over some 120 more expected firings is not watched: too little is
    known. Nor is one watched before 40 blocks have passed, and a block is at least one bucket: at five minutes that is
    200 minutes with calls, however many calls they hold. What is taken away on purpose is found all the same; name it
    in `ignore`, or begin anew with `since`. Traffic that moves away from the calls on which a control fires reads as
    silence. That a control fires less often, but still does, is for other monitors. With a history that slides
    (`window_days`) the false-alarm rate is for each window of that length. It finds one control at a time and names the
    others that are silent too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.silence import Silence, Slot, silence
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.firings import FIELDS, Asked, Carried, Judged, Ruled
from watchkeeper.queries.question import Reader
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id

_DAY_NS = 86_400_000_000_000
_MINUTE_NS = 60_000_000_000
_NAMED = 5


class SilentControl(msgspec.Struct, frozen=True, kw_only=True):
    """Controls that used to fire and stopped; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="silent_control",
        version="1",
        theme="governance",
        summary="Notices that a policy, scorer or rule stopped firing, or that replies lost a field that others read.",
        references=("Ville 1939", "Clopper and Pearson 1934", "Shin, Ramdas and Rinaldo 2022"),
    )
    every: ClassVar[timedelta] = timedelta(minutes=15)

    controls: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Only controls that match: `policy:*`, `scorer:*`, `field:usage@openai`, `attribute:*`."
        ),
    ] = ("*",)
    ignore: Annotated[tuple[str, ...], msgspec.Meta(description="Controls that may be silent; patterns too.")] = ()
    expect: Annotated[
        dict[str, Annotated[float, msgspec.Meta(gt=0, lt=1)]],
        msgspec.Meta(description="Declared rates by control: `policy:mail-guard = 0.02` is a firing in 50 calls."),
    ] = {}
    attributes: Annotated[
        tuple[str, ...], msgspec.Meta(description="Span attributes whose presence is a firing, by key.")
    ] = ()
    alpha: Annotated[
        float, msgspec.Meta(gt=0, lt=0.5, description="The probability of a false alarm, over all controls and time.")
    ] = 0.01
    window_days: Annotated[float, msgspec.Meta(gt=0, le=400, description="How far back history is read, in days.")] = (
        90.0
    )
    bucket_minutes: Annotated[
        float, msgspec.Meta(gt=0, le=1440, description="How finely time is cut before calls are put into blocks.")
    ] = 5.0
    since: Annotated[int, msgspec.Meta(ge=0, description="Begin to learn at this time, unix seconds.")] = 0
    severity: Annotated[str, msgspec.Meta(pattern="^(page|ticket|note)$", description="page, ticket or note.")] = (
        "ticket"
    )

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Bet on every control up to the window's end; a finding about the one with the most evidence of silence."""
        histories = await self._histories(reader, window.end_ns)
        if not histories:
            return None
        alpha = self.alpha / len(histories)
        found = {name: silence(slots, alpha, self.expect.get(name)) for name, slots in histories.items()}
        silent = {name: each for name, each in found.items() if each is not None}
        if not silent:
            return None
        worst = max(silent, key=lambda name: (silent[name].evidence, silent[name].expected, name))
        return self._finding(worst, silent[worst], sorted(set(silent) - {worst}), len(histories), window.end_ns)

    def _watches(self, name: str) -> bool:
        wanted = any(fnmatchcase(name, pattern) for pattern in self.controls)
        return wanted and not any(fnmatchcase(name, pattern) for pattern in self.ignore)

    async def _histories(self, reader: Reader, end_ns: int) -> dict[str, list[Slot]]:
        """Opportunities and firings of every control that is watched, from the first time it fired on."""
        width = round(self.bucket_minutes * _MINUTE_NS)
        begin = max(0, end_ns - round(self.window_days * _DAY_NS), self.since * 1_000_000_000)
        since, until = begin // width * width, end_ns // width * width
        if until <= since:
            return {}
        span = {"since": since, "until": until, "width": width}
        calls = {row["bucket"]: row["calls"] for row in (await reader.ask(Asked(**span))).items}
        counted: dict[str, dict[int, int]] = defaultdict(dict)
        offered: dict[str, Mapping[int, int]] = {}
        for row in (await reader.ask(Ruled(**span))).items:
            name = f"policy:{row['instance'] or row['policy']}"
            counted[name][row["bucket"]] = counted[name].get(row["bucket"], 0) + row["rulings"]
        for row in (await reader.ask(Judged(**span))).items:
            counted[f"scorer:{row['scorer']}/{row['name']}"][row["bucket"]] = row["scores"]
        answered: dict[str, dict[int, int]] = defaultdict(dict)
        for row in (await reader.ask(Carried(**span, attributes=self.attributes))).items:
            upstream = row["upstream"] or "none"
            answered[upstream][row["bucket"]] = row["calls"]
            for field in FIELDS:
                name = f"field:{field}@{upstream}"
                offered[name], counted[name][row["bucket"]] = answered[upstream], row[field]
            for number, key in enumerate(self.attributes):
                name = f"attribute:{key}"
                counted[name][row["bucket"]] = counted[name].get(row["bucket"], 0) + row[f"attribute_{number}"]
        for name in self.expect:
            counted.setdefault(name, {})
        return {
            name: slots
            for name, firings in sorted(counted.items())
            if self._watches(name) and (slots := _slots(offered.get(name, calls), firings, name in self.expect))
        }

    def _finding(self, name: str, seen: Silence, others: Sequence[str], watched: int, end_ns: int) -> Finding:
        more = f" Silent too: {', '.join(others[:_NAMED])}{' ...' if len(others) > _NAMED else ''}." if others else ""
        what = "is missing in all replies" if name.startswith("field:") else "has not fired"
        odds = min(seen.evidence, 1e12)
        return Finding(
            finding_id=new_id("fnd", end_ns),
            monitor=self.header.id,
            version=self.header.version,
            subject=f"silent_control:{name}",
            at_ns=end_ns,
            window_start_ns=seen.since_ns,
            window_end_ns=end_ns,
            severity=self.severity,
            sentence=(
                f"{name} {what} in the last {seen.opportunities:,} calls; at its rate of {seen.rate:.3g} a call it was "
                f"expected {seen.expected:,.0f} times. The odds are {odds:,.0f} to 1 against nothing having changed."
                f"{more} See whether it still runs, and whether what it reads still comes."
            ),
            estimate=wilson(0, seen.opportunities, confidence=0.99),
            evidence={
                "control": name,
                "since_ns": seen.since_ns,
                "calls": seen.opportunities,
                "expected": seen.expected,
                "rate": seen.rate,
                "declared": name in self.expect,
                "odds": odds,
                "alarm_at": (1 if name in self.expect else 2) * watched / self.alpha,
                "block_calls": seen.size,
                "blocks": seen.blocks,
                "controls_watched": watched,
                "silent_too": ", ".join(others) or None,
            },
        )


def _slots(calls: Mapping[int, int], firings: Mapping[int, int], declared: bool) -> list[Slot]:
    """A control's history from its first firing on; of one whose rate is declared, from the first call on."""
    first = min((at for at, count in firings.items() if count), default=None)
    if first is None and not declared:
        return []
    times = sorted({*calls, *firings})
    begin = times[0] if declared and times else first
    return [
        Slot(at, max(calls.get(at, 0), 1 if firings.get(at) else 0), firings.get(at, 0))
        for at in times
        if begin is None or at >= begin
    ]
