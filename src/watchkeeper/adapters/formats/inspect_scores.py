"""Reads the per-sample scores of an Inspect evaluation's log (`.eval` or `.json`) as rows to compare and to sum up.

A row has `id`, `epoch`, `task`, `model`, `error`, the metadata of its sample (`metadata.kind`) and a column for each
score. Letters count as in Inspect's own metrics (C 1, P 0.5, I and N 0); other labels stay texts. A sample that the log
planned and does not hold, and one that failed, is a row without scores: it is missing, not left out. Where a sample was
tried again, its last try counts, as in Inspect.

Limits: the log is read sample by sample from an archive, as a whole from `.json`, up to `MOST_JSON_BYTES`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.adapters.formats.inspect_log import is_archive, looks_like, number_of
from watchkeeper.adapters.formats.unpacking import MOST_MEMBER_BYTES, Broken, TooLarge, member, whole

MOST_JSON_BYTES = MOST_MEMBER_BYTES
_HEADS = ("header.json", "_journal/start.json")
_MOST_PLANNED = 1_000_000
Row = dict[str, Any]


class BadLog(ValueError):
    """A log that cannot be read; the message says which part and why."""


def is_inspect_log(path: Path) -> bool:
    """Whether a file is an Inspect log, by its content: an archive with a head, or a JSON object that says so."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return is_archive(archive.namelist())
        return path.suffix == ".json" and looks_like(_json(path))
    except (OSError, zipfile.BadZipFile, BadLog):
        return False


def rows_of_log(path: Path) -> list[Row]:
    """One row for each sample and epoch; raises `BadLog`."""
    head, samples = _archive(path) if zipfile.is_zipfile(path) else _whole(path)
    found: dict[tuple[str, int], Row] = {}
    names: dict[str, None] = {}
    about = {name: head["eval"].get(name) for name in ("task", "model")} if isinstance(head.get("eval"), dict) else {}
    for key in _planned(head):
        found[key] = {"id": key[0], "epoch": key[1], **about, "error": "the log does not hold this sample"}
    for place, sample in samples:
        if not isinstance(sample, dict) or "id" not in sample:
            raise BadLog(f"{path}, {place}: is no sample, for it has no id.")
        epoch = sample.get("epoch", 1)
        row = {"id": str(sample["id"]), "epoch": epoch, **about, "error": _error(sample), **_metadata(sample)}
        scores = dict(_scores(sample))
        names.update(dict.fromkeys(scores))
        found[row["id"], epoch if isinstance(epoch, int) else 1] = row | scores
    if not found:
        raise BadLog(f"{path} is an Inspect log without samples. Run the evaluation to its end.")
    return [dict.fromkeys(names) | row for row in found.values()]


def scores_of_log(path: Path) -> tuple[str, ...]:
    """The names of the scores in a log."""
    known = {"id", "epoch", "task", "model", "error"}
    return tuple(name for name in rows_of_log(path)[0] if name not in known and not name.startswith("metadata."))


def _archive(path: Path) -> tuple[Row, Iterator[tuple[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            head = _object(path, archive, next(name for name in _HEADS if name in names))
            parts = [name for name in dict.fromkeys(names) if name.startswith("samples/") and name.endswith(".json")]
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise BadLog(f"{path} cannot be read as an Inspect log: {error or 'it has no head'}.") from error
    return head, _members(path, parts)


def _members(path: Path, parts: list[str]) -> Iterator[tuple[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        for name in parts:
            yield name, _object(path, archive, name)


def _object(path: Path, archive: zipfile.ZipFile, name: str) -> Row:
    try:
        return msgspec.json.decode(member(archive, name), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TooLarge, zipfile.BadZipFile, *Broken) as error:
        raise BadLog(f"{path}, {name}: cannot be read: {error}. Nothing of the log was used.") from error


def _whole(path: Path) -> tuple[Row, Iterator[tuple[str, Any]]]:
    log = _json(path)
    if not isinstance(log, dict) or not looks_like(log):
        raise BadLog(f"{path} is no Inspect log.")
    samples = log.get("samples")
    listed = samples if isinstance(samples, list) else []
    return log, ((f"samples[{number}]", sample) for number, sample in enumerate(listed))


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(whole(file, MOST_JSON_BYTES))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TooLarge) as error:
        raise BadLog(f"{path} cannot be read as JSON: {error}.") from error


def _planned(head: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The samples and epochs that the log's head says were to be run; none where it does not say."""
    about = head.get("eval")
    dataset = about.get("dataset") if isinstance(about, dict) else None
    ids = dataset.get("sample_ids") if isinstance(dataset, dict) else None
    settings = about.get("config") if isinstance(about, dict) else None
    if not isinstance(ids, list) or not isinstance(settings, dict) or _is_part(settings):
        return
    epochs = settings.get("epochs")
    count = epochs if isinstance(epochs, int) and epochs > 0 else 1
    if len(ids) * count <= _MOST_PLANNED:
        yield from ((str(each), epoch) for epoch in range(1, count + 1) for each in ids)


def _is_part(settings: Mapping[str, Any]) -> bool:
    """Whether only some samples were asked for: which ones, the ids of the dataset do not say."""
    return settings.get("limit") is not None or settings.get("sample_id") is not None


def _error(sample: Mapping[str, Any]) -> str | None:
    error = sample.get("error")
    if error is None:
        return None
    return str(error.get("message") if isinstance(error, dict) else error)[:300]


def _metadata(sample: Mapping[str, Any]) -> Row:
    metadata = sample.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    return {f"metadata.{k}": v for k, v in metadata.items() if isinstance(v, str | int | float | bool)}


def _scores(sample: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    scores = sample.get("scores")
    for scorer, score in scores.items() if isinstance(scores, dict) else ():
        value = score.get("value") if isinstance(score, dict) else None
        for part, said in value.items() if isinstance(value, dict) else (("", value),):
            number, label = number_of(said)
            yield (f"{scorer}.{part}" if part else str(scorer)), label if number is None else number
