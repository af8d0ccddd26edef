"""The command that corrects a judge's scores by the labels that people gave some of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from watchkeeper.cli.options import Failure, house_options, print_json
from watchkeeper.cli.piped import readable

if TYPE_CHECKING:
    from watchkeeper.analysis.ppi import Corrected


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--score", required=True, metavar="COL", help="The judge's score.")
@click.option("--label", required=True, metavar="COL", help="What people said; empty where nobody was asked.")
@click.option("--item", multiple=True, required=True, metavar="COL", help="What names an item; repeatable, or COL,COL.")
@click.option("--by", metavar="COL", help="The column whose values are the groups.")
@click.option("--a", "side_a", metavar="NAME", help="With --by: the group that is A, to correct the difference B - A.")
@click.option("--b", "side_b", metavar="NAME", help="With --by: the group that is B.")
@click.option("--cluster", multiple=True, metavar="COL", help="Rows of one cluster hang together.")
@click.option("--stratum", metavar="COL", help="Labels were drawn at random within each value of this column.")
@click.option("--where", multiple=True, metavar="COL=VALUE", help="Only rows with this value; repeatable.")
@house_options
def estimate(
    file: Path,
    score: str,
    label: str,
    item: tuple[str, ...],
    by: str | None,
    side_a: str | None,
    side_b: str | None,
    cluster: tuple[str, ...],
    stratum: str | None,
    where: tuple[str, ...],
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """The mean that people would have given all of FILE, from a judge's scores of all and people's labels of some.

    Prediction-powered inference: unbiased however wrong the judge is, as long as the rows that were labelled are a
    random part. Beside it stand the labels alone, the judge alone and the judge's bias. With --by each group is
    estimated; with --a and --b the difference of two, over the items that both have.
    """
    from watchkeeper.cli.eval_tables import columns_of
    from watchkeeper.engines.experiments.corrections import correct, correct_difference
    from watchkeeper.engines.experiments.tables import TableError

    del data, config
    if (side_a is None) != (side_b is None) or (side_a is not None and by is None):
        raise Failure("A difference needs --by COL --a NAME --b NAME together.")
    columns = columns_of(item, score, by, cluster, None, where, stratum)
    try:
        with readable(file) as path:
            if side_a is not None and side_b is not None:
                found = [correct_difference(path, columns, label, side_a, side_b)]
            else:
                found = correct(path, columns, label)
    except (TableError, ValueError) as error:
        raise Failure(str(error), "table") from error
    if as_json:
        from watchkeeper.queries.registry import as_plain

        print_json([{"group": name, "missing": missing, **as_plain(each)} for name, missing, each in found])
        return
    for name, missing, each in found:
        _tell(name, missing, each)


def _tell(name: str, missing: int, found: Corrected) -> None:
    click.echo(f"{name}: {found.estimate.value:.4g} ({found.estimate.low:.4g} to {found.estimate.high:.4g})")
    worth = "" if found.worth_labels is None else f", worth {found.worth_labels:.0f} labels without a judge"
    click.echo(
        f"  {found.labelled} labelled and {found.unlabelled} unlabelled rows, weight of the judge {found.weight:.2f}"
        + worth
    )
    for what, each in (("labels alone", found.labels_alone), ("judge alone", found.judge_alone)):
        click.echo(f"  {what}: {each.value:.4g} ({each.low:.4g} to {each.high:.4g})")
    bias = found.judge_bias
    click.echo(f"  the judge's bias: {bias.value:+.4g} ({bias.low:+.4g} to {bias.high:+.4g}); {found.estimate.method}")
    if missing:
        click.echo(f"  {missing} rows have no score of the judge or no item and are in no figure.")
    for note in found.notes:
        click.echo(f"  {note}")
