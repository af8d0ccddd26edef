"""Commands about judges: how far one can be trusted, and what its scores are worth once people have labelled some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from watchkeeper.cli.judge_estimates import estimate
from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table
from watchkeeper.cli.piped import readable

if TYPE_CHECKING:
    from watchkeeper.engines.experiments.judgments import Judge
    from watchkeeper.records.estimate import Estimate


@click.group()
def judge() -> None:
    """Audit the judges that score for you, and correct what they say."""


judge.add_command(estimate)


@judge.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", metavar="COL", help="The column with the better answer, 1 or 2 [label, gold ...].")
@click.option("--verdict", metavar="COL", help="The judge's verdict [winner_noswap, verdict, winner, preference ...].")
@click.option("--swapped", metavar="COL", help="Its verdict in the other order, mapped back [winner_swap ...].")
@click.option("--as-shown", is_flag=True, help="--swapped names the place (1: shown first) and is to be mapped back.")
@click.option("--by", multiple=True, metavar="COL", help="Columns that name a judge [evaluator, strategy ...].")
@click.option("--answer-1", metavar="COL", help="The first answer's text [output_1, answer_1 ...].")
@click.option("--answer-2", metavar="COL", help="The second answer's text [output_2, answer_2 ...].")
@click.option("--length-1", metavar="COL", help="The first answer's length, for its text [len_1, len_baseline ...].")
@click.option("--length-2", metavar="COL", help="The second answer's length [len_2, len_model ...].")
@click.option("--author-1", metavar="COL", help="The model that wrote the first answer [model_1, baseline ...].")
@click.option("--author-2", metavar="COL", help="The model that wrote the second answer [model_2, model ...].")
@click.option("--judge-model", metavar="NAME", help="The model that judged, to look for self-preference [from --by].")
@click.option("--where", multiple=True, metavar="COL=VALUE", help="Only rows with this value; repeatable.")
@house_options
def audit(
    file: Path,
    as_shown: bool,
    by: tuple[str, ...],
    judge_model: str | None,
    where: tuple[str, ...],
    data: str | None,
    config: Path | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Hold the judgments in FILE (CSV or JSONL, gzip too) against gold labels, in both orders where there are both.

    For each judge: how often it is right, with interval; whether it says the same when the answers change places;
    whether it favours what is shown first, the longer answer or its own family; kappa, its agreement beyond chance; and
    whether one text wins again and again. A verdict is 1 or 2, or a preference between them; of single answers it is 0
    or 1, or pass and fail, and then how often what people fail passes is told, and the reverse. Without a column of
    labels only what needs none is told, for each `model` of the file.
    """
    from watchkeeper.cli.eval_tables import conditions, names_of
    from watchkeeper.engines.experiments.judgments import audit_judge, columns_of, groups_of, read_judgments
    from watchkeeper.engines.experiments.tables import TableError

    del data, config
    try:
        with readable(file) as path:
            columns = columns_of(path, given)
            parts = groups_of(path, names_of(by))
            groups = read_judgments(path, columns, parts, conditions(where), as_shown)
        both = columns["swapped"] is not None
        named = not {"evaluator", "judge"}.isdisjoint(parts)
        found = [
            audit_judge(name, rows, both=both, judge_model=judge_model or (name if named else None))
            for name, rows in sorted(groups.items())
        ]
    except (TableError, ValueError) as error:
        raise Failure(str(error), "table") from error
    if as_json:
        print_json([_flat(each) for each in found])
    else:
        _tell(found)


def _flat(each: Judge) -> dict[str, object]:
    """A judge with the figures of its audit beside the others."""
    from watchkeeper.queries.registry import as_plain

    told = as_plain(each)
    inner = {**(told.pop("orders") or {}), **(told.pop("audit") or {})}
    return {**inner, **told, "notes": told["notes"]}


def _tell(found: list[Judge]) -> None:
    labelled = [each for each in found if each.audit is not None]
    if labelled:
        rows = [
            (
                plain(each.judge),
                each.audit.pairs,
                _share(each.audit.right),
                _share(each.audit.right_both),
                _share(each.audit.consistent),
                _bias(each.audit.order_bias),
                None if each.audit.kappa is None else _plain_interval(each.audit.kappa),
                _bias(each.longer.excess if each.longer else None),
                each.unreadable,
                ", ".join(each.flags),
            )
            for each in labelled
            if each.audit is not None
        ]
        head = ("judge", "pairs", "right", "right in both", "consistent", "favours first by", "kappa")
        print_table((*head, "favours longer by", "unreadable", "flags"), rows, "")
    rest = [each for each in found if each.audit is None]
    if rest:
        told = [
            (
                plain(each.judge),
                each.judgments,
                _share(each.win_rate),
                _share(each.orders.consistent if each.orders else None),
                _bias(each.orders.order_bias if each.orders else None),
                _share(each.longer.picked if each.longer else None),
                _share(each.repeated.wins) if each.repeated else None,
                each.unreadable,
                ", ".join(each.flags),
            )
            for each in rest
        ]
        heads = ("group", "judgments", "answer 2 wins", "consistent", "favours first by", "longer wins")
        print_table((*heads, "repeated text wins", "unreadable", "flags"), told, "")
    for each in found:
        if each.false_pass is not None or each.false_fail is not None:
            told_of = (("passes what people fail", each.false_pass), ("fails what people pass", each.false_fail))
            said = "; ".join(f"{what}: {_share(rate)}" for what, rate in told_of if rate is not None)
            click.echo(f"{plain(each.judge)}: {said}")
        for note in each.notes:
            click.echo(f"{plain(each.judge)}: {plain(note)}")


def _share(estimate: Estimate | None) -> str | None:
    return None if estimate is None else f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _bias(estimate: Estimate | None) -> str | None:
    return None if estimate is None else f"{estimate.value:+.1%} ({estimate.low:+.1%} to {estimate.high:+.1%})"


def _plain_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
