"""How fast payloads are searched: with the files that rule blocks out, without them, and beside a bare scan.

Simulated input: conversations of words drawn with the frequencies of a vocabulary of 20,000 (Zipf), with ids, in JSON;
histories are sent again each turn and stored once. The floor reads and expands the same frames and looks for the bytes
with `bytes.find`, which finds only text that was not escaped and in the same letter case, and knows no spans.

    python -m benchmarks.payload_search [--megabytes 200]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from random import Random

from watchkeeper.compose.searching import told
from watchkeeper.engines.recorder.grams import Grams
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.search import Found, PayloadSearch, Sought
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.span import Span

NEEDLES = {
    "a phrase that is nowhere": "crimson pangolin regatta",
    "a phrase that is in one call": "the violet ocelot 77 waits",
    "an id that is in one call": "ord_7f3a9c21d0",
    "an id that is nowhere": "ord_91c7e4b6d2",
    "a word that is in many calls": "w000150",
}


def vocabulary(rng: Random) -> tuple[list[str], list[float]]:
    """Words and their cumulative weights."""
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randrange(3, 10))) for _ in range(20_000)]
    words[150] = "w000150"
    return words, list(itertools.accumulate(1 / (n + 3) for n in range(len(words))))


def record(journal: Journal, megabytes: int) -> tuple[int, int]:
    """Record conversations of so much fresh text; returns spans and plain bytes of their requests."""
    rng = Random(1)
    words, weights = vocabulary(rng)
    made = sent = fresh = 0
    while fresh < megabytes << 20:
        history: list[dict[str, str]] = []
        for turn in range(rng.randrange(2, 12)):
            text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randrange(60, 500)))
            text += f" (order ord_{rng.getrandbits(40):010x}, {rng.randrange(10**6)})"
            if made == 700:
                text += " the violet ocelot 77 waits for ord_7f3a9c21d0"
            history.append({"role": "user" if turn % 2 == 0 else "assistant", "content": text})
            payload = json.dumps({"model": "gpt-5", "messages": history}).encode()
            body = journal.put(payload, "request")
            made, sent, fresh = made + 1, sent + len(payload), fresh + len(text)
            journal.append(
                Span(
                    trace_id=f"{made // 5:032x}", span_id=f"{made:016x}", start_ns=time.time_ns(), name="chat gpt-5",
                    operation="chat", status="ok", revision=1, request_model="gpt-5", bodies=(body,),
                )
            )  # fmt: skip
    return made, sent


def floor(folder: Path, needle: bytes) -> tuple[float, int, int]:
    """Read everything and look for bytes: seconds, plain bytes, frames with the bytes in them."""
    began, size, hits = time.perf_counter(), 0, 0
    for frame in read_frames(folder / "w0"):
        size += len(frame.payload)
        hits += needle in frame.payload
    return time.perf_counter() - began, size, hits


def timed(searching: PayloadSearch, text: str) -> tuple[float, Found]:
    """One search through everything."""
    began = time.perf_counter()
    found = searching.search(Sought(text=text, since_ns=0, until_ns=FAR_NS, limit=1_000), 600)
    return time.perf_counter() - began, found


def main() -> None:
    """Record, search without files, make them, search with them; print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "journal"
        journal = Journal(folder, "w0", b"k" * 32)
        made, sent = record(journal, given.megabytes)
        journal.close()
        # One more, empty segment: the others are sealed then.
        Journal(folder, "w0", b"k" * 32).close()
        on_disk = sum(path.stat().st_size for path in folder.rglob("*.wkj"))
        grams = Grams(Path(name) / "search", folder, b"g" * 32)
        searching = PayloadSearch(folder, grams, told)
        whole = {title: timed(searching, text) for title, text in NEEDLES.items()}
        began = time.perf_counter()
        plain = sum(grams.build(*each) for each in grams.missing())
        built_s = time.perf_counter() - began
        size = sum(path.stat().st_size for path in (Path(name) / "search").rglob("*.wkg"))
        print(f"{made:,} simulated calls that sent {sent / 1e6:,.0f} MB; the journal holds {plain / 1e6:,.0f} MB in "
              f"{on_disk / 1e6:,.0f} MB on disk")  # fmt: skip
        print(f"files: {size / 1e6:,.1f} MB ({100 * size / on_disk:.1f}% of the journal), made at "
              f"{plain / built_s / 1e6:,.1f} MB/s of plain text by one process")  # fmt: skip
        floor_s, floor_bytes, _ = floor(folder, NEEDLES["a phrase that is nowhere"].encode())
        print(f"floor: a bare scan takes {floor_s * 1000:,.0f} ms, {floor_bytes / floor_s / 1e6:,.0f} MB/s\n")
        print(f"  {'':<32}{'hits':>6}{'whole ms':>10}{'MB/s':>7}{'with files ms':>15}{'read':>8}{'times less':>12}")
        for title, text in NEEDLES.items():
            took, found = timed(searching, text)
            whole_s, before = whole[title]
            assert [hit.span_id for hit in found.hits] == [hit.span_id for hit in before.hits]
            share = found.coverage.searched_bytes / plain
            print(
                f"  {title:<32}{len(found.hits):>6}{whole_s * 1000:>10,.0f}"
                f"{before.coverage.searched_bytes / whole_s / 1e6:>7,.0f}{took * 1000:>15,.0f}{100 * share:>7.1f}%"
                f"{1 / share if share else float('inf'):>12,.1f}"
            )


if __name__ == "__main__":
    main()
