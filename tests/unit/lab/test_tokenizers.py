"""The lab's tokenizers count like tokenizers do, and its meter caches prefixes in blocks."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.lab.corpora import BANKS, KINDS, text_of
from watchkeeper.lab.tokenizers import CACHE_BLOCK, Meter, trained

WEST = trained("west", BANKS["english prose"], 150)
WORLD = trained("world", [text for bank in BANKS.values() for text in bank], 300)


def test_what_was_trained_on_has_fewer_tokens() -> None:
    for kind, fewer, more in (("english prose", WEST, WORLD), ("japanese prose", WORLD, WEST)):
        text = text_of(kind, Random(1), 20)
        assert fewer.count(text) < more.count(text)
    assert all(WEST.count(text_of(kind, Random(2), 3)) > 0 for kind in KINDS)


def test_training_is_the_same_every_time() -> None:
    again = trained("west", BANKS["english prose"], 150)
    assert [again.count(text) for text in BANKS["german prose"]] == [WEST.count(text) for text in BANKS["german prose"]]


@given(st.text(max_size=60))
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    assert WEST.count(text) <= len(text.encode())


def test_a_prefix_is_cached_in_whole_blocks_until_it_changes_or_the_tokenizer_does() -> None:
    meter = Meter(WEST)
    rules = " ".join(BANKS["english prose"]) * 3
    first = [{"role": "system", "content": rules}, {"role": "user", "content": "One."}]
    longer = [*first, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Two."}]
    assert meter.bill(first, []).cached_tokens == 0
    again = meter.bill(longer, [])
    assert 0 < again.cached_tokens < again.prompt_tokens and again.cached_tokens % CACHE_BLOCK == 0
    ticking = [{"role": "system", "content": f"12:01 {rules}"}, *longer[1:]]
    assert meter.bill(ticking, []).cached_tokens == 0
    meter.swap(WORLD)
    swapped = meter.bill(longer, [])
    assert swapped.cached_tokens == 0 and swapped.prompt_tokens != again.prompt_tokens
