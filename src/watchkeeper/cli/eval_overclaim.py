"""The command that counts right answers whose reasons do not hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.kinds.scorer import Scorer, Scores, Subject
    from watchkeeper.records.estimate import Estimate


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--by", metavar="COL", help="The column with the cohort of the user (new, expert ...).")
@click.option("--cluster", metavar="COL", help="Answers of one cluster hang together.")
@click.option("--cited-only", is_flag=True, help="Let reasons that cite nothing pass; check citations, sums, factors.")
@house_options
def overclaim(
    file: Path,
    by: str | None,
    cluster: str | None,
    cited_only: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Count the answers in FILE two by two: right or wrong, and whether their reasons hold.

    FILE is JSON lines with `output`, `expected` and `sources` (texts, or objects with document and text), and where
    there are such `question`, `inputs` and a column for --by; or a file of `eval run --out` with the scorer overclaim.
    Support is found by words, not by meaning, so a rate is where to look and not a verdict on one answer.
    """
    from watchkeeper.compose.discovery import build
    from watchkeeper.config import Capability, load
    from watchkeeper.engines.experiments.overclaims import overclaims
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.queries.registry import as_plain

    use = Capability(use="overclaim", parameters={"uncited": not cited_only})
    scorer: Scorer = build("scorers", use, load(config, data=data))

    def score(subject: Subject) -> Scores:
        return cast("Scores", scorer.score(subject))

    try:
        found = overclaims(file, score, by, cluster)
    except TableError as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json(as_plain(found))
        return
    rows = [
        (
            plain(each.cohort),
            each.right_supported,
            each.right_unsupported,
            each.wrong_supported,
            each.wrong_unsupported,
            each.unjudged,
            _said(each.accuracy),
            _said(each.overclaim),
            "" if each.apart is None else f"{each.apart:.3g}",
        )
        for each in found.tables
    ]
    names = ("cohort", "right, supported", "right, not", "wrong, supported", "wrong, not", "not judged", "accuracy")
    print_table((*names, "overclaim rate", "p (others)"), rows, "")
    for fault, count in found.faults.items():
        click.echo(f"{fault}: {count}")
    for example in found.examples[:5]:
        click.echo(f"row {example.row}: {plain(example.explanation or '')}")


def _said(estimate: Estimate) -> str:
    if estimate.n == 0:
        return "unknown"
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"
