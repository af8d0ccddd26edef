"""Writes an exercise in eval design: an agent, traces of it, a first suite, and what is to be done; no solutions.

Whoever sets the exercise keeps a copy of the folder and grades a handed-in suite against it, on mutants that the folder
does not show: `watchkeeper eval mutants HANDED_IN.py --against DIR/suite.py`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from watchkeeper.lab import parcel_desk

ASKED = (
    "When does parcel {n} arrive?",
    "How heavy is parcel {n}?",
    "How far does parcel {n} have to go?",
    "What does it cost to send parcel {n}?",
    "Can I return parcel {n}?",
)
PARCELS = 8
AGENT, TRACES, SUITE, TASK = "agent.py", "traces.jsonl", "suite.py", "EXERCISE.md"

_SUITE = '''"""A first suite for the agent: its traces, and exact match. Make it better; EXERCISE.md says how."""

import runpy
from pathlib import Path

target = runpy.run_path(str(Path(__file__).with_name("agent.py")))["target"]
suite = {
    "name": "parcels",
    "dataset": "traces.jsonl",
    "scorers": [{"use": "exact"}],
}
'''
_TASK = """# Exercise: an eval that notices

{agent}
`traces.jsonl` holds questions that people asked it, with answers that were right. `{suite}` is a first suite: every
trace, judged by exact match. It passes.

Write a suite that would notice if the agent broke. Change anything in `{suite}`: its cases, scorers and properties
(`watchkeeper eval run` asks the cases, `watchkeeper eval properties` looks at what must hold of any input). Leave the
agent as it is: another one answers when you are graded.

## How it is graded

Your suite is put before copies of the agent. Most have one defect, of the kinds that reach users: the answer is wrong,
or not there, for all questions or for some, sometimes only for questions that are asked otherwise than in the traces.
Others differ in ways that no reader would see. You get the share of the defective copies at which your suite alarms (a
score's mean below {floor:g}, or a broken property), minus the share of harmless ones at which it does. A suite that
always fails gets nothing.

    watchkeeper eval mutants {suite}

grades your suite by itself, as often as you like. What counts is other suites on the same copies:

    watchkeeper eval mutants {suite} --against ORIGINAL/{suite}

Hand in `{suite}`, and a sentence for each thing that you added: what would it notice that the traces do not?
"""


def write_exercise(folder: Path, floor: float = 0.9) -> list[Path]:
    """Write the exercise with the agent of the lab; raises `OSError`, and `FileExistsError` for a folder in use."""
    questions = [text.format(n=1 + 3 * n + at) for n in range(PARCELS) for at, text in enumerate(ASKED)]
    traces = [
        {"id": at, "input": text, "expected": parcel_desk.target([{"role": "user", "content": text}])}
        for at, text in enumerate(questions)
    ]
    agent = "`agent.py` is a small agent that answers questions about parcels: read it and ask it."
    return _write(
        folder,
        {
            AGENT: inspect.getsource(parcel_desk),
            TRACES: lines(traces),
            SUITE: _SUITE,
            TASK: _TASK.format(agent=agent, suite=SUITE, floor=floor),
        },
    )


def write_own_exercise(
    folder: Path, target: Mapping[str, Any], traces: Iterable[Mapping[str, Any]], floor: float = 0.9
) -> list[Path]:
    """Write the exercise with an endpoint of one's own as the agent, and traces of it; raises as `write_exercise`."""
    suite = "suite.yaml"
    text = {"name": "exercise", "target": target, "dataset": TRACES, "scorers": [{"use": "exact"}]}
    agent = f"The agent is {target.get('model')} at {target.get('base_url')}; `{suite}` asks it."
    return _write(
        folder,
        {
            TRACES: lines(traces),
            suite: json.dumps(text, indent=2, ensure_ascii=False) + "\n",  # JSON is YAML
            TASK: _TASK.format(agent=agent, suite=suite, floor=floor),
        },
    )


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(17, "the folder is not empty", str(folder))
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
