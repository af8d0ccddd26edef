"""The command that judges each locale by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table

if TYPE_CHECKING:
    from watchkeeper.analysis.locales import LocaleRuling, Observation, Parity
    from watchkeeper.engines.experiments.rows import Row
    from watchkeeper.records.score import Score

REFUSAL = "refusal"
"""The scorer, and the label of other scorers, that says that a reply refuses."""
TRANSLATED = "translated-from:"
PAGE = 10_000


@click.command()
@click.argument("scores", metavar="RESULTS")
@click.option("--suite", type=click.Path(path_type=Path), help="The suite of RESULTS, where they are of eval run.")
@click.option("--score", help="With --suite: the score to judge by, where there are several.")
@click.option("--against", metavar="RESULTS", help="The same of a baseline.")
@click.option("--floor", type=float, help="What the mean of each locale must reach.")
@click.option("--margin", type=click.FloatRange(0, min_open=True), help="The difference that does not matter.")
@click.option("--least", type=click.IntRange(1), default=30, show_default=True, help="Native items a locale needs.")
@click.option("--reference", default="en", show_default=True, help="The locale that refusals are held against.")
@house_options
def locales(
    scores: str,
    suite: Path | None,
    score: str | None,
    against: str | None,
    floor: float | None,
    margin: float | None,
    least: int,
    reference: str,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Judge each locale in RESULTS by the items written in it; one with only translated items is not measured.

    RESULTS is a table (JSON lines, CSV or Parquet; gzip too) with the columns `item`, `locale`, `score`, `provenance`
    ("native", or "translated-from:ID"), and where there are such `cluster` and, for refusal parity, `refused` and
    `prompt` (without it an item is held against the one that it was translated from). Or it is a run: the id of an
    experiment, or a file of `eval run --out` with --suite; cases then carry `locale` and `provenance` as attributes.
    An item that stands there several times was asked again, and counts once.

    Exit code 0 when every locale passes, or is measured and no gate was asked for; 1 when one fails or refuses
    otherwise than the reference; 3 when one is not resolved or not measured.
    """
    from watchkeeper.analysis.locales import refusal_parity, rule_locales
    from watchkeeper.queries.registry import as_plain

    read = _Reader(suite, score, config, data)
    rows = read(scores)
    before = None if against is None else read(against)
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


class _Reader:
    """Reads results, be they a table or a run; raises `Failure`."""

    def __init__(self, suite: Path | None, score: str | None, config: Path | None, data: str | None) -> None:
        self._suite, self._score, self._config, self._data = suite, score, config, data

    def __call__(self, word: str) -> list[Observation]:
        from watchkeeper.engines.experiments.tables import TableError

        path = Path(word)
        is_file = path.is_file() or path.suffix != ""
        try:
            if is_file and self._suite is None:
                rows = [_observed(row, path, number) for number, row in self._table(path)]
            else:
                rows = self._run(word, is_file)
        except TableError as error:
            raise Failure(str(error), "table") from error
        if not rows:
            raise Failure(f"{word}: holds no rows.", "table")
        return rows

    def _table(self, path: Path) -> Iterator[tuple[int, Row]]:
        from watchkeeper.engines.experiments.rows import TableError, rows_given, rows_of

        needed = ("item", "locale")
        if path.suffix != ".parquet":
            return rows_of(path, needed)
        from watchkeeper.adapters.store.parquet import read_parquet

        try:
            return rows_given(path, read_parquet(path), needed)
        except OSError as error:
            raise TableError(f"{path}: {error.strerror or error}. Name a Parquet file that can be read.") from error

    def _run(self, word: str, is_file: bool) -> list[Observation]:
        """The answers of a run: scores by case and repeat, with what the cases say of themselves."""
        from watchkeeper.cli.eval_sides import side
        from watchkeeper.engines.experiments.dataset import SuiteError

        try:
            scores = side(word, self._config, self._data).scores
        except SuiteError as error:
            raise Failure(str(error), "suite") from error
        known = self._of_suite(self._suite) if self._suite is not None else self._of_record(word, scores)
        judged = _score_to_judge_by(scores, self._score)
        answers: dict[tuple[str, str], list[Score]] = {}
        for each in scores:
            answers.setdefault((each.subject_id, str(each.attributes.get("repeat", 0))), []).append(each)
        return [_answered(case, marks, judged, known.get(case, {})) for (case, _), marks in answers.items()]

    def _of_suite(self, suite: Path) -> dict[str, dict[str, Any]]:
        from watchkeeper.cli.eval_asking import load_asked

        return {
            case.case_id: dict(case.attributes)
            for case in load_asked(suite, self._config, self._data, live=False)[0].cases
        }

    def _of_record(self, experiment: str, scores: tuple[Score, ...]) -> dict[str, dict[str, Any]]:
        """The attributes of an experiment's cases, as they were recorded."""
        from watchkeeper.cli.door import open_door

        wanted, found, cursor = {each.subject_id for each in scores}, {}, 0
        with open_door(self._config, self._data) as door:
            (row,) = door.ask("experiments", {"experiment_id": experiment})["items"] or [{"suite": None}]
            while True:
                asked = {"dataset": row["suite"], "limit": PAGE, "cursor": cursor}
                items = door.ask("cases", asked)["items"]
                found.update({each["case_id"]: each["attributes"] or {} for each in items if each["case_id"] in wanted})
                cursor += len(items)
                if len(items) < PAGE or len(found) == len(wanted):
                    break
        if not any("locale" in each for each in found.values()):
            raise Failure(
                f"the cases of {experiment} have no attribute `locale`, or are not recorded any more. Give the cases "
                "one, or name the suite that has it with --suite.",
                "suite",
            )
        return found


