"""How far the scorer `overclaim` agrees with people on whether an answer rests on what was given.

    python benchmarks/overclaim_agreement.py DIR

DIR holds `dev.jsonl.gz`, the dev files of BEGIN (google/BEGIN-dataset, CC BY 4.0 and CDLA-Sharing-1.0) joined. Answers
that people called generic are left out. The threshold is that of `analysis/support.py`, which was chosen on one half of
these answers by their knowledge text; only the other half is told here, and nothing is tuned on it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path

from watchkeeper.analysis.intervals import wilson
from watchkeeper.capabilities.scorers.overclaim import Overclaim
from watchkeeper.kinds.scorer import Subject


def main(folder: Path) -> None:
    """Print agreement, precision and recall of "unsupported" with 95% intervals."""
    rows = [json.loads(line) for line in gzip.decompress((folder / "dev.jsonl.gz").read_bytes()).splitlines()]
    held: list[tuple[bool, bool]] = []
    for row in rows:
        if row["begin_label"] == "Generic" or int(hashlib.sha256(row["knowledge"].encode()).hexdigest(), 16) % 2 == 0:
            continue
        evidence = json.dumps({"sources": [{"document": "knowledge", "text": row["knowledge"]}]})
        marks = Overclaim().score(Subject(kind="case", subject_id="x", output=row["response"], evidence=evidence))
        held.append((marks[1].value == 0, not row["begin_label"].startswith("Fully")))
    figures = {
        "agreement": (sum(a == b for a, b in held), len(held)),
        "precision of 'unsupported'": (sum(a and b for a, b in held), sum(a for a, _ in held)),
        "recall of 'unsupported'": (sum(a and b for a, b in held), sum(b for _, b in held)),
        "always 'unsupported' agrees": (sum(b for _, b in held), len(held)),
    }
    for name, (hits, n) in figures.items():
        found = wilson(hits, n)
        sys.stdout.write(f"{name}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f}, n = {n})\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
