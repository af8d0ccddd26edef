"""Shows each report as a form: how its subject is written, what may be chosen for it, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from watchkeeper.kinds.report import Report, Subjects, subjects_of
from watchkeeper.records.record import Record
from watchkeeper.server.views.filters import DEFAULT_RANGE, MAX_TEXT_CHARS, RANGES
from watchkeeper.server.visible import visible

Options = Sequence[tuple[str, str]]
BETWEEN = ".."
LENGTHS = tuple(each for each in RANGES if each[0] != "all")
STRICT = ("lengths", "versions")
"""What is chosen from a list; names of agents and incidents may also be written, for not all of them are listed."""


class Choice(Record):
    """One part of a subject: a select of its options, or where `free` a text field that suggests them."""

    label: str
    value: str
    options: tuple[tuple[str, str], ...]
    free: bool
    hint: str


class Offer(Record):
    """A report that can be had: its name, summary and form, and what was wrong with what was asked of it."""

    name: str
    summary: str
    choices: tuple[Choice, ...]
    ranged: bool
    since: str
    until: str
    problem: str


def subject_of(subjects: Subjects, given: Sequence[str]) -> str:
    """The subject that the parts of a form make; one that was written whole is taken as it is."""
    words = [each.strip()[:MAX_TEXT_CHARS] for each in given]
    said = BETWEEN.join(words)
    return said if not any(words) or said.startswith(subjects.prefix) else subjects.prefix + said


def offer_of(
    name: str,
    report: Report,
    known: Mapping[str, Options],
    given: Sequence[str] = (),
    times: tuple[str, str] = ("30d", ""),
    problem: str = "",
) -> Offer:
    """One report's form as it was filled in; `known` holds what may be chosen, by what the report offers."""
    subjects = subjects_of(report)
    options = known.get(subjects.offers or "", ())
    said = subject_of(subjects, given).removeprefix(subjects.prefix)
    words = said.split(BETWEEN, len(subjects.parts) - 1) if said else []
    if not said and subjects.offers == "lengths":
        words = [DEFAULT_RANGE]
    words += [""] * (len(subjects.parts) - len(words))
    return Offer(
        name=name,
        summary=visible(report.header.summary),
        choices=tuple(_choice(part, word, options, subjects) for part, word in zip(subjects.parts, words, strict=True)),
        ranged=subjects.ranged,
        since=visible(times[0][:MAX_TEXT_CHARS]),
        until=visible(times[1][:MAX_TEXT_CHARS]),
        problem=visible(problem[:1].upper() + problem[1:]),
    )


def _choice(part: str, word: str, options: Options, subjects: Subjects) -> Choice:
    free = subjects.offers not in STRICT or not options
    shown = [] if free or word in [value for value, _ in options] else [(word, visible(word) or "choose")]
    if free:
        word = visible(word)
    hint = "choose or write" if options else "model:NAME" if subjects.offers == "versions" else ""
    label = part[:1].upper() + part[1:]
    return Choice(label=label, value=word, options=(*shown, *options), free=free, hint=hint)
