"""The lab's texts are of the kind that they say they are, and the same for the same chance."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.tokens import slice_of
from watchkeeper.lab.corpora import KINDS, text_of

SLICES = {
    "english prose": "latin prose", "german prose": "latin prose", "russian prose": "cyrillic prose",
    "japanese prose": "japanese prose", "chinese prose": "chinese prose", "arabic prose": "arabic prose",
    "code": "latin code", "json": "latin json",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    text = text_of(kind, Random(3), 8)
    assert text == text_of(kind, Random(3), 8)
    assert slice_of(text) == SLICES[kind]
