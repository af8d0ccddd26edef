"""The sentences of an answer are laid over what was in its context, and over nothing else."""

from watchkeeper.engines.lineage.answers import Held, in_context, lay
from watchkeeper.records.source import Source

LAMP = "The Alder lamp can be returned within 30 days of delivery. The shade is made of linen."
TENT = "The Fjord tent weighs 1,450 grams with its poles."
CALL, OTHER = "b" * 16, "c" * 16


def held(name: str, text: str | None, **fields: object) -> Held:
    made = Source(
        **{"source_id": name, "trace_id": "a" * 32, "document": f"{name}.md", "at_ns": 1, "status": "entered", **fields}  # type: ignore[arg-type]
    )
    return Held(source=made, text=text)


def test_each_sentence_names_the_chunk_it_rests_on() -> None:
    found = lay(
        CALL,
        "The lamp can be returned within 30 days of delivery. The tent weighs 1,450 grams with its poles. Have fun.",
        [held("lamp", LAMP), held("tent", TENT)],
    )
    assert [each.document for each in found.sentences][:2] == ["lamp.md", "tent.md"]
    assert [each.verdict for each in found.sentences] == ["supported", "supported", "unsupported"]
    assert (found.supported, found.partly, found.unsupported) == (2, 0, 1)
    first = found.sentences[0]
    assert LAMP[first.chunk_start : first.chunk_end].startswith(first.quote[:20])


def test_a_chunk_of_another_call_is_not_in_this_context() -> None:
    there = held("lamp", LAMP, seen="exact", calls=(CALL,))
    elsewhere = held("tent", TENT, seen="exact", calls=(OTHER,))
    dropped = held("drop", TENT, status="dropped")
    assert in_context([there, elsewhere, dropped], CALL) == [there]
    assert lay(CALL, "The tent weighs 1,450 grams with its poles.", [there, elsewhere, dropped]).supported == 0


def test_of_a_chunk_that_was_cut_only_the_part_that_entered_counts() -> None:
    cut = held("lamp", LAMP, status="truncated", kept_chars=58)
    assert lay(CALL, "The shade is made of linen.", [cut]).supported == 0
    assert lay(CALL, "The Alder lamp can be returned within 30 days of delivery.", [cut]).supported == 1


def test_a_source_without_text_is_named_and_supports_nothing() -> None:
    found = lay(CALL, "The shade is made of linen.", [held("lamp", None)])
    assert (found.source_ids, found.supported) == (("lamp",), 0)
