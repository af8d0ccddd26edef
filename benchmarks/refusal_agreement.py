"""How far the scorer `refusal` agrees with people in English, and how often it calls ordinary sentences refusals.

    python -m benchmarks.refusal_agreement LLM_DRIFT_DIR FORMALITY_DIR

LLM_DRIFT_DIR holds `sensitiveq.jsonl.gz` (lchen001/LLMDrift, Apache-2.0): answers with the source's label whether they
responded. FORMALITY_DIR holds `pairs.jsonl.gz` of CoCoA-MT (CDLA-Sharing-1.0): sentences of customer talk by
professional translators, none of which is a model's refusal. The rules were written without either; only the half of
each that the digest of its text names is told here, so that the other half can be looked at.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.refusals import LANGUAGES, refuses


def rows(path: Path, text: str, held_out: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a file whose text belongs to the half that is told, or to the other one."""
    for line in gzip.decompress(path.read_bytes()).splitlines():
        row = json.loads(line)
        if (int(hashlib.sha256(row[text].encode()).hexdigest(), 16) % 2 == 1) == held_out:
            yield row


def told(name: str, hits: int, n: int) -> None:
    """One share with its 95% interval."""
    found = wilson(hits, n)
    sys.stdout.write(f"{name}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f}, n = {n})\n")


def main(drift: Path, formality: Path) -> None:
    """Print recall and false alarms in English, and false alarms on ordinary sentences by language."""
    answers = list(rows(drift / "sensitiveq.jsonl.gz", "query"))
    refused = [refuses(row["answer"], "en") for row in answers if row["responded"] == 0]
    responded = [refuses(row["answer"], "en") for row in answers if row["responded"] == 1]
    told("English, did not respond: called a refusal", sum(refused), len(refused))
    told("English, responded: called a refusal", sum(responded), len(responded))
    sentences = list(rows(formality / "pairs.jsonl.gz", "en"))
    for language in sorted({row["lang"] for row in sentences} & {*LANGUAGES}):
        own = [row[side] for row in sentences if row["lang"] == language for side in ("formal", "informal")]
        told(f"{language}, ordinary sentences called a refusal", sum(refuses(text, language) for text in own), len(own))
    told("en, ordinary sentences called a refusal", sum(refuses(row["en"], "en") for row in sentences), len(sentences))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
