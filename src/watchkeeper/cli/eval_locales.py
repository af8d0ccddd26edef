"""The command that judges each locale by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.locales import Observation


@click.command()
@click.argument("scores", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--suite", type=click.Path(path_type=Path), help="The suite of FILE, where FILE is of eval run --out.")
@click.option("--score", help="With --suite: the score to judge by, where there are several.")
@click.option("--against", type=click.Path(path_type=Path), help="The same of a baseline.")
@click.option("--floor", type=float, help="What the mean of each locale must reach.")
@click.option("--margin", type=click.FloatRange(0, min_open=True), help="The difference that does not matter.")
@click.option("--least", type=click.IntRange(1), default=30, show_default=True, help="Native items a locale needs.")
@click.option("--reference", default="en", show_default=True, help="The locale that refusals are held against.")
@house_options
def locales(
    scores: Path,
    suite: Path | None,
    score: str | None,
    against: Path | None,
    floor: float | None,
    margin: float | None,
    least: int,
    reference: str,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Judge each locale in FILE by the items that were written in it; one with only translated items is not measured.

    FILE holds JSON lines with `item`, `locale`, `score` (a number), `provenance` ("native", or "translated-from:ID")
    and,
    for refusal parity, `refused` and `prompt`. Or it is of `eval run --out`; then --suite says where the cases are,
    whose attributes `locale` and `provenance` count.

    Exit code 0 when every locale passes, or is measured and no gate was asked for; 1 when one fails or refuses
    otherwise than the reference; 3 when one is not resolved or not measured.
    """
    from watchkeeper.analysis.locales import refusal_parity, rule_locales
    from watchkeeper.queries.registry import as_plain

    known = None if suite is None else _cases(suite, config, data)
    rows = _observations(scores, known, score)
    before = None if against is None else _observations(against, known, score)
    found = rule_locales(rows, before, floor=floor, margin=margin, least=least)
    parity = refusal_parity(rows, reference)
    if as_json:
        print_json({"locales": as_plain(found), "refusal_parity": as_plain(parity)})
    else:
        _tell(found, parity)
    rulings = {each.ruling for each in found}
    if "failed" in rulings or any(each.unequal for each in parity):
        raise SystemExit(1)
    raise SystemExit(0 if rulings <= {"passed", "measured"} else 3)


def _cases(suite: Path, config: Path | None, data: str | None) -> dict[str, dict[str, Any]]:
    from watchkeeper.cli.eval_sources import sources_of
    from watchkeeper.engines.experiments.dataset import SuiteError
    from watchkeeper.engines.experiments.suite import load_suite

    try:
        return {case.case_id: case.attributes for case in load_suite(suite, sources_of(config, data)).cases}
    except SuiteError as error:
        raise Failure(str(error), "suite") from error


def _observations(path: Path, known: dict[str, dict[str, Any]] | None, score: str | None) -> list[Observation]:
    """The rows of a file; raises `Failure` naming the line."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}. Name a file of JSON lines.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(_result(row, known, score) if known is not None else _plain(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(f"{path}:{number}: {type(error).__name__}: {error}. Mend that line.") from error
    if not rows:
        raise Failure(f"{path}: holds no rows.")
    names = [row.item for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Failure(
            f"{path}: item {twice!r} stands there twice. Give each row an `item` of its own, or average reruns."
        )
    return rows


def _plain(row: dict[str, Any]) -> Observation:
    from watchkeeper.analysis.locales import Observation

    score = row.get("score")
    if score is not None and (not isinstance(score, int | float) or score != score):
        raise ValueError(f"`score` is {score!r}; expected a number")
    return Observation(
        item=str(row["item"]), locale=str(row["locale"]), score=None if score is None else float(score),
        native=_native(row.get("provenance")), refused=row.get("refused"), prompt=row.get("prompt"),
    )  # fmt: skip


def _result(row: dict[str, Any], known: dict[str, dict[str, Any]], score: str | None) -> Observation:
    from watchkeeper.analysis.locales import UNKNOWN

    attributes = known.get(row["case_id"], {})
    marks = [each for each in row.get("scores", ()) if score in (None, each["name"])]
    refused = next((each.get("label") == "refusal" for each in row.get("scores", ()) if each.get("label")), None)
    return _plain(
        {
            "item": f"{row['case_id']}#{row.get('repeat', 0)}",
            "locale": attributes.get("locale", UNKNOWN),
            "score": marks[0].get("value") if marks else None,
            "provenance": attributes.get("provenance"),
            "refused": refused,
            "prompt": attributes.get("prompt"),
        }
    )


def _native(provenance: object) -> bool | None:
    return {"native": True}.get(str(provenance), False if str(provenance).startswith("translated") else None)


def _tell(found: list[Any], parity: list[Any]) -> None:
    rows = [
        (each.locale, each.ruling, each.native, each.translated,
         f"{each.mean.value:.3g} ({each.mean.low:.3g} to {each.mean.high:.3g})",
         "" if each.difference is None else
         f"{each.difference.value:+.3g} ({each.difference.low:+.3g} to {each.difference.high:+.3g})", each.why)
        for each in found
    ]  # fmt: skip
    print_table(("locale", "ruling", "native", "translated", "mean of native", "difference", "why"), rows, "No rows.")
    for each in parity:
        click.echo(
            f"refusals, {each.locale} minus {each.reference} on {each.prompts} prompts: {each.difference.value:+.3g} "
            f"({each.difference.low:+.3g} to {each.difference.high:+.3g}){', unequal' if each.unequal else ''}"
        )
