"""Planted defects: each changes what it should and nothing else, where and as often as it says, the same every time."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter

import pytest

from watchkeeper.engines.experiments.asking import Asker
from watchkeeper.engines.experiments.mutants import DEFECTS, Defect, Mutant, MutantProvider, mutants_of
from watchkeeper.engines.experiments.targets import FunctionTarget

pytestmark = pytest.mark.anyio
ANSWER = "Parcel 40 weighs 12 kg and arrives on 2026-02-28."


def asked(text: str) -> str:
    return json.dumps([{"role": "user", "content": text}])


def mutant(defect: Defect, answer: str = ANSWER, rehearsed: tuple[str, ...] = (), **fields: object) -> MutantProvider:
    given = {"share": 1.0, "seed": 0} | fields
    return MutantProvider(
        Asker(FunctionTarget(lambda _: answer), "t"),
        Mutant(defect=defect, **given),  # type: ignore[arg-type]
        frozenset(rehearsed),
    )


@pytest.mark.parametrize(
    ("defect", "answer", "changed"),
    [
        ("wrong_unit", ANSWER, "Parcel 40 weighs 12 pounds and arrives on 2026-02-28."),
        ("wrong_unit", "It costs 5 euros.", "It costs 5 dollars."),
        ("wrong_unit", "No unit is here.", "No unit is here."),
        ("stale", ANSWER, "Parcel 40 weighs 9 kg and arrives on 2026-02-28."),
        ("stale", "on 2026-02-28", "on 2026-02-28"),
        ("off_by_one", ANSWER, "Parcel 40 weighs 12 kg and arrives on 2026-03-01."),
        ("off_by_one", "on 9999-12-31 or 2026-13-45", "on 9999-12-31 or 2026-13-45"),
        ("silent", ANSWER, ""),
        ("brittle", ANSWER, "I am not sure what you mean."),
    ],
)
async def test_each_defect_changes_what_it_says(defect: Defect, answer: str, changed: str) -> None:
    provider = mutant(defect, answer)
    assert (await provider.complete(asked("When?"), {})).output == changed
    assert (provider.changed, provider.applies) == ((1, 1) if changed != answer else (0, 0))


@pytest.mark.parametrize("seed", range(7))
async def test_no_reader_sees_what_a_control_changes(seed: int) -> None:
    answer = "Élodie's parcel arrives."
    said = (await mutant("control", answer, seed=seed).complete(asked("When?"), {})).output or ""
    assert said != answer or seed % 5 == 3
    assert unicodedata.normalize("NFC", said.strip()) == answer


async def test_what_shows_only_unrehearsed_leaves_the_known_questions_alone() -> None:
    provider = mutant("silent", rehearsed=("When?",), where="unrehearsed")
    assert (await provider(asked("When?"), {}, "0")).output == ANSWER
    assert (await provider(asked("when"), {}, "0")).output == ""
    assert (provider.changed, provider.applies) == (1, 2)


async def test_a_share_of_the_questions_is_touched_the_same_ones_each_time() -> None:
    provider = mutant("silent", share=0.3)
    runs = [[(await provider(asked(f"{n}?"), {}, draw)).output for n in range(300)] for draw in ("0", "1")]
    assert runs[0] == runs[1]
    assert 60 < runs[0].count("") < 120


async def test_a_failure_stays_a_failure() -> None:
    def broken(_: object) -> str:
        raise TimeoutError

    provider = MutantProvider(
        Asker(FunctionTarget(broken), "t"), Mutant(defect="silent", share=1.0, seed=0), frozenset()
    )
    assert (await provider(asked("?"), {})).error is not None
    assert provider.changed == 0


def test_the_population_has_each_defect_as_often_and_every_beginning_is_mixed() -> None:
    made = mutants_of(4, 10)
    assert Counter(each.defect for each in made) == {**dict.fromkeys(DEFECTS, 4), "control": 10}
    assert len({each.name for each in made}) == 30
    assert {each.where for each in made if each.defect == "brittle"} == {"unrehearsed"}
    assert Counter(each.where for each in made if each.defect == "stale") == {"everywhere": 2, "unrehearsed": 2}
    assert 3 <= sum(each.defect == "control" for each in made[:15]) <= 7
