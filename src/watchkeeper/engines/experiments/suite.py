"""Reads a suite: what to ask, of whom, and how to judge the answers; mistakes name file, key and fix.

A suite is a YAML file, or a Python file that sets `suite` to a `Suite` (or to a dictionary with the same keys) and may
define `target(messages) -> str`, plain or `async`, which then answers instead of an endpoint. Running a Python suite
runs that file: only run those you trust.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import yaml
from msgspec import Meta

from watchkeeper.engines.experiments.cell_spec import Cells, Gates, NamedCell
from watchkeeper.engines.experiments.dataset import Item, SuiteError, cases_of, read_dataset
from watchkeeper.engines.experiments.property_spec import Property
from watchkeeper.records.case import Case

Answerer = Callable[[list[Any]], str | Awaitable[str]]


class Live(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What serves: the composition that answered last, of those that answered an agent, a service or a model.

    An eval that goes through the gateway is such a call too: name the agent or service whose calls are live ones.
    """

    since: str = "24h"
    model: str | None = None
    agent: str | None = None
    service: str | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint, a model and the parameters sent with each request.

    With `live` they are those of what serves, with its system prompt and tools; what is named here besides goes before.

    `api_key` names the environment variable that holds the key (`env:NAME`, or `NAME`), never the key itself.
    """

    model: str | None = None
    live: Live | None = None
    base_url: str | None = None
    parameters: dict[str, Any] = {}
    api_key: str | None = None
    timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    api: Literal["openai", "responses", "anthropic"] = "openai"

    def key(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The key from the environment; raises `SuiteError` where the variable is named and not set."""
        if self.api_key is None:
            return None
        name = self.api_key.removeprefix("env:")
        value = (os.environ if environ is None else environ).get(name)
        if not value:
            raise SuiteError(f"`target.api_key` names {name}, which is not set. Run: export {name}=...")
        return value


