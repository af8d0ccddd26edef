"""The stage of a drill: a lab provider, servers in a temporary folder, and the verdict; all of it ends by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.runs import load_runs
from watchkeeper.lab.script import Rule, sandbox_rules
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.tokenizers import Meter
from watchkeeper.lab.watch import Watch, lab_settings

Figure = str | int | float | bool | None
Say = Callable[[str], None]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a drill: what was measured, whether the promise held, and why that is said.

    `name`, `scenario` and `promise` are the drill's own; `told` puts the figures that matter into one line; `took_s` is
    wall time. Units are in the names of the figures.
    """

    name: str = ""
    scenario: str = ""
    promise: str = ""
    measured: dict[str, Figure] = {}
    held: bool
    why: str
    told: str = ""
    took_s: float | None = None


class Notes:
    """What a drill measured and found so far; `check` keeps a claim and whether it is true."""

    def __init__(self) -> None:
        self.measured: dict[str, Figure] = {}
        self.claims: dict[str, bool] = {}
        self._told: list[str] = []

    def measure(self, **figures: Figure) -> None:
        """Keep figures under their names."""
        self.measured.update(figures)

    def check(self, claim: str, is_true: bool) -> None:
        """Keep a claim in plain words; a drill holds when all of its claims are true."""
        self.claims[claim] = is_true

    def tell(self, line: str) -> None:
        """Keep a few words with the figures that matter most."""
        self._told.append(line)

    def result(self) -> Result:
        """The verdict. A drill that claims nothing has not held."""
        broken = [claim for claim, is_true in self.claims.items() if not is_true]
        if not self.claims:
            why = "Nothing was claimed, so nothing was shown."
        elif broken:
            why = "Not true: " + "; ".join(broken) + "."
        else:
            why = "True: " + "; ".join(self.claims) + "."
        held = bool(self.claims) and not broken
        return Result(measured=self.measured, held=held, why=why, told="; ".join(self._told))


class Stage:
    """What a drill may use. A context manager; servers and lab providers end with it, by their process ids.

    `folder` is empty and belongs to the drill. `say` tells a person what is going on.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self._stack = ExitStack()
        self._served = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def lab(
        self, *rules: Rule, recordings: bool = False, meter: Meter | None = None, context_tokens: int | None = None
    ) -> LabServer:
        """A lab provider with the sandbox agents' script, after `rules`; with the recorded runs if asked for.

        With a `meter` it bills by a tokenizer, with `context_tokens` it refuses longer prompts.
        """
        runs = tuple(load_runs()) if recordings else ()
        config = LabConfig(
            recordings=runs, rules=(*rules, *sandbox_rules()), meter=meter, context_tokens=context_tokens
        )
        return self._stack.enter_context(LabServer(config))

    def serve(self, lab: LabServer, settings: str = "", **upstream: int) -> Watch:
        """A server whose only upstream is the lab, with its prices; `settings` adds policies and monitors (TOML)."""
        self._served += 1
        folder = self.folder / f"server-{self._served}"
        watch = Watch(folder, lab_settings(lab.base_url, **upstream) + "\n" + settings)
        self.say("starting a server")
        return self._stack.enter_context(watch)


def shown(measured: Mapping[str, Figure]) -> str:
    """Figures in one line, as a person reads them."""
    return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in measured.items())


def _figure(value: Figure) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
