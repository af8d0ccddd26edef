"""Reads and rewrites what a case asks: the text of its last user message, and cases made from cases.

Generators change that one text and leave everything else of a case alone, so that an answer that changes can only have
changed for it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from watchkeeper.records.case import Case


def asked_text(messages: str) -> str | None:
    """The text of the last user message of a JSON message list; None where there is none or it is not plain text."""
    place = _last_user(messages)
    return None if place is None else str(place[0][place[1]]["content"])


def with_text(messages: str, text: str) -> str:
    """The same messages with another text in the last user message; raises `ValueError` where there is none."""
    place = _last_user(messages)
    if place is None:
        raise ValueError("these messages have no user message of plain text; give the case an `input`")
    listed, index = place
    listed[index] = {**listed[index], "content": text}
    return json.dumps(listed, ensure_ascii=False)


def child(case: Case, messages: str, generator: str, what: str, number: int) -> Case:
    """A case made from `case`: its id, origin and attributes say from which one and how; it stays in its cluster."""
    return msgspec.structs.replace(
        case,
        case_id=f"{case.case_id}~{generator}-{number}",
        messages=messages,
        cluster=case.cluster or case.case_id,
        origin=f"generator:{generator}/{what}:{case.case_id}",
        attributes={**case.attributes, "parent": case.case_id, "generator": generator, "transformation": what},
    )


def _last_user(messages: str) -> tuple[list[Any], int] | None:
    try:
        listed = json.loads(messages)
    except ValueError:
        return None
    if not isinstance(listed, list):
        return None
    for index in range(len(listed) - 1, -1, -1):
        message = listed[index]
        if isinstance(message, dict) and message.get("role") == "user":
            return (listed, index) if isinstance(message.get("content"), str) else None
    return None
