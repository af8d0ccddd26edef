"""The detectors: what they find, what they leave, and how often they are wrong on a corpus of our own."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import yaml

from watchkeeper.analysis.sensitive import DETECTORS, find, iban_holds, luhn, masked

CORPUS = yaml.safe_load((Path(__file__).parent / "sensitive_corpus.yaml").read_text())
ROWS = [(name, row["text"], row.get("finds", [])) for name, rows in CORPUS.items() for row in rows]


@pytest.mark.parametrize(("name", "text", "finds"), ROWS)
def test_the_corpus(name: str, text: str, finds: list[str]) -> None:
    assert [text[start:end] for start, end in find(name, text)] == finds


@pytest.mark.parametrize(("name", "text", "finds"), [row for row in ROWS if row[2]])
def test_what_is_found_is_seen_by_the_screen(name: str, text: str, finds: list[str]) -> None:
    probes = frozenset(DETECTORS[name].screen(text.encode()))
    assert probes
    assert set(DETECTORS[name].find(text, probes)) == set(DETECTORS[name].find(text, None))


def test_a_luhn_sum_passes_one_number_in_ten() -> None:
    rng = Random(1)
    passed = sum(luhn(f"{rng.randrange(10**15, 10**16)}") for _ in range(20_000))
    assert 1_800 < passed < 2_200


def test_random_numbers_are_rarely_cards() -> None:
    """Simulated: identifiers of 10 to 19 random digits. What is taken for a card is stated in the how-to page."""
    rng = Random(2)
    numbers = [str(rng.randrange(10 ** (size - 1), 10**size)) for size in range(10, 20) for _ in range(2_000)]
    wrong = sum(bool(find("cards", f"order {number} shipped")) for number in numbers)
    assert wrong / len(numbers) < 0.02


def test_simulated_cards_and_ibans_are_all_found() -> None:
    rng = Random(3)
    for _ in range(500):
        body = f"4{rng.randrange(10**14):014d}"
        card = next(body + digit for digit in "0123456789" if luhn(body + digit))
        grouped = " ".join(card[at : at + 4] for at in range(0, 16, 4))
        if len(set(card)) < 2:
            continue
        for written in (card, grouped, grouped.replace(" ", "-")):
            assert find("cards", f"pay with {written} please") == [(9, 9 + len(written))]
        plain = f"{rng.randrange(10**18):018d}"
        iban = next(f"DE{check:02d}{plain}" for check in range(2, 99) if iban_holds(f"DE{check:02d}{plain}"))
        assert find("ibans", f"to {iban}.") == [(3, 3 + len(iban))]


def test_a_masked_text_holds_labels_and_is_not_searched_again() -> None:
    said, count = masked("write to a@b.example or call +1 415 555 2671", ("emails", "phones"))
    assert (said, count) == ("write to [email] or call [phone]", 2)
    assert masked(said, ("emails", "phones")) == (said, 0)
