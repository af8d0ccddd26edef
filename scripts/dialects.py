"""Writes docs/reference/dialects.md: what each agent framework's traces give, according to our own readers.

Every trace under tests/data/framework-traces is read as `watchkeeper import` reads it; the cells of the table are
counted from what came out. Run it with `make docs`.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from watchkeeper.adapters.formats.conversation import Conversation, conversation_of
from watchkeeper.adapters.formats.imported import ImportedSpan
from watchkeeper.adapters.formats.langfuse import read_rows
from watchkeeper.engines.recorder.twins import settled
from watchkeeper.records.span import Operation, Span, Usage

ROOT = Path(__file__).parents[1]
TRACES = ROOT / "tests" / "data" / "framework-traces"
PAGE = ROOT / "docs" / "reference" / "dialects.md"
CALLS = (Operation.CHAT.value, Operation.COMPLETION.value, Operation.EMBEDDINGS.value)
HEAD = """# Dialects: what each framework's telemetry gives

Made by `scripts/dialects.py` from recorded traces, one or more per framework, as an observability product stored and
exported them; each is read as `watchkeeper import` and the OTLP door read it. A cell says how many of the model calls
(or tool spans) have the thing. A call that two spans tell of counts once.

"""
COLUMNS = (
    "framework", "spans", "model calls", "told twice", "input messages", "output messages", "tokens", "model",
    "provider", "finish reason", "response id", "tool spans", "with arguments", "with result",
)  # fmt: skip
FOOT = """
Every span keeps its parent, and every trace its tree. "guessed" are tokens that the exporting product counted for
itself, because the span did not say; such spans carry the attribute `watchkeeper.usage`. BeeAI tells of one call in
three spans (start, success, finish), so what stands in one of them is missing in the others; it is counted once.

## What each lacks

"""
NAMES = """
## The names that are read

One table, `NAMES` in `adapters/formats/semconv.py`, says what each dialect calls a thing: the OpenTelemetry GenAI
conventions v1.36 (`gen_ai.system`, an event per message), v1.41 and the names that came after it (`cache_write`),
OpenInference (`llm.*`, `input.value`, numbered messages, `retrieval.documents`), Traceloop (`gen_ai.prompt.N.*`,
`traceloop.entity.*`), the AI SDK (`ai.*`), Google's ADK (`gcp.vertex.agent.*`), Pydantic AI and Logfire
(`all_messages_events`, `events`), LangChain's metadata (`ls_*`), Langfuse (`langfuse.*`) and the Anthropic SDK's own
spans (`anthropic.message.stop_reason`). Where two names disagree within one span, the first in the table wins.
"""


@dataclass
class Row:
    """What one framework's traces give."""

    name: str
    spans: int = 0
    twins: int = 0
    guessed: int = 0
    calls: list[tuple[Span, Conversation]] = field(default_factory=list)
    tools: list[tuple[Span, Conversation]] = field(default_factory=list)

    def shares(self) -> list[tuple[str, int, int]]:
        """Each thing with how many have it, and how many could."""
        calls, tools = self.calls, self.tools
        return [
            ("input messages", sum(bool(talk.input) for _, talk in calls), len(calls)),
            ("output messages", sum(bool(talk.output) for _, talk in calls), len(calls)),
            ("tokens", sum(span.usage != Usage() for span, _ in calls), len(calls)),
            ("model", sum(span.model is not None for span, _ in calls), len(calls)),
            ("provider", sum(span.provider is not None for span, _ in calls), len(calls)),
            ("finish reason", sum(bool(span.finish_reasons) for span, _ in calls), len(calls)),
            ("response id", sum(span.response_id is not None for span, _ in calls), len(calls)),
            ("tool spans", len(tools), len(tools)),
            ("arguments", sum(any(m.tool_calls for m in talk.input) for _, talk in tools), len(tools)),
            ("results", sum(bool(talk.output) for _, talk in tools), len(tools)),
        ]

    def line(self) -> str:
        """The row of the table."""
        cells = [_share(found, of) for _, found, of in self.shares()]
        if self.guessed:
            cells[2] += f" ({self.guessed} guessed)"
        cells[7] = str(len(self.tools))
        return f"| {self.name} | {self.spans} | {len(self.calls)} | {self.twins} | " + " | ".join(cells) + " |"

    def lacks(self) -> str:
        """What is missing, in words."""
        missing = [f"{what} of {of - found} of {of}" for what, found, of in self.shares() if found < of]
        if self.guessed:
            missing.append(f"its own token counts ({self.guessed} are guessed)")
        return f"- **{self.name}**: {', '.join(missing) if missing else 'nothing of the above'}."


def _share(found: int, of: int) -> str:
    return "–" if of == 0 else "all" if found == of else "none" if found == 0 else f"{found} of {of}"


def rows(lines: Iterable[bytes]) -> list[Row]:
    """The table's rows for some exported traces, given as JSON lines with a name."""
    found: dict[str, Row] = {}
    for line in lines:
        name = str(msgspec.json.decode(line)["name"]).rsplit("-", 3)[0]
        row = found.setdefault(name, Row(name))
        read = [each for each in read_rows([(1, line)]) if isinstance(each, ImportedSpan)]
        calls = [each.span for each in read if each.span.operation in CALLS and each.span.end_ns is not None]
        again = settled(calls)
        row.spans += len(read)
        row.twins += len([key for key, of in again.items() if of is not None])
        for each in read:
            bodies = dict(each.bodies)
            talk = conversation_of(bodies.get("messages.input", b""), bodies.get("messages.output", b""))
            span = each.span
            if span.operation in CALLS and again.get((span.trace_id, span.span_id)) is None:
                row.calls.append((span, talk))
                row.guessed += "watchkeeper.usage" in span.attributes
            elif span.operation == Operation.TOOL:
                row.tools.append((span, talk))
    return sorted(found.values(), key=lambda row: row.name)


def recorded() -> list[bytes]:
    """The traces that the page is made from."""
    return [line for path in sorted(TRACES.glob("*.jsonl.gz")) for line in gzip.open(path) if line.strip()]


def page() -> str:
    """The whole page."""
    made = rows(recorded())
    head = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
    table = head + "".join(f"{row.line()}\n" for row in made)
    return HEAD + table + FOOT + "".join(f"{row.lacks()}\n" for row in made) + NAMES


def main() -> int:
    """Write the page; with --check, only say whether it is what the readers say today."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
