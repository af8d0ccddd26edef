"""Puts real clients, old and new, before a running gateway and tells what worked: a matrix of clients and checks.

    python scripts/clients.py [--json] [--only NAME ...] [--folder FOLDER]

Each client is installed into a virtual environment of its own under FOLDER (`.venv-clients` unless given), so that
their needs do not meet; what is there is used again. The gateway is a real `watchkeeper serve` with a budget; behind it
stands the lab provider, which is not a model, as three upstreams: one addressed as OpenAI is, one as Anthropic, one as
Azure, each with a key that the clients never see. A check that a client cannot do is not in its row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
CHECKS = Path(__file__).parent / "client_checks"
LIMIT_S = 240
LAB_KEY = "lab-secret"


class Client(NamedTuple):
    """A client: what to install, the package whose version is told, and the checks to run."""

    needs: tuple[str, ...]
    package: str
    script: str


CLIENTS = {
    "openai-2": Client(("openai==2.*",), "openai", "openai_sdk.py"),
    "openai-3": Client(("openai==3.*",), "openai", "openai_sdk.py"),
    "anthropic-0": Client(("anthropic==0.*",), "anthropic", "anthropic_sdk.py"),
    "anthropic-2": Client(("anthropic==2.*",), "anthropic", "anthropic_sdk.py"),
    "litellm": Client(("litellm",), "litellm", "litellm_sdk.py"),
    "pydantic-ai": Client(("pydantic-ai-slim[openai,anthropic]",), "pydantic-ai-slim", "pydantic_ai_agents.py"),
    "openai-agents": Client(("openai-agents",), "openai-agents", "openai_agents.py"),
    "langgraph": Client(("langgraph", "langchain-openai", "langchain-anthropic"), "langgraph", "langgraph_agents.py"),
}


def installed(name: str, folder: Path) -> Path:
    """The Python of a client's environment, made and filled where it is not there yet."""
    place = folder / name
    python = place / "bin" / "python"
    if not python.exists():
        print(f"installing {name}", file=sys.stderr, flush=True)
        venv.create(place, with_pip=True)
        quiet = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*quiet, *CLIENTS[name].needs], check=True)
    return python


def version(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    told = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", told], capture_output=True, text=True, check=True).stdout.strip()


def checked(name: str, python: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run a client's checks in its own process."""
    done = subprocess.run(
        [python, CHECKS / CLIENTS[name].script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not rows:
        rows.append({"check": "script", "ok": False, "detail": done.stderr[-600:]})
    return {"client": name, "version": version(python, CLIENTS[name].package), "checks": rows}


def settings(lab_url: str) -> str:
    """The gateway's settings: three upstreams that are the lab, and a budget that no honest call meets."""
    root = lab_url.removesuffix("/v1")
    upstreams = [
        f'name = "openai"\nbase_url = "{lab_url}"\nmodels = ["lab-*"]\ndefault = true\n'
        'aliases = { fast = "lab-small" }',
        f'name = "anthropic"\nkind = "anthropic"\nbase_url = "{lab_url}"\nmodels = ["claude-*"]',
        f'name = "azure"\nkind = "azure"\napi_version = "2024-10-21"\nbase_url = "{root}"\nmodels = ["azure-*"]',
    ]
    tables = [f'[[upstreams]]\ncredential = "env:LAB_KEY"\nmax_output_tokens = 256\n{each}\n' for each in upstreams]
    return "\n".join(tables) + '\n[[policies]]\nuse = "budget"\nwith = { per = "key", tokens = 10000000 }\n'


@contextmanager
def gateway() -> Iterator[dict[str, str]]:
    """A running gateway before a running lab; gives the variables that the checks read."""
    from watchkeeper.lab.provider import LabConfig
    from watchkeeper.lab.script import Rule, ScriptedCall, When
    from watchkeeper.lab.serving import LabServer
    from watchkeeper.lab.watch import Watch

    rules = (
        Rule(name="told", when=When(last_role="tool"), answer="The harbour is $last."),
        Rule(name="look", when=When(tool="look"), calls=(ScriptedCall(tool="look", arguments={"at": "harbour"}),)),
        Rule(name="calm", answer="All is well aboard the ship tonight."),
    )
    os.environ["LAB_KEY"] = LAB_KEY
    with (
        tempfile.TemporaryDirectory() as folder,
        LabServer(LabConfig(rules=rules, api_key=LAB_KEY, cached_share=0.5)) as lab,
        Watch(Path(folder), settings(lab.base_url)) as watch,
    ):
        secret = watch.cli("key", "create", "clients")["secret"]
        yield {"GATEWAY": watch.root_url, "KEY": secret, "OPENAI_AGENTS_DISABLE_TRACING": "1"}


def table(rows: list[dict[str, Any]]) -> str:
    """The matrix as a Markdown table, and below it what failed."""
    names = list(dict.fromkeys(check["check"] for row in rows for check in row["checks"]))
    lines = ["| check | " + " | ".join(f"{row['client']} {row['version']}" for row in rows) + " |"]
    lines.append("|---" * (len(rows) + 1) + "|")
    for name in names:
        cells = [{check["check"]: check["ok"] for check in row["checks"]}.get(name) for row in rows]
        lines.append(
            f"| {name} | " + " | ".join({True: "yes", False: "**no**", None: ""}[each] for each in cells) + " |"
        )
    failed = [(row, check) for row in rows for check in row["checks"] if not check["ok"]]
    return "\n".join([*lines, "", *(f"{row['client']}: {check['check']}: {check['detail']}" for row, check in failed)])


def main() -> int:
    """Run the checks; returns 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the matrix as JSON")
    parser.add_argument("--only", nargs="*", choices=sorted(CLIENTS), help="these clients alone")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-clients", help="where the environments lie")
    given = parser.parse_args()
    names = given.only or list(CLIENTS)
    pythons = {name: installed(name, given.folder.absolute()) for name in names}
    rows = []
    with gateway() as environment:
        for name in names:
            print(f"checking {name}", file=sys.stderr, flush=True)
            rows.append(checked(name, pythons[name], environment))
    print(json.dumps(rows, indent=1) if given.json else table(rows))
    return int(any(not check["ok"] for row in rows for check in row["checks"]))


if __name__ == "__main__":
    sys.exit(main())
