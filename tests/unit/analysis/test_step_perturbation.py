"""Steps are damaged in a known way."""

from random import Random

from watchkeeper.analysis.step_perturbation import perturbed

STEPS = ("There are 3 boxes.", "Each holds 4 lamps.", "3 x 4 = 12")


def test_truncating_keeps_the_first_half() -> None:
    assert perturbed(STEPS, "truncate", Random(0)) == STEPS[:1]


def test_corrupting_changes_one_number() -> None:
    found = perturbed(STEPS, "corrupt", Random(0))
    assert found is not None
    assert sum(a != b for a, b in zip(found, STEPS, strict=True)) == 1


def test_a_step_without_numbers_is_negated() -> None:
    assert perturbed(("The lamp is blue.",), "corrupt", Random(0)) == ("The lamp is not blue.",)


def test_swapping_needs_two_steps_that_differ() -> None:
    assert perturbed(("a", "a"), "swap", Random(0)) is None
    assert sorted(perturbed(STEPS, "swap", Random(0)) or ()) == sorted(STEPS)
