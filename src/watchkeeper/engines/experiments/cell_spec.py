"""What a suite can ask of cells of its cases before a release, as people write it under `gates`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from watchkeeper.records.record import Scalar

Floor = Annotated[float, Meta(gt=0, lt=1)]


class NamedCell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cell by its value in every column, and its own floor where it has one."""

    cell: dict[str, Scalar]
    floor: Floor | None = None


class Cells(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cells must show: `by` are attributes of the cases, `floor` is what the whole interval must reach.

    `score` is the score that counts (needed where there are several), right from `good` on. `named` cells are held to
    their own floor and must be there. The `others` that the cases show are "required" to reach the floor, or "ignored".
    """

    by: Annotated[tuple[str, ...], Meta(min_length=1)]
    floor: Floor = 0.8
    score: str | None = None
    good: float = 1.0
    named: tuple[NamedCell, ...] = ()
    others: Literal["required", "ignored"] = "required"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        for each in self.named:
            if set(each.cell) != set(self.by):
                raise ValueError(
                    f"a named cell gives {', '.join(each.cell) or 'nothing'}; give a value for each of `by`: "
                    f"{', '.join(self.by)}"
                )
        if self.others == "ignored" and not self.named:
            raise ValueError("`others: ignored` leaves no cell; name some under `named`")


class Gates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gates of a suite that hold in every run of it, besides those of the command."""

    cells: Cells | None = None