def _observed(row: Row, path: Path, number: int) -> Observation:
    """A row of a table; raises `TableError`."""
    from watchkeeper.analysis.cells import text
    from watchkeeper.analysis.locales import UNKNOWN
    from watchkeeper.engines.experiments.rows import TableError
    from watchkeeper.engines.experiments.tables import score_in

    item = text(row.get("item"))
    if not item:
        raise TableError(f"{path}, row {number}: has no `item`. Give each row the name of the item that was asked.")
    refused = score_in(row, path, number, "refused")
    said = {name: text(row.get(name)) or None for name in ("provenance", "prompt", "cluster")}
    return _observation(
        item, text(row.get("locale")) or UNKNOWN, score_in(row, path, number, "score"),
        None if refused is None else bool(refused), said,
    )  # fmt: skip


def _answered(case: str, marks: list[Score], judged: str | None, attributes: dict[str, Any]) -> Observation:
    from watchkeeper.analysis.locales import UNKNOWN

    value = next((each.value for each in marks if each.name == judged), None)
    cluster = marks[0].attributes.get("cluster")
    item = case.partition("/")[2] or case  # without the suite's name, as `translated-from` writes it
    said = {"cluster": cluster, **{name: attributes.get(name) for name in ("provenance", "prompt")}}
    return _observation(item, str(attributes.get("locale", UNKNOWN)), value, _refused(marks), said)


def _observation(
    item: str, locale: str, score: float | None, refused: bool | None, said: dict[str, Any]
) -> Observation:
    from watchkeeper.analysis.locales import Observation

    provenance = str(said["provenance"])
    native = True if provenance == "native" else False if provenance.startswith("translated") else None
    source = provenance.removeprefix(TRANSLATED) if provenance.startswith(TRANSLATED) else item
    cluster = None if said["cluster"] is None else str(said["cluster"])
    prompt = str(said["prompt"] or source)
    return Observation(
        item=item, locale=locale, score=score, native=native, refused=refused, prompt=prompt, cluster=cluster
    )


def _refused(marks: list[Score]) -> bool | None:
    """Whether an answer refuses: the scorer `refusal` says so, or a label of another one; None where none does."""
    said = next((each.value for each in marks if each.scorer == REFUSAL and each.value is not None), None)
    if said is not None:
        return said > 0
    labels = [each.label for each in marks if each.label is not None]
    return None if not labels else REFUSAL in labels


def _score_to_judge_by(scores: tuple[Score, ...], wanted: str | None) -> str | None:
    """The score that locales are judged by; None where there is none but that of refusals."""
    names = sorted({each.name for each in scores if each.scorer != REFUSAL})
    if wanted is not None and wanted not in names:
        raise Failure(f"there is no score {wanted!r}; there are: {', '.join(names) or 'none'}.", "suite")
    if wanted is None and len(names) > 1:
        raise Failure(f"there are the scores {', '.join(names)}. Name the one to judge by with --score.", "suite")
    return wanted or (names[0] if names else None)


def _tell(found: list[LocaleRuling], parity: list[Parity]) -> None:
    rows = [
        (each.locale, each.ruling, each.native, each.translated,
         f"{each.mean.value:.3g} ({each.mean.low:.3g} to {each.mean.high:.3g})",
         "" if each.difference is None else
         f"{each.difference.value:+.3g} ({each.difference.low:+.3g} to {each.difference.high:+.3g})", each.why)
        for each in found
    ]  # fmt: skip
    print_table(("locale", "ruling", "native", "translated", "mean of native", "difference", "why"), rows, "No rows.")
    for each in found:
        if each.unscored or each.unknown or each.unpaired:
            click.echo(
                f"{plain(each.locale)}: {each.unscored} items without a score, {each.unknown} of unknown provenance, "
                f"{each.unpaired} native ones on one side alone; they are in no figure of it."
            )
    for pair in parity:
        click.echo(plain(f"refusals, {pair.locale} minus {pair.reference} {_parity_said(pair)}"))


def _parity_said(found: Parity) -> str:
    if not found.prompts:
        return f"unknown: no prompt was asked in both ({found.unmatched} in one of them)"
    seen = found.minimum_detectable_effect
    return (
        f"on {found.prompts} prompts: {found.difference.value:+.3g} ({found.difference.low:+.3g} to "
        f"{found.difference.high:+.3g}), {found.locale_rate:.3g} against {found.reference_rate:.3g}, p = "
        f"{found.p_value:.3g}{', unequal' if found.unequal else ''}; smallest difference this could have shown: "
        f"{'unknown' if seen is None else format(seen, '.3g')}"
    )
