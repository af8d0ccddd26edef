"""How far the register rules agree with professional translators, per language, with intervals.

    python benchmarks/register_agreement.py DIR

DIR holds `pairs.jsonl.gz`: JSON lines with `lang`, `split`, `n`, `domain`, `formal` and `informal`, made of CoCoA-MT
(amazon-science/contrastive-controlled-mt, CDLA-Sharing-1.0). Pairs whose sides are equal, and languages without
rules, are
left out. Only pairs whose id has an odd hash are told; the even half is there to look at errors, and is told apart as
such. For each side `agrees` is the share read as what it is, `wrong` as the other (mixed counts as neither), and `pair`
the share of pairs in which the formal side is read as more formal than the informal one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.register import LANGUAGES, read_register

_RANK = {"formal": 1, "mixed": 0, "unmarked": 0, "informal": -1}


def held_out(row: dict[str, str]) -> bool:
    """Whether a pair is in the half that is reported."""
    name = f"{row['split']}/{row['lang']}/{row['domain']}/{row['n']}"
    return hashlib.sha256(name.encode()).digest()[-1] % 2 == 1


def measure(rows: list[dict[str, str]]) -> dict[str, str]:
    """The figures of one language as text with 95% intervals."""
    read = [
        (read_register(r["formal"], r["lang"]).register, read_register(r["informal"], r["lang"]).register) for r in rows
    ]
    counts = {
        "formal agrees": sum(formal == "formal" for formal, _ in read),
        "formal wrong": sum(formal == "informal" for formal, _ in read),
        "informal agrees": sum(informal == "informal" for _, informal in read),
        "informal wrong": sum(informal == "formal" for _, informal in read),
        "pair": sum(_RANK[formal] > _RANK[informal] for formal, informal in read),
    }
    shares = {name: wilson(count, len(rows)) for name, count in counts.items()}
    return {name: f"{100 * e.value:.1f}% ({100 * e.low:.1f} to {100 * e.high:.1f})" for name, e in shares.items()}


def main(folder: Path) -> None:
    """Print one JSON line per language and half."""
    text = gzip.decompress((folder / "pairs.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    for language in LANGUAGES:
        pairs = [row for row in rows if row["lang"] == language and row["formal"] != row["informal"]]
        for half, told in (("held out", True), ("looked at", False)):
            chosen = [row for row in pairs if held_out(row) == told]
            if chosen:
                print(json.dumps({"language": language, "half": half, "pairs": len(chosen), **measure(chosen)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
