"""Reads judgments out of anybody's CSV or JSONL and audits the judges: against labels, and for what they favour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchkeeper.analysis import favouring
from watchkeeper.analysis.agreement import TIE, Audit, Judged, Orders, audit, orders
from watchkeeper.analysis.favouring import Favour, Pick, Repeated
from watchkeeper.analysis.intervals import graded_rate, wilson
from watchkeeper.engines.experiments.rows import rows_of
from watchkeeper.engines.experiments.tables import TableError, read_rows
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

KNOWN: Mapping[str, tuple[str, ...]] = {
    "label": ("label", "gold", "expected", "human", "human_preference"),
    "verdict": ("winner_noswap", "verdict", "winner", "judgment", "preference"),
    "swapped": ("winner_swap", "verdict_swap", "verdict_swapped", "winner_swapped"),
    "answer_1": ("output_1", "answer_1", "answer_a", "text_1"),
    "answer_2": ("output_2", "answer_2", "answer_b", "text_2"),
    "length_1": ("len_1", "length_1", "len_a", "len_baseline", "length_baseline"),
    "length_2": ("len_2", "length_2", "len_b", "len_model", "length_model"),
    "author_1": ("model_1", "author_1", "model_a", "generator_1", "baseline"),
    "author_2": ("model_2", "author_2", "model_b", "generator_2", "model"),
}
GROUPS = ("evaluator", "judge", "strategy", "prompt")
_THINGS = ("answer", "model", "output", "response", "assistant")
_FIRST = frozenset(("1", "a", "first", "left", "[[a]]", *(f"{what}_{one}" for what in _THINGS for one in "1a")))
_SECOND = frozenset(("2", "b", "second", "right", "[[b]]", *(f"{what}_{two}" for what in _THINGS for two in "2b")))
_TIES = frozenset(("tie", "draw", "equal", "same", "both", "neither", "1.5", "[[c]]"))
_NONE = frozenset(("", "nan", "none", "null", "n/a", "na", "<na>", "error", "invalid"))
_PASS = frozenset(("1", "1.0", "true", "t", "yes", "y", "pass", "passed", "correct", "good"))
_FAIL = frozenset(("0", "0.0", "false", "f", "no", "n", "fail", "failed", "incorrect", "wrong", "bad"))


class Judge(Record, frozen=True, kw_only=True):
    """What one group of judgments says of its judge.

    `audit` is there where there are gold labels, `unlabelled` counts rows without one (in no figure of it); where there
    are none, `orders` says what needs none, if pairs were judged in both. `win_rate` is how often answer 2 wins, a
    graded preference between 1 and 2 counting in part. `longer` says how much oftener than the labels the longer answer
    is picked, `kin` the answer of the judge's own family. `repeated` is a text that wins although it is the answer to
    many questions. Where single answers pass or fail, `false_pass` is how often one that people fail passes,
    `false_fail` the reverse. `flags` names what should keep the judge from being trusted: "below chance", "order bias",
    "length bias", "self-preference", "repeated text wins", "one verdict only".
    """

    judge: str
    judgments: int
    unlabelled: int
    unreadable: int
    audit: Audit | None = None
    orders: Orders | None = None
    win_rate: Estimate | None = None
    longer: Favour | None = None
    kin: Favour | None = None
    repeated: Repeated | None = None
    false_pass: Estimate | None = None
    false_fail: Estimate | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Read(NamedTuple):
    """One row: labels and verdicts as "1", "2" or "tie", how much answer 2 won, answers, lengths and authors.

    With `outcomes` one answer alone was judged: "1" is that it fails, "2" that it passes.
    """

    label: str | None
    plain: str | None
    swapped: str | None
    second_wins: float | None
    answers: tuple[str, str]
    lengths: tuple[float | None, float | None]
    authors: tuple[str, str]
    outcomes: bool = False


def columns_of(path: Path, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """The columns to read: those that were named, else the first known name that the file has (None: it has none)."""
    names = next((row.names for _, row in rows_of(path)), [])
    found = {}
    for meaning, known in KNOWN.items():
        named = given.get(meaning)
        found[meaning] = named if named else next((name for name in known if name in names), None)
    if found["verdict"] is None:
        raise TableError(
            f"{path} has no column {KNOWN['verdict'][0]!r}; it has: {', '.join(names[:12])}. "
            "Name it with --verdict COL."
        )
    return found


def groups_of(path: Path, by: Sequence[str]) -> tuple[str, ...]:
    """The columns that name a judge: those given, else the known ones that the file has."""
    names = next((row.names for _, row in rows_of(path)), [])
    known = tuple(name for name in GROUPS if name in names)
    # A table of preferences names the model that was judged, and its judge nowhere.
    return tuple(by) or known or tuple(name for name in ("model",) if name in names and "model_1" not in names)


def read_judgments(
    path: Path,
    columns: Mapping[str, str | None],
    by: Sequence[str],
    where: Sequence[tuple[str, str]],
    as_shown: bool = False,
) -> dict[str, list[Read]]:
    """The judgments of each judge; raises `TableError` for a label or verdict that cannot be understood.

    A verdict may be the name of an author too. Where labels and verdicts are 0 and 1, or pass and fail, one answer
    alone was judged. `as_shown` says that the verdicts in the other order name the place at which the answer was shown,
    and are to be mapped back.
    """
    kept: dict[str, list[Read]] = defaultdict(list)
    wanted = [name for name in dict.fromkeys((*columns.values(), *by)) if name is not None]
    rows = list(read_rows(path, wanted, where))
    outcomes = _are_outcomes(row[name] for _, row in rows for name in _verdicts_of(columns))
    for number, row in rows:
        said = {meaning: row[name] if name is not None else "" for meaning, name in columns.items()}
        if outcomes:
            said |= {each: _as_side(said[each]) for each in ("label", "verdict", "swapped")}
        place = f"{path}, row {number}"
        authors = said["author_1"], said["author_2"]
        label, _ = _side(said["label"], f"{place}: {columns['label']}", authors)
        plain, wins = _side(said["verdict"], f"{place}: {columns['verdict']}", authors)
        swapped, _ = _side(said["swapped"], f"{place}: {columns['swapped']}", authors)
        if as_shown and swapped in ("1", "2"):
            swapped = "2" if swapped == "1" else "1"
        kept[" / ".join(row[name] for name in by) or "all"].append(
            Read(
                label=label,
                plain=plain,
                swapped=swapped,
                second_wins=wins,
                answers=(said["answer_1"], said["answer_2"]),
                lengths=(_length(said, "1"), _length(said, "2")),
                authors=authors,
                outcomes=outcomes,
            )
        )
    return dict(kept)


def audit_judge(name: str, rows: Sequence[Read], *, both: bool, judge_model: str | None = None) -> Judge:
    """Audit one judge; `both` says that pairs were judged in both orders, `judge_model` which model judged.

    A judge without any verdict in the other order was asked in one alone.
    """
    once = both and bool(rows) and all(row.swapped is None for row in rows)
    both = both and not once
    labelled = [row for row in rows if row.label in ("1", "2")]
    unreadable = sum(row.plain is None for row in rows) + (sum(row.swapped is None for row in rows) if both else 0)
    found = audit([Judged(str(r.label), r.plain, r.swapped) for r in labelled], both=both) if labelled else None
    wins = [row.second_wins for row in rows if row.second_wins is not None]
    longer = favouring.favour(_picks(rows, _longer, bool(labelled)))
    kin = favouring.favour(_picks(rows, _own(judge_model), bool(labelled)))
    again = _repeated(rows)
    outcomes = bool(rows) and rows[0].outcomes
    result = Judge(
        judge=name,
        judgments=len(rows),
        unlabelled=len(rows) - len(labelled),
        unreadable=unreadable,
        audit=found,
        orders=orders([(row.plain, row.swapped) for row in rows]) if both and found is None else None,
        win_rate=(wilson(sum(wins), len(wins)) if set(wins) <= {0.0, 1.0} else graded_rate(wins)) if wins else None,
        longer=longer,
        kin=kin,
        repeated=again,
        false_pass=_rate_of(rows, "1") if outcomes else None,
        false_fail=_rate_of(rows, "2") if outcomes else None,
    )
    flags, notes = _said(result, rows)
    if once:
        notes = (*notes, "No verdict in the other order: this judge is taken to have been asked in one order alone.")
    return Judge(**{**{f: getattr(result, f) for f in result.__struct_fields__}, "flags": flags, "notes": notes})


def _verdicts_of(columns: Mapping[str, str | None]) -> list[str]:
    return [name for name in (columns["label"], columns["verdict"], columns["swapped"]) if name is not None]


def _are_outcomes(words: Iterable[str]) -> bool:
    """Whether labels and verdicts are passes and fails, and not sides: a 1 alone could be either."""
    said = {word.strip().casefold() for word in words} - _NONE
    return said <= _PASS | _FAIL and not said <= {"1", "1.0"}


def _as_side(text: str) -> str:
    word = text.strip().casefold()
    return "2" if word in _PASS else "1" if word in _FAIL else text


def _rate_of(rows: Sequence[Read], label: str) -> Estimate | None:
    """How often the verdict is the other one where the label is this."""
    judged = [row.plain for row in rows if row.label == label and row.plain is not None]
    return wilson(sum(verdict != label for verdict in judged), len(judged)) if judged else None


def _side(text: str, place: str, authors: tuple[str, str] = ("", "")) -> tuple[str | None, float | None]:
    """The side that a word names, and how much answer 2 won; a number between 1 and 2 is a graded preference."""
    word = text.strip().casefold()
    if word in _NONE:
        return None, None
    names = [author.strip().casefold() for author in authors]
    if word in _FIRST or (word == names[0] != names[1]):
        return "1", 0.0
    if word in _SECOND or (word == names[1] != names[0]):
        return "2", 1.0
    if word in _TIES or word.startswith("tie "):
        return TIE, 0.5
    try:
        graded = float(word)
    except ValueError:
        graded = -1.0
    if not 1 <= graded <= 2:
        raise TableError(
            f"{place} is {text[:40]!r}, expected 1 or 2 (or a preference between them; of single answers 0 or 1 in all "
            "columns), or nothing where none could be read."
        )
    return "1" if graded < 1.5 else "2" if graded > 1.5 else TIE, graded - 1


def _length(said: Mapping[str, str], side: str) -> float | None:
    text = said[f"length_{side}"]
    try:
        return float(text) if text else float(len(said[f"answer_{side}"])) if said[f"answer_{side}"] else None
    except ValueError:
        return None


def _longer(row: Read) -> str | None:
    first, second = row.lengths
    if first is None or second is None or first == second:
        return None
    return "1" if first > second else "2"


def _own(judge_model: str | None) -> Callable[[Read], str | None]:
    own = favouring.family(judge_model)

    def side(row: Read) -> str | None:
        families = [favouring.family(author) for author in row.authors]
        if own is None or families[0] is None or families[1] is None or (families[0] == own) == (families[1] == own):
            return None
        return "1" if families[0] == own else "2"

    return side


def _picks(rows: Iterable[Read], side: Callable[[Read], str | None], labelled: bool) -> list[Pick]:
    """The verdicts on pairs that have such a side; where there are labels, of labelled pairs alone."""
    found = []
    for row in rows:
        named = side(row)
        if named is None or row.plain not in ("1", "2") or (labelled and row.label not in ("1", "2")):
            continue
        found.append(Pick(winner=row.plain, label=row.label if labelled else None, side=named))
    return found


def _repeated(rows: Sequence[Read]) -> Repeated | None:
    """The text, or where only lengths are known the length, that wins although it answers many questions."""
    if any(answer for row in rows for answer in row.answers):
        answers = [
            (text, row.second_wins if side else 1 - row.second_wins)
            for row in rows
            if row.second_wins is not None
            for side, text in enumerate(row.answers)
            if text
        ]
        return favouring.repeated(answers)
    # Only answer 2 is looked at: the other may well be one baseline's answer to few questions.
    lengths = [
        (f"{row.lengths[1]:g}", row.second_wins)
        for row in rows
        if row.second_wins is not None and row.lengths[1] is not None
    ]
    return favouring.repeated(lengths, lengths=True)


def _said(judge: Judge, rows: Sequence[Read]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    flags, notes = [], list(judge.audit.notes if judge.audit is not None else ())
    found = judge.audit
    if judge.unlabelled and found is not None:
        notes.append(f"{judge.unlabelled} rows have no label of 1 or 2 and are in no agreement.")
    if found is not None and found.right.high < 0.5:
        flags.append("below chance")
    orders_ = found or judge.orders
    if orders_ is not None and orders_.order_bias is not None and orders_.order_bias.excludes(0):
        flags += ["order bias"] if _tiny(orders_.first_bias_p) else []
    for word, each in (("length bias", judge.longer), ("self-preference", judge.kin)):
        if each is not None and each.excess is not None and each.excess.low > 0 and _tiny(each.p_value):
            flags.append(word)
    again = judge.repeated
    if again is not None and again.wins.low > 0.1:
        flags.append("repeated text wins")
        what = f"one length, {again.what}," if again.by == "length" else f"one text ({again.what[:60]!r} ...)"
        notes.append(
            f"{what} is {again.share:.0%} of the answers and wins {again.wins.value:.1%} of the time: no answer suits "
            "so many questions. Look at it; it may be written for the judge."
        )
    verdicts = {row.plain for row in rows if row.plain is not None}
    if len(verdicts) == 1 and len(rows) >= 10 and found is not None:
        flags.append("one verdict only")
    if judge.kin is not None and judge.kin.excess is None:
        notes.append(
            "The judge grades its own family without labels beside, so that nothing tells preference from skill."
        )
    return tuple(flags), tuple(notes)


def _tiny(p_value: float | None) -> bool:
    """Whether a bias is flagged: at 1%, because several are looked for at every judge."""
    return p_value is not None and p_value < 0.01
