"""Gives the scorers that ask a model somebody to ask, and says where a judge grades its own kin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from watchkeeper.analysis.favouring import family
from watchkeeper.compose.asking import provider_of
from watchkeeper.engines.experiments.dataset import SuiteError
from watchkeeper.engines.experiments.runner import Plan


async def attach_judges(plan: Plan, stack: AsyncExitStack, environ: Mapping[str, str] | None = None) -> Plan:
    """The plan with every judge's endpoint open; they close with the stack. Raises `SuiteError` for a missing key."""
    judges = []
    for judge in plan.judges:
        scorer: Any = judge.scorer
        if hasattr(scorer, "attached"):
            key = _key(scorer.api_key, os.environ if environ is None else environ)
            endpoint = provider_of("openai", scorer.base_url, key)
            scorer = scorer.attached(await stack.enter_async_context(endpoint))
            judge = msgspec.structs.replace(judge, scorer=scorer)
        judges.append(judge)
    return msgspec.structs.replace(plan, judges=tuple(judges))


def kin_warnings(plan: Plan) -> list[str]:
    """One sentence for each judge of the family that it grades: such judges favour their kin."""
    graded = str(plan.parameters.get("model") or "")
    found = []
    for judge in plan.judges:
        model = getattr(judge.scorer, "model", None)
        if isinstance(model, str) and family(model) is not None and family(model) == family(graded):
            found.append(
                f"{judge.name or judge.scorer.header.id}: {model} grades {graded}, of its own family, and such judges "
                "favour their kin. Take a judge of another family, or look at `watchkeeper judge audit --judge-model`."
            )
    return found


def _key(name: str | None, environ: Mapping[str, str]) -> str | None:
    if name is None:
        return None
    variable = name.removeprefix("env:")
    if not environ.get(variable):
        raise SuiteError(f"the judge's `api_key` names {variable}, which is not set. Run: export {variable}=...")
    return environ[variable]
