"""Verifying a journal beside the floor: one pass of BLAKE2b over the same bytes; and what writing and erasing cost."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Span

CALLS = 60_000
ERASED = 20_000


def main() -> None:
    """Print the figures. The calls are made up: a payload of 2 kB that does not compress well, and its span."""
    with tempfile.TemporaryDirectory() as folder:
        measured(Path(folder))


def measured(folder: Path) -> None:
    """Fill a journal, verify it, erase from it, verify it again."""
    writer = Journal(folder, "gateway", b"k" * 32)
    identity = Identity(user="ada", session="s")
    began = time.perf_counter()
    for n in range(CALLS):
        body = json.dumps({"messages": [{"role": "user", "content": os.urandom(900).hex()}], "n": n}).encode()
        span = Span(trace_id=f"{n:032x}", span_id=f"{n:016x}", start_ns=n, name="chat", identity=identity)
        writer.write([(body, "reply", "application/json", identity.owner)], lambda _, span=span: (span,))  # type: ignore[misc]
    print(f"write      {1e6 * (time.perf_counter() - began) / CALLS:8.1f} us a call (making it up included)")
    writer.sync()
    paths = sorted(folder.glob("*/*.wkj"))
    size = sum(path.stat().st_size for path in paths)
    began = time.perf_counter()
    for path in paths:
        hashlib.blake2b(path.read_bytes()).digest()
    floor = time.perf_counter() - began
    print(f"floor      {size / floor / 1e6:8.0f} MB/s, BLAKE2b over {size / 1e6:.0f} MB on one core")
    for words in ("verify", "verify, erased"):
        began = time.perf_counter()
        proof = prove(folder)
        took = time.perf_counter() - began
        assert proof.holds
        frames = sum(each.frames for each in proof.writers)
        print(f"{words:<14} {size / took / 1e6:6.0f} MB/s, {frames / took:,.0f} frames/s, {took:.1f} s")
        if words == "verify":
            places = [Place("gateway", f.segment, f.offset) for f in read_frames(folder / "gateway")][: 2 * ERASED : 2]
            began = time.perf_counter()
            done = erase(writer, folder, places, reason="retention", actor="benchmark")
            took = time.perf_counter() - began
            record = sum(len(each.runs) for each in done.emptied)
            print(f"erase      {done.frames / took:8,.0f} frames/s, {record / done.frames:.1f} bytes of record a frame")
    writer.close()


if __name__ == "__main__":
    main()
