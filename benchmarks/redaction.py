"""Measures what redaction costs: screens and searches by detector, whole bodies, streams, and its share of a call.

    python -m benchmarks.redaction [FOLDER]

With a FOLDER of recorded agent runs (JSON lines, gzip) it also says how many values each detector takes there. The
bodies measured are made here: chat requests as they grow over a session, clean and with planted values.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from watchkeeper.analysis.sensitive import DETECTORS, find
from watchkeeper.engines.recorder.redaction import Redactor
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule

WORDS = (
    "the",
    "order",
    "was",
    "shipped",
    "on",
    "Monday",
    "and",
    "should",
    "arrive",
    "soon",
    "please",
    "check",
    "status",
)
PLANTED = "write to planted.person@example.org or call +1 415 555 2671, card 4111 1111 1111 1111"
ROUNDS_S = 0.5
MOST_BYTES = 40_000_000


def request(rng: Random, turns: int, planted: bool) -> bytes:
    """A chat request with so many turns, tool calls among them."""
    messages = []
    for turn in range(turns):
        said = " ".join(rng.choices(WORDS, k=60))
        messages.append({"role": "user" if turn % 2 else "assistant", "content": said})
        call = {"id": f"call_{rng.getrandbits(96):024x}", "type": "function"}
        messages.append(
            {"role": "assistant", "tool_calls": [call | {"function": {"name": "f", "arguments": '{"q": 1}'}}]}
        )
    if planted:
        messages[-2]["content"] = PLANTED
    return json.dumps({"model": "m", "messages": messages}).encode()


def stream(rng: Random, pieces: int) -> bytes:
    """A streamed reply of so many pieces."""
    events = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f" {word}"}}]}
        for word in rng.choices(WORDS, k=pieces)
    ]
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events) + b"data: [DONE]\n\n"


def per_call(work: Callable[[], object]) -> float:
    """Seconds of one call, over as many as fit into half a second."""
    work()
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < ROUNDS_S:
        work()
        calls += 1
    return (time.perf_counter() - began) / calls


def show(name: str, size: int, seconds: float) -> None:
    """One line of the table."""
    print(f"{name:54} {seconds * 1e6:10.1f} us {size / seconds / 1e6:10.1f} MB/s")


def main(folder: Path | None) -> None:
    """Print the table."""
    rng = Random(1)
    clean, dirty = request(rng, 40, planted=False), request(rng, 40, planted=True)
    small = request(rng, 3, planted=False)
    text = clean.decode()
    print(f"bodies: {len(small):,} and {len(clean):,} bytes, stream of 400 pieces")
    for name, detector in DETECTORS.items():
        show(f"screen {name}", len(clean), per_call(lambda one=detector: list(one.screen(clean))))  # type: ignore[misc]
        show(f"search {name}, everything possible", len(clean), per_call(lambda one=name: find(one, text)))  # type: ignore[misc]
    default = Redactor([Rule(RuleSpec(detect="secret_keys"))], b"k" * 32)
    every = Redactor([Rule(RuleSpec(detect=name)) for name in DETECTORS], b"k" * 32)
    fields = Redactor([*every.rules, Rule(RuleSpec(fields=("password", "*.email")))], b"k" * 32)
    reply = stream(rng, 400)
    for title, redactor in (("default", default), ("all detectors", every), ("all detectors and fields", fields)):
        for name, data in (
            ("small, clean", small),
            ("clean", clean),
            ("one planted message", dirty),
            ("stream", reply),
        ):
            show(f"redact, {title}: {name}", len(data), per_call(lambda r=redactor, d=data: r.redact(d)))  # type: ignore[misc]
    if folder is not None:
        recorded(folder)


def recorded(folder: Path) -> None:
    """How many values each detector takes in recorded runs, which hold none of them but what their authors invented."""
    data = b"".join(gzip.decompress(path.read_bytes()) for path in sorted(folder.rglob("*.gz")))[:MOST_BYTES]
    text = data.decode("utf-8", "replace")
    print(f"\n{folder.name}: {len(data):,} bytes")
    for name in DETECTORS:
        began = time.perf_counter()
        found = Counter(text[start:end] for start, end in find(name, text))
        seconds = time.perf_counter() - began
        shown = ", ".join(f"{value} x{count}" for value, count in found.most_common(6))
        speed = len(data) / seconds / 1e6
        print(f"{name:14} {found.total():7,} places, {len(found):5,} values, {speed:.0f} MB/s: {shown}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
