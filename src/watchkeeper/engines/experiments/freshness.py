"""Says whether a score still is about what is serving: by the digests that evals and production have in common.

An agent is several artefacts that are shipped apart, so an eval and production drift apart. The gateway names the
composition of every call (system prompt, tools, parameters, model, upstream, policies) by one digest, whoever makes the
call. A score whose compositions are not the ones that answer now is stale, whatever its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from watchkeeper.records.record import Record

State = Literal["fresh", "stale", "unknown"]


class Live(Record):
    """A composition that answered calls lately, without those of the experiment itself."""

    composition: str
    model: str
    calls: int


class Freshness(Record):
    """Whether an experiment is about what serves. `share` is of the live calls that its compositions answered."""

    state: State
    sentence: str
    share: float | None = None
    calls: int = 0
    tested: tuple[str, ...] = ()
    other: tuple[Live, ...] = ()


def freshness(
    tested: Mapping[str, int], live: Sequence[Live], models: Sequence[str], own_among: bool = True
) -> Freshness:
    """Compare what an experiment has tested (answers by composition) with the live calls for its `models`.

    The experiment's own calls are taken off the live ones, unless they are not among them (`own_among`): those of one
    agent or service are not an eval's. It is fresh when its compositions answered all others.
    """
    if not tested:
        return Freshness(
            state="unknown",
            sentence="The gateway named no composition of this run's answers. Run the suite through the gateway: "
            "watchkeeper eval run SUITE --target http://127.0.0.1:8787/v1",
        )
    left = dict(tested)
    others: list[Live] = []
    same = 0
    for each in live:
        if each.model not in models:
            continue
        own = min(left.get(each.composition, 0), each.calls) if own_among else 0
        left[each.composition] = left.get(each.composition, 0) - own
        calls = each.calls - own
        if each.composition in tested:
            same += calls
        elif calls:
            others.append(Live(composition=each.composition, model=each.model, calls=calls))
    total = same + sum(each.calls for each in others)
    names = tuple(sorted(tested))
    if total == 0:
        asked = ", ".join(sorted(models)) or "its model"
        sentence = f"Nothing but this run asked for {asked} in that time, so nothing is known of what serves."
        return Freshness(state="unknown", sentence=sentence, tested=names)
    share = same / total
    if others:
        return Freshness(
            state="stale",
            sentence=f"{total - same} of {total} live calls were answered by "
            f"{'a composition' if len(others) == 1 else f'{len(others)} compositions'} that this run has not tested. "
            f"Its scores say nothing of {'it' if len(others) == 1 else 'those'}: run the suite again with what serves.",
            share=share,
            calls=total,
            tested=names,
            other=tuple(others),
        )
    sentence = f"All {total} live calls were answered by what this run has tested."
    return Freshness(state="fresh", sentence=sentence, share=share, calls=total, tested=names)


def about_composition(tested: Mapping[str, int], composition: str) -> Freshness:
    """Whether an experiment is about one composition that is named, whether it serves already or is about to.

    `composition` is a digest, or how one begins.
    """
    names = tuple(sorted(tested))
    if not tested:
        return freshness({}, [], [])
    hits = [name for name in names if name.startswith(composition)]
    if hits == list(names):
        sentence = f"All {sum(tested.values())} answers of this run came from {composition[:12]}."
        return Freshness(state="fresh", sentence=sentence, share=1.0, tested=names)
    if hits:
        share = sum(tested[name] for name in hits) / sum(tested.values())
        sentence = (
            f"Only {share:.0%} of this run's answers came from {composition[:12]}: the composition changed while it "
            "ran, and its scores are about no single one. Run the suite again."
        )
        return Freshness(state="stale", sentence=sentence, share=share, tested=names)
    told = ", ".join(name[:12] for name in names)
    sentence = f"This run tested {told}, and not {composition[:12]}. Its scores say nothing of that one."
    return Freshness(state="stale", sentence=sentence, share=0.0, tested=names)
