"""How far the register rules agree with professional translators, per language, with intervals; and how fast they read.

    python benchmarks/register_agreement.py DIR
    python benchmarks/register_agreement.py --own
    python benchmarks/register_agreement.py --speed

DIR holds `pairs.jsonl.gz`: JSON lines with `lang`, `split`, `n`, `domain`, `formal` and `informal`, made of CoCoA-MT
(amazon-science/contrastive-controlled-mt, CDLA-Sharing-1.0). Pairs whose sides are equal, and languages without
rules, are left out. Pairs whose id has an odd hash are the held-out half; the even half is there to look at errors.

For each side `covered` is the share that is given a label at all (formal, informal or mixed), `agrees when covered` the
share of those whose label is right, `wrong` the share of all sides read as the other register, and `pair` the share of
pairs in which the formal side is read as more formal than the informal one.

`--own` reads the sentences in `tests/cases/address`, written beside the rules by the same hand: weak evidence.
`--speed` reads texts made to be hard, of half a MB and of 1 MB, and gives the longer time over the shorter.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import time
from pathlib import Path

import yaml

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.register import LANGUAGES, read_register

_RANK = {"formal": 1, "mixed": 0, "unmarked": 0, "informal": -1}
_OWN = Path(__file__).parents[1] / "tests" / "cases" / "address"
_HARD = ('"', "„", "«", "(", "（", "¿", ".", "a", "a'", "-", "@", "e\u0301", "\u0301", "te ", "no se le ", "que ", "が",
         "お", "です", "だよね", "다 ", "요", "가", "Sie ", "ihr ", "в том ", "не ", "Abc, ")  # fmt: skip


def held_out(row: dict[str, str]) -> bool:
    """Whether a pair is in the half that is reported."""
    name = f"{row['split']}/{row['lang']}/{row['domain']}/{row['n']}"
    return hashlib.sha256(name.encode()).digest()[-1] % 2 == 1


def _share(count: int, of: int) -> str:
    if not of:
        return "none"
    e = wilson(count, of)
    return f"{100 * e.value:.1f}% ({100 * e.low:.1f} to {100 * e.high:.1f})"


def measure(rows: list[dict[str, str]]) -> dict[str, str]:
    """The figures of one language as text with 95% intervals."""
    read = [{side: read_register(row[side], row["lang"]).register for side in ("formal", "informal")} for row in rows]
    figures = {}
    for side, other in (("formal", "informal"), ("informal", "formal")):
        covered = [labels[side] for labels in read if labels[side] != "unmarked"]
        figures[f"{side} covered"] = _share(len(covered), len(read))
        figures[f"{side} agrees when covered"] = _share(covered.count(side), len(covered))
        figures[f"{side} agrees"] = _share(covered.count(side), len(read))
        figures[f"{side} wrong"] = _share(covered.count(other), len(read))
    figures["pair"] = _share(sum(_RANK[labels["formal"]] > _RANK[labels["informal"]] for labels in read), len(read))
    return figures


def against_translators(folder: Path) -> None:
    """Print one JSON line per language and half."""
    text = gzip.decompress((folder / "pairs.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    for language in LANGUAGES:
        pairs = [row for row in rows if row["lang"] == language and row["formal"] != row["informal"]]
        for half, told in (("held out", True), ("looked at", False)):
            chosen = [row for row in pairs if held_out(row) == told]
            if chosen:
                print(json.dumps({"language": language, "half": half, "pairs": len(chosen), **measure(chosen)}))


def against_own_sentences() -> None:
    """Print one JSON line per language."""
    for table in sorted(_OWN.glob("*.yaml")):
        rows = yaml.safe_load(table.read_text(encoding="utf-8"))
        right = sum(read_register(text, table.stem).register == label for label, text in rows)
        print(json.dumps({"language": table.stem, "own sentences": len(rows), "agrees": right}))


def speed() -> None:
    """Print, per language, the slowest hard text at 1 MB and the worst growth from half the size."""
    for language in LANGUAGES:
        worst: tuple[float, str] = (0.0, "")
        slowest: tuple[float, str] = (0.0, "")
        for piece in _HARD:
            taken = []
            for size in (512_000, 1_024_000):
                text = piece * (size // len(piece.encode()))
                began = time.process_time()
                read_register(text, language)
                taken.append(time.process_time() - began)
            growth = taken[1] / max(taken[0], 0.01)
            worst, slowest = max(worst, (growth, piece)), max(slowest, (taken[-1], piece))
        print(
            json.dumps(
                {
                    "language": language,
                    "worst growth for twice the length": round(worst[0], 2),
                    "of": worst[1],
                    "slowest 1 MB, s": round(slowest[0], 2),
                    "of text": slowest[1],
                },
                ensure_ascii=False,
            )
        )


def main(argument: str) -> None:
    """Run what the argument names."""
    if argument == "--own":
        against_own_sentences()
    elif argument == "--speed":
        speed()
    else:
        against_translators(Path(argument))


if __name__ == "__main__":
    main(sys.argv[1])