class Use(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One use of a scorer: its id, its parameters, and the name its scores go by (the scorer's own when not given)."""

    use: str
    name: str | None = None
    parameters: dict[str, Any] = msgspec.field(name="with", default_factory=dict)


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cases from recorded traffic: chat calls since a time, of a model, service or agent, `n` of them drawn by `seed`.

    With `expect` "recorded" what was answered then is what is expected now; with "nothing" the cases expect nothing.
    """

    since: str = "7d"
    until: str | None = None
    model: str | None = None
    service: str | None = None
    agent: str | None = None
    n: Annotated[int, Meta(ge=1, le=10_000)] = 100
    seed: int = 0
    expect: Literal["nothing", "recorded"] = "nothing"


class Sources(NamedTuple):
    """Where cases come from that are not in a text file: rows of a Parquet file, and recorded traffic."""

    parquet: Callable[[Path], list[dict[str, Any]]] | None = None
    recorded: Callable[[Recorded], list[Item]] | None = None


NO_SOURCES = Sources()


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cases, a target and scorers.

    Cases stand in `cases`, in the file `dataset` (JSONL, CSV or Parquet, relative to the suite), in the record
    (`recorded`), or in several of them. `margin` is the difference of a score that does not matter; `repeats` asks each
    case so many times. `bars` are what scores must reach for a case to pass in reports for other tools; a score that is
    only 0 or 1 has its bar at 1. `properties` are for `eval properties`; a suite that has some needs no scorers.
    `gates` are what every run of it must show, besides what its command asks for.
    """

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    scorers: tuple[Use, ...] = ()
    properties: tuple[Property, ...] = ()
    target: Target | None = None
    cases: tuple[Item, ...] = ()
    dataset: str | None = None
    recorded: Recorded | None = None
    margin: Annotated[float, Meta(gt=0)] | None = None
    repeats: Annotated[int, Meta(ge=1, le=100)] = 1
    bars: dict[str, float] = {}
    gates: Gates = Gates()


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A suite ready to run: its cases with their ids, and the function that answers when the suite brings one."""

    suite: Suite
    cases: tuple[Case, ...]
    path: Path
    answer: Answerer | None = None


_KINDS: dict[str, type[msgspec.Struct]] = {
    "scorers": Use,
    "cases": Item,
    "target": Target,
    "target.live": Live,
    "recorded": Recorded,
    "properties": Property,
    "gates": Gates,
    "gates.cells": Cells,
    "gates.cells.named": NamedCell,
}


def read_suite(path: Path, answer: Answerer | None = None) -> tuple[Suite, Answerer | None]:
    """Read a suite without its cases; raises `SuiteError`. `answer` takes the place of its own function."""
    if path.suffix == ".py":
        raw, own = run_program(path)
    elif path.suffix in (".yaml", ".yml"):
        raw, own = _read_yaml(path), None
    else:
        raise SuiteError(_no_suite(path))
    answer = answer or own
    return suite_of(raw, path, answer), answer


def _no_suite(path: Path) -> str:
    if path.suffix in (".jsonl", ".ndjson", ".csv", ".parquet"):
        return f"{path}: is a dataset. Run a suite, a .yaml file that names it: `dataset: {path.name}`."
    return f"{path}: a suite is a .yaml or a .py file, and this is {path.suffix or 'neither'}. Rename it."


def suite_of(raw: Any, path: Path, answer: Answerer | None = None) -> Suite:
    """A suite from what a file or a program says; raises `SuiteError`, which names `path`."""
    suite = raw if isinstance(raw, Suite) else _convert(raw, path)
    _check(suite, path, answer)
    return suite


def load_suite(path: Path, sources: Sources = NO_SOURCES, answer: Answerer | None = None) -> Loaded:
    """Read a suite and its cases; raises `SuiteError`. `answer` takes the place of its own function."""
    suite, answer = read_suite(path, answer)
    return with_cases(suite, path, answer, sources)


def with_cases(suite: Suite, path: Path, answer: Answerer | None = None, sources: Sources = NO_SOURCES) -> Loaded:
    """A suite that was read at `path`, with its cases; raises `SuiteError`."""
    items = list(suite.cases)
    file = None if suite.dataset is None else path.parent / suite.dataset
    rows = [] if file is None else read_dataset(file, sources.parquet)
    if file is not None and not rows:
        raise SuiteError(f"{file}: holds no cases. Write one JSON object or row for each.")
    items += rows
    if suite.recorded is not None:
        if sources.recorded is None:
            raise SuiteError(f"{path}: `recorded` asks for recorded traffic, and there is no data directory here.")
        items += sources.recorded(suite.recorded)
    if not items:
        raise SuiteError(f"{path}: the suite has no cases. List them under `cases`, or name a file under `dataset`.")

    def place(number: int) -> str:
        own = len(suite.cases)
        if own <= number < own + len(rows):
            return f"{file}: row {number - own + 1}"
        return f"{path}: `cases[{number}]`"

    return Loaded(suite=suite, cases=cases_of(items, suite.name, path, place), path=path, answer=answer)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SuiteError(
            f"{path}: there is no such file. Name a suite, for example examples/suites/desk.yaml."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read ({error}). Make it a UTF-8 text file that you may read.") from error
    except yaml.YAMLError as error:
        raise SuiteError(f"{path}: is not valid YAML: {error}. Mend that line.") from error


def run_program(path: Path) -> tuple[Any, Answerer | None]:
    """What a Python suite sets: `suite`, and its own `target` where it has one; raises `SuiteError`."""
    import runpy

    if not path.is_file():
        raise SuiteError(f"{path}: there is no such file. Name a suite that exists.")
    try:
        names = runpy.run_path(str(path))
    except Exception as error:  # the file is somebody's program and may raise anything
        place = _line_in(error, path)
        raise SuiteError(f"{path}{place}: running it raised {type(error).__name__}: {error}. Mend the file.") from error
    answer = names.get("target")
    if answer is not None and not callable(answer):
        raise SuiteError(f"{path}: `target` is {type(answer).__name__}; expected a function target(messages) -> str.")
    if "suite" not in names:
        raise SuiteError(f"{path}: sets no `suite`. Write suite = Suite(name=..., cases=..., scorers=...).")
    return names["suite"], answer


def _line_in(error: BaseException, path: Path) -> str:
    """The last line of the file that a failure passed through, as ":12"."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""


def _convert(raw: Any, path: Path) -> Suite:
    if not isinstance(raw, Mapping):
        raise SuiteError(
            f"{path}: holds {type(raw).__name__}; expected the keys name, scorers, cases or dataset, target."
        )
    try:
        return msgspec.convert(raw, Suite)
    except msgspec.ValidationError as error:
        raise SuiteError(_explain(path, str(error))) from error


def _explain(path: Path, message: str) -> str:
    """msgspec's message as file, key and fix."""
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`").removeprefix("$").lstrip(".")
    kind = _KINDS.get(re.sub(r"\[[^]]*\]", "", place)) or _KINDS.get(re.split(r"[.\[]", place)[0], Suite)
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    unknown = re.search(r"unknown field `(.+?)`", what)
    if unknown:
        near = difflib.get_close_matches(unknown[1], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(known)}."
        return f"{path}: `{f'{place}.' if place else ''}{unknown[1]}` is not a key; {hint}"
    missing = re.search(r"missing required field `(.+?)`", what)
    if missing:
        return (
            f"{path}: `{f'{place}.' if place else ''}{missing[1]}` is missing; add it. Known keys: {', '.join(known)}."
        )
    return f"{path}: `{place or 'the suite'}`: {what[0].lower()}{what[1:]}. Known keys here: {', '.join(known)}."


def _check(suite: Suite, path: Path, answer: Answerer | None) -> None:
    """What a type cannot say."""
    if not suite.scorers and not suite.properties:
        raise SuiteError(f"{path}: `scorers` is missing; add it, or `properties`.")
    claims = [each.name for each in suite.properties]
    if len(set(claims)) < len(claims):
        raise SuiteError(f"{path}: two `properties` have the same name; give each one of its own.")
    names = [use.name or use.use for use in suite.scorers]
    for name in names:
        if names.count(name) > 1:
            raise SuiteError(f"{path}: two `scorers` give scores called {name!r}; give one of them another `name`.")
    if suite.target is None and answer is None:
        raise SuiteError(
            f"{path}: there is nobody to ask. Add `target` with base_url and model"
            + (" (a .py suite may define target(messages) -> str instead)." if path.suffix == ".py" else ".")
        )
    target = suite.target
    if target is not None and target.live is None and target.model is None:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(Target))
        raise SuiteError(f"{path}: `target.model` is missing; add it. Known keys: {known}.")
    if target is not None and target.live is not None and (answer is not None or target.api != "openai"):
        raise SuiteError(f"{path}: `target.live` asks the gateway as `api: openai`; drop `target()` or that `api`.")
    if answer is not None and len(inspect.signature(answer).parameters) != 1:
        raise SuiteError(f"{path}: `target` takes {inspect.signature(answer)}; expected one argument, the messages.")
    url = suite.target.base_url if suite.target else None
    if url is not None and not re.match(r"https?://[^/\s]+", url):
        raise SuiteError(f"{path}: `target.base_url` is {url!r}; expected a URL such as http://127.0.0.1:8787/v1.")
    key = suite.target.api_key if suite.target else None
    if key is not None and not re.fullmatch(r"(env:)?[A-Za-z_][A-Za-z0-9_]*", key):
        raise SuiteError(
            f"{path}: `target.api_key` must be env:NAME (the value is not shown here). "
            "Put the key into an environment variable and name that."
        )
