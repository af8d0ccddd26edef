"""The kind that answers *on request*: a scope and a reader in, a document out."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from watchkeeper.kinds.header import Header
from watchkeeper.queries.question import Reader
from watchkeeper.records.document import Document
from watchkeeper.records.record import Record


class Scope(Record):
    """What a report is about: a subject ("incident:inc_...") and a time range; `now_ns` is the caller's clock."""

    subject: str
    now_ns: int
    since_ns: int = 0
    until_ns: int | None = None


class Subjects(Record):
    """How a report's subject is written, from which its form is made: "agent:" and a name, "versions:" and A..B.

    `parts` names what stands after the prefix, with ".." between two; `offers` says what of the record may be chosen
    for each part; `ranged` is false where the report does not keep to the time range of its scope.
    """

    prefix: str = ""
    parts: tuple[str, ...] = ("subject",)
    offers: Literal["incidents", "agents", "lengths", "versions"] | None = None
    ranged: bool = True

    @property
    def shape(self) -> str:
        """The subject with its parts named, as one would write it: "agent:<agent>"."""
        return self.prefix + "..".join(f"<{each}>" for each in self.parts)


@runtime_checkable
class Report(Protocol):
    """Composes a document of blocks, never HTML.

    A report may declare how its subject is written, `subjects: ClassVar[Subjects]`; pages then offer what is on record.
    For one that declares nothing they show a text field.
    """

    header: ClassVar[Header]

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """Write the document."""
        ...


def subjects_of(report: Report) -> Subjects:
    """How the subject of a report is written, as the report declares it; any text where it declares nothing."""
    declared = getattr(report, "subjects", None)
    return declared if isinstance(declared, Subjects) else Subjects()
