"""Commands about judges: how well a judge agrees with gold labels, and with itself in the other order."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.agreement import Audit, Judged
    from watchkeeper.records.estimate import Estimate

LABELS = ("label", "gold", "expected")
VERDICTS = ("winner_noswap", "verdict", "winner", "judgment")
SWAPPED = ("winner_swap", "verdict_swap", "verdict_swapped", "winner_swapped")
GROUPS = ("evaluator", "judge", "strategy", "prompt")


@click.group()
def judge() -> None:
    """Audit the judges that score for you."""


@judge.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", metavar="COL", help="The column with the better answer, 1 or 2 [label].")
@click.option("--verdict", metavar="COL", help="The judge's verdict [winner_noswap, verdict or winner].")
@click.option("--swapped", metavar="COL", help="Its verdict in the other order, mapped back [winner_swap ...].")
@click.option("--by", multiple=True, metavar="COL", help="Columns that name a judge [evaluator, strategy ...].")
@click.option("--where", multiple=True, metavar="COL=VALUE", help="Only rows with this value; repeatable.")
@house_options
def audit(
    file: Path,
    label: str | None,
    verdict: str | None,
    swapped: str | None,
    by: tuple[str, ...],
    where: tuple[str, ...],
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Hold the judgments in FILE (CSV or JSONL, gzip too) against gold labels, in both orders where there are both.

    For each judge: how often it is right, with interval; whether it says the same when the answers change places;
    whether it favours what is shown first; and kappa, its agreement beyond chance.
    """
    from watchkeeper.analysis.agreement import audit as look
    from watchkeeper.engines.experiments.tables import TableError, read_rows

    del data, config
    try:
        rows = read_rows(file)
        columns = _columns(rows[0], file, label, verdict, swapped, by)
        groups = _groups(rows, columns, where)
        found = {name: look(judged, both=columns["swapped"] is not None) for name, judged in sorted(groups.items())}
    except (TableError, ValueError) as error:
        raise Failure(str(error), "table") from error
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json([{"judge": name, **as_plain(each)} for name, each in found.items()])
    else:
        _tell(found)


def _columns(
    row: dict[str, str], file: Path, label: str | None, verdict: str | None, swapped: str | None, by: tuple[str, ...]
) -> dict[str, Any]:
    """The columns to read: those that were named, else the first known name that the file has."""
    known = ", ".join(list(row)[:12])

    def column(given: str | None, names: tuple[str, ...], option: str, needed: bool = True) -> str | None:
        found = next((name for name in ((given,) if given else names) if name in row), None)
        if found is None and (needed or given):
            raise Failure(f"{file} has no column {given or names[0]!r}; it has: {known}. Name it with {option} COL.")
        return found

    for name in by:
        column(name, (), "--by")
    return {
        "label": column(label, LABELS, "--label"),
        "verdict": column(verdict, VERDICTS, "--verdict"),
        "swapped": column(swapped, SWAPPED, "--swapped", needed=False),
        "by": by or tuple(name for name in GROUPS if name in row),
    }


def _groups(rows: list[dict[str, str]], columns: dict[str, Any], where: tuple[str, ...]) -> dict[str, list[Judged]]:
    from watchkeeper.analysis.agreement import Judged

    kept: dict[str, list[Judged]] = defaultdict(list)
    filters = [word.partition("=") for word in where]
    for name, sign, _ in filters:
        if not sign or name not in rows[0]:
            raise Failure(f"--where {name!r} names no column and value of this file; write COL=VALUE.")
    for number, row in enumerate(rows, 1):
        if any(row[name] != value for name, _, value in filters):
            continue
        label = row[columns["label"]]
        if label not in ("1", "2"):
            raise Failure(f"row {number}: {columns['label']} is {label[:40]!r}, expected 1 or 2: the better answer.")
        verdicts = [_verdict(row[columns[side]], number) if columns[side] else None for side in ("verdict", "swapped")]
        kept[" / ".join(row[name] for name in columns["by"]) or "all"].append(Judged(label, *verdicts))
    if not kept:
        raise Failure("--where keeps no row. Look at the values of those columns.", "table")
    return kept


def _verdict(text: str, number: int) -> str | None:
    """A verdict, None for one that could not be read: an empty cell."""
    if text in ("1", "2"):
        return text
    if text.casefold() in ("", "nan", "none", "null", "n/a"):
        return None
    raise Failure(f"row {number}: the verdict is {text[:40]!r}, expected 1, 2, or nothing where none could be read.")


def _tell(found: dict[str, Audit]) -> None:
    rows = [
        (
            plain(name),
            each.pairs,
            _share(each.right),
            _share(each.right_both),
            _share(each.consistent),
            None if each.first_bias is None else f"{each.first_bias:+.1%} (p {each.first_bias_p:.2g})",
            None if each.kappa is None else f"{each.kappa.value:.2f} ({each.kappa.low:.2f} to {each.kappa.high:.2f})",
            each.unreadable,
        )
        for name, each in found.items()
    ]
    columns = ("judge", "pairs", "right", "right in both", "consistent", "favours first by", "kappa", "unreadable")
    print_table(columns, rows, "")
    for name, each in found.items():
        for note in each.notes:
            click.echo(f"{plain(name)}: {note}")


def _share(estimate: Estimate | None) -> str | None:
    return None if estimate is None else f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"
