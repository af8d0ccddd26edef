"""How often the scorer `numbers` calls figures wrong that people wrote for readers of their own locale.

    python -m benchmarks.number_agreement TATQA_DIR

TATQA_DIR holds `dev_half.jsonl.gz`, paragraphs and questions about annual reports of US companies (TAT-QA, CC BY 4.0):
what is called wrong in them is a false alarm. Nothing was tuned on them.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.number_formats import FORMATS, written_in

_LEAST = 40
"""Characters of a text: shorter ones are cells of tables."""


def texts(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str) and len(value) >= _LEAST:
        yield value
    elif isinstance(value, list | dict):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from texts(inside)


def main(folder: Path) -> None:
    """Print the share of figures that are called wrong, of those that tell their format."""
    right = wrong = open_ = 0
    for line in gzip.decompress((folder / "dev_half.jsonl.gz").read_bytes()).splitlines():
        for text in texts(json.loads(line)):
            found = written_in(text, FORMATS["en-US"])
            right, wrong, open_ = right + len(found.right), wrong + len(found.wrong), open_ + len(found.open)
    share = wilson(wrong, right + wrong)
    sys.stdout.write(f"called wrong: {share.value:.4f} ({share.low:.4f} to {share.high:.4f}, n = {right + wrong}), ")
    sys.stdout.write(f"open: {open_}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
