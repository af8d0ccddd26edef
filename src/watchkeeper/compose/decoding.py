"""How the frames are read that hold what others sent; run as a module, the process that decodes for the store.

`python -m watchkeeper.compose.decoding` reads the settings as one line of JSON from standard input, then requests.
"""

from __future__ import annotations

import logging
import sys

import msgspec

from watchkeeper.adapters.formats import otlp_logs
from watchkeeper.adapters.formats.otlp import records_of
from watchkeeper.adapters.formats.sources import sources_in
from watchkeeper.compose.importing import priced
from watchkeeper.compose.pricing import prices_of
from watchkeeper.config import Config
from watchkeeper.engines.recorder.batches import BatchReader, Decoder
from watchkeeper.engines.recorder.decoding import DecodingProcess, answer_requests
from watchkeeper.engines.recorder.forgetting import Forgetting
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.kinds.ports import Pricer
from watchkeeper.records.record import Record, as_json
from watchkeeper.records.span import Origin, Span


def decoders(config: Config) -> dict[FrameKind, Decoder]:
    """How the frames are read that hold what others sent, as they sent it."""
    return {FrameKind.OTLP: priced_by(prices_of(config)), FrameKind.OTLP_LOGS: otlp_logs.records_of}


def priced_by(pricer: Pricer) -> Decoder:
    """Reads an OTLP frame into records, with a cost for every model call whose price is known."""

    def decode(payload: bytes, origin: Origin, received_ns: int) -> tuple[Record, ...]:
        records = records_of(payload, origin, received_ns)
        told = sources_in(payload, [record for record in records if isinstance(record, Span)])
        return (*(priced(record, pricer) if isinstance(record, Span) else record for record in records), *told)

    return decode


def decoding_process(config: Config, home: Home) -> DecodingProcess:
    """The process that decodes for a store with these settings; it is not started before it is asked."""
    settings = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, data=str(home.path)))
    return DecodingProcess((sys.executable, "-m", "watchkeeper.compose.decoding"), as_json(settings))


def main() -> int:
    """Answer requests until standard input ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from watchkeeper.compose.unlocking import unlock

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    config = msgspec.json.decode(requests.readline(), type=Config)
    home = Home(config.data, create=False)
    subjects, forgetting = unlock(config, home), Forgetting(home.journal)

    def refresh() -> None:
        if forgetting.due():
            subjects.forget()

    answer_requests(BatchReader(home.journal, decoders(config)), requests, answers, refresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
