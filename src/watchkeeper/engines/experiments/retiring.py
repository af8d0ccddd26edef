"""Finds what else is attached to a version in the records, so that it is retired, moved over or looked at with it.

A prompt goes when no other composition that serves has it. Suites ran against it, judges scored it, cases were taken
from its calls or its incidents; policies, monitors, probes and upstreams name it in the settings; findings and
incidents name it, or its traces.

Limits: only what the records and the settings name is found, by digest, its first 12 digits, or the model's name as a
whole word. Runbooks, dashboards and prompts in other places are not seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from watchkeeper.records.record import Record

Ask = Callable[[str, Mapping[str, Any]], Iterable[Mapping[str, Any]]]
_RULES = ("person", "exact", "schema")
_LAYERS = {"system": "prompt", "tools": "tools", "parameters": "parameters"}


class Artefact(Record):
    """One thing: what kind, its name, why it is here, and whether something else still needs it."""

    kind: str
    name: str
    why: str
    shared: bool = False


class Names(Record):
    """What a version is called in records: its compositions, its models, and the traces that it answered in."""

    manifests: tuple[str, ...]
    models: tuple[str, ...]
    traces: frozenset[str] = frozenset()

    def pattern(self) -> re.Pattern[str] | None:
        """Any of the names in a text; None where there is none."""
        words = [*self.manifests, *(each[:12] for each in self.manifests), *self.models]
        parts = "|".join(re.escape(each) for each in sorted(set(words), key=len, reverse=True) if each)
        return re.compile(rf"(?<![\w.-])(?:{parts})(?![\w-])(?!\.\w)") if parts else None


def attached(
    ask: Ask, names: Names, serving: Sequence[str], settings: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Artefact]:
    """Everything attached to a version.

    `serving` are the compositions that answer now, the version's own left out; `settings` are the sections of the
    settings with what stands in them.
    """
    pattern = names.pattern()
    found = [*_layers(ask, names, serving), *_experiments(ask, names)]
    found += _settings(settings, pattern)
    found += _findings(ask, pattern)
    incidents = _incidents(ask, names, pattern)
    found += incidents
    found += _cases(ask, names, {each.name for each in incidents})
    return found


def _layers(ask: Ask, names: Names, serving: Sequence[str]) -> list[Artefact]:
    components = {str(row["digest"]): row["components"] for row in ask("manifests", {})}
    others = [components[each] for each in serving if each in components and each not in names.manifests]
    found: dict[tuple[str, str], Artefact] = {}
    for digest in names.manifests:
        for layer, kind in _LAYERS.items():
            value = components.get(digest, {}).get(layer)
            if value in (None, "none"):
                continue
            shared = any(each.get(layer) == value for each in others)
            why = "also in compositions that serve" if shared else "in no other composition that serves"
            found[kind, value] = Artefact(kind=kind, name=value, why=f"of {digest[:12]}; {why}", shared=shared)
    return list(found.values())


def _experiments(ask: Ask, names: Names) -> list[Artefact]:
    suites: dict[str, list[str]] = {}
    others: set[str] = set()
    for row in ask("experiments", {}):
        if set(row["compositions"] or {}) & set(names.manifests):
            suites.setdefault(str(row["suite"]), []).append(str(row["experiment_id"]))
        else:
            others.add(str(row["suite"]))
    found = [
        Artefact(
            kind="suite",
            name=suite,
            why=f"ran against it {len(ids)} times, {ids[0]} last" + ("; other versions too" if suite in others else ""),
            shared=suite in others,
        )
        for suite, ids in sorted(suites.items())
    ]
    judges: dict[tuple[str, str], str] = {}
    for ids in suites.values():
        for row in ask("scores", {"experiment_id": ids[0]}):
            if row["scorer"] not in _RULES:
                kind = "judge" if row["scorer"] == "judge" else "scorer"
                name = f"{row['scorer']} {row['version']} {str(row['parameters'])[:12]}".strip()
                judges[kind, name] = ids[0]
    return found + [
        Artefact(kind=kind, name=name, why=f"scored {experiment}; what it was calibrated on is this version")
        for (kind, name), experiment in sorted(judges.items())
    ]


def _settings(settings: Mapping[str, Sequence[Mapping[str, Any]]], pattern: re.Pattern[str] | None) -> list[Artefact]:
    if pattern is None:
        return []
    found = []
    for section, entries in settings.items():
        for number, entry in enumerate(entries, 1):
            match = pattern.search(json.dumps(entry, default=str))
            if match is not None:
                name = entry.get("name") or entry.get("use") or entry.get("model") or f"number {number}"
                found.append(Artefact(kind=section, name=str(name), why=f"the settings name {match[0]} there"))
    return found


def _findings(ask: Ask, pattern: re.Pattern[str] | None) -> list[Artefact]:
    found: dict[str, Artefact] = {}
    for row in ask("findings", {}) if pattern is not None else ():
        assert pattern is not None
        match = pattern.search(f"{row['subject']} {row['sentence']} {json.dumps(row['evidence'])}")
        if match is not None and row["monitor"] not in found:
            why = f"found something about {match[0]}: {row['finding_id']}"
            found[row["monitor"]] = Artefact(kind="monitor", name=str(row["monitor"]), why=why)
    return list(found.values())


def _incidents(ask: Ask, names: Names, pattern: re.Pattern[str] | None) -> list[Artefact]:
    found = []
    for row in ask("incidents", {}):
        said = f"{row['title']} {row['subject']} {json.dumps(row['timeline'])}"
        match = pattern.search(said) if pattern is not None else None
        traces = names.traces & set(row["traces"] or ())
        if match is not None or traces:
            why = f"names {match[0]}" if match is not None else f"{len(traces)} of its traces are of it"
            found.append(
                Artefact(kind="incident", name=str(row["incident_id"]), why=f"{row['title']} ({row['status']}); {why}")
            )
    return found


def _cases(ask: Ask, names: Names, incidents: set[str]) -> list[Artefact]:
    counted: dict[str, int] = {}
    for row in ask("cases", {}):
        kind, _, where = str(row["origin"] or "").partition(":")
        own = (kind == "incident" and where in incidents) or (
            kind in ("span", "trace") and where.partition("/")[0] in names.traces
        )
        if own:
            counted[str(row["dataset"])] = counted.get(str(row["dataset"]), 0) + 1
    return [
        Artefact(kind="dataset", name=name, why=f"{count} of its cases come from its calls or incidents")
        for name, count in sorted(counted.items())
    ]
