"""The decoding process of a data directory reads its journals as the store would, prices included."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.adapters.formats.exports import payload
from watchkeeper.compose.decoding import decoders, decoding_process
from watchkeeper.config import Config
from watchkeeper.engines.recorder.batches import BatchReader
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.span import Span

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.output_tokens": 10,
}


@pytest.mark.slow
def test_it_reads_and_prices_what_the_store_would(tmp_path: Path) -> None:
    home, config = Home(tmp_path / "data"), Config()
    journal = Journal(home.journal, "w", home.secret("chunks"))
    journal.append_raw(FrameKind.OTLP, payload({"attributes": CALL}, {}))
    journal.close()
    start = Watermark(writer="w", segment=0, offset=0)
    there = decoding_process(config, home)
    try:
        found = there.read(start)
    finally:
        there.end()
    assert found == BatchReader(home.journal, decoders(config)).read(start)
    (call, plain) = found.records
    assert isinstance(call, Span)
    assert isinstance(plain, Span)
    assert call.cost_usd is not None
    assert call.cost_usd > 0
    assert plain.cost is None
