"""Takes sensitive values out of what a program says before it leaves the process.

The server does the same before it writes, with more rules and with tokens; this is for programs whose texts must not
cross the network. Only masks can be made here: the key of the tokens stays with the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from watchkeeper.analysis.sensitive import DETECTORS, masked

Redact = Sequence[str] | Callable[[str], str]
FAILED = "[redaction failed]"
_KEPT = frozenset({"id", "at", "subject_kind", "verdict", "trace_id", "span_id", "span", "stage", "status", "mode"})


class Masking:
    """Masks texts by detectors or by a function of the program's own. Thread-safe; `counts` tells what it did."""

    def __init__(self, redact: Redact = ()) -> None:
        """`redact` names detectors ("emails", "secret_keys", ...), or is a function from text to text.

        Raises `ValueError` for a detector that does not exist.
        """
        self._function = redact if callable(redact) else None
        self._names: tuple[str, ...] = () if callable(redact) else tuple(redact)
        for name in self._names:
            if name not in DETECTORS:
                raise ValueError(f"redact holds {name!r}; there are {', '.join(DETECTORS)}, or give a function.")
        self.counts: Counter[str] = Counter()

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return bool(self._function or self._names)

    def text(self, text: str) -> str:
        """A text without sensitive values; where that fails, a mark instead of the whole text."""
        if self._function is None:
            said, count = masked(text, self._names)
            self.counts["masked"] += count
            return said
        try:
            said = self._function(text)
        except Exception:  # noqa: BLE001  whatever the program's function does, its text must not leave
            self.counts["failed"] += 1
            return FAILED
        self.counts["masked"] += said != text
        return said

    def value(self, value: Any) -> Any:
        """A value with every text in it masked; names and ids that are ours are left alone."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: each if name in _KEPT else self.value(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    def span(self, span: Any) -> Any:
        """A finished OpenTelemetry span with its name, status, attributes and events masked."""
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import Status

        status = span.status
        if status.description:
            status = Status(status.status_code, self.text(status.description))
        return ReadableSpan(
            name=self.text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=self.value(dict(span.attributes or {})),
            events=[
                Event(self.text(each.name), self.value(dict(each.attributes or {})), each.timestamp)
                for each in span.events
            ],
            links=span.links,
            kind=span.kind,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
