"""A variant of a case: the same question said otherwise, with what was changed where."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from watchkeeper.analysis.splices import Splice, spliced
from watchkeeper.records.case import Case
from watchkeeper.records.record import as_json

PARENT, SPLICES, GENERATOR = "variant.of", "variant.splices", "variant.by"


def last_text(case: Case) -> str | None:
    """The text of a case's last user message; None where that is no plain text."""
    try:
        messages = msgspec.json.decode(case.messages)
        content = next(each["content"] for each in reversed(messages) if each.get("role") == "user")
    except (msgspec.MsgspecError, StopIteration, KeyError, TypeError, AttributeError):
        return None
    return content if isinstance(content, str) else None


def with_text(case: Case, text: str) -> str:
    """The messages of a case with another text as the last user message, as JSON."""
    messages = msgspec.json.decode(case.messages)
    place = max(n for n, each in enumerate(messages) if each.get("role") == "user")
    messages[place] = {**messages[place], "content": text}
    return as_json(messages).decode()


def variant(case: Case, generator: str, number: int, splices: Sequence[Splice]) -> Case:
    """The case with some places of its last user message changed; it hangs together with its parent."""
    text = last_text(case)
    if text is None:
        raise ValueError(f"The last user message of case {case.case_id!r} is no plain text, so it has no variant.")
    return msgspec.structs.replace(
        case,
        case_id=f"{case.case_id}~{generator}-{number}",
        messages=with_text(case, spliced(text, splices)),
        cluster=case.cluster or case.case_id,
        origin=f"generator:{generator}",
        attributes={
            **case.attributes,
            PARENT: case.case_id,
            GENERATOR: generator,
            SPLICES: as_json([msgspec.to_builtins(each) for each in splices]).decode(),
        },
    )


def splices_of(case: Case) -> tuple[Splice, ...]:
    """What a variant changed; empty for a case that is none."""
    told = case.attributes.get(SPLICES)
    return msgspec.json.decode(told, type=tuple[Splice, ...]) if isinstance(told, str) else ()
