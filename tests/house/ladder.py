"""The import contracts: imports go down the ladder, siblings keep apart, nothing goes in circles."""

from __future__ import annotations

import graphlib
import sys
from pathlib import Path

from tests.house.tree import PACKAGE, Import, Module, imports, read

LEVEL = {
    "records": 0,
    "analysis": 1,
    "queries": 2,
    "kinds": 3,
    "capabilities": 4,
    "engines": 5,
    "adapters": 5,
    "compose": 6,
    "config": 6,
    "sdk": 6,
    "server": 7,
    "lab": 8,
    "cli": 9,
}
SAME_LEVEL_ALLOWED = {("compose", "config")}
NEVER = {
    ("engines", "capabilities"): "an engine runs whatever it is given and knows no capability by name",
}
SDK_MAY_READ = ("records", "kinds", "engines.decide", "analysis.sensitive", "sdk")
DRILLS_NEVER_READ = ("engines", "adapters", "capabilities", "compose", "server")
HEAVY = (
    "aiohttp",
    "duckdb",
    "genai_prices",
    "google.protobuf",
    "jinja2",
    "llguidance",
    "numpy",
    "openai",
    "opentelemetry.sdk",
    "pydantic",
    "rich",
    "scipy",
    "starlette",
    "uvicorn",
)
LIGHT_ROOMS = ("", "records", "queries", "kinds")
CODEC = frozenset({"msgspec"})


def contract_violations(root: Path) -> list[str]:
    """Every import below `root/src` that breaks a contract, one sentence each."""
    modules = read(root)
    known = frozenset(module.name for module in modules)
    return [
        f"{module.where}:{each.line}: {reason}"
        for module in modules
        for each in imports(module, known)
        if (reason := _broken(module, each))
    ]


def _broken(module: Module, each: Import) -> str | None:
    if each.target == PACKAGE or each.target.startswith(PACKAGE + "."):
        return _broken_inside(module, each.target.split(".")[1:])
    return _broken_outside(module, each.target)


def _broken_inside(module: Module, target: list[str]) -> str | None:
    if not target:
        return None
    own = module.name.split(".")[1:]
    there = ".".join(target)
    if not own:
        return None if target[0] == "sdk" else f"the package itself opens only the sdk, not {there}"
    if own == ["__main__"]:
        return None if target[0] == "cli" else f"__main__ opens only the cli, not {there}"
    if own[0] not in LEVEL or target[0] not in LEVEL:
        stranger = own[0] if own[0] not in LEVEL else target[0]
        return f"'{stranger}' is no room of the house; the rooms are {', '.join(LEVEL)}"
    return _special(own, target, there) or _climbing(own[0], target[0], there)


def _special(own: list[str], target: list[str], there: str) -> str | None:
    if own[0] == "capabilities" and target[0] == "capabilities" and len(own) > 2:
        return f"capabilities never import each other ({there}); what they share moves down"
    if own[0] == "sdk" and not any(_within(there, allowed) for allowed in SDK_MAY_READ):
        return f"the sdk reads {', '.join(SDK_MAY_READ[:-1])} and nothing heavier, not {there}"
    if own[:2] == ["lab", "drills"] and target[0] in DRILLS_NEVER_READ:
        return f"a drill never reaches inside ({there}); it uses the public doors"
    if reason := NEVER.get((own[0], target[0])):
        return f"{own[0]} never import {there}: {reason}"
    return None


def _climbing(own: str, target: str, there: str) -> str | None:
    if own == target or LEVEL[own] > LEVEL[target] or (own, target) in SAME_LEVEL_ALLOWED:
        return None
    if LEVEL[own] == LEVEL[target]:
        return f"{own} and {target} stand side by side and do not import each other ({there})"
    return f"imports only go down: {own} is below {target} ({there})"


def _broken_outside(module: Module, target: str) -> str | None:
    top = target.split(".")[0]
    if module.room == "records" and top not in CODEC and top not in sys.stdlib_module_names:
        return f"records stand on the standard library and msgspec alone, not {target}"
    if module.room in LIGHT_ROOMS and any(_within(target, heavy) for heavy in HEAVY):
        return f"{module.room or PACKAGE} is a light room and never imports {target}"
    return None


def _within(target: str, prefix: str) -> bool:
    return target == prefix or target.startswith(prefix + ".")


def cycle(root: Path) -> list[str]:
    """One import cycle below `root/src` as module names (the first again at the end), or nothing.

    The package's own `__init__` is left out: it reads the sdk on first use, and everybody reads its version.
    """
    modules = read(root)
    known = frozenset(module.name for module in modules)
    graph = {
        module.name: {each.target for each in imports(module, known) if each.target in known} - {module.name, PACKAGE}
        for module in modules
        if module.name != PACKAGE
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []
