"""What can be asked of the Log, as a value that each adapter compiles to its own dialect."""

from __future__ import annotations

from typing import Literal

from watchkeeper.records.record import Record, Scalar

Table = Literal[
    "spans", "scores", "decisions", "manifests", "findings", "incidents", "cases", "experiments", "drops", "effects",
    "sessions", "sources", "jobs", "audits", "logs", "erasures", "checkpoints", "kept",
]  # fmt: skip

Comparison = Literal["=", "!=", "<", "<=", ">", ">="]
Function = Literal["count", "sum", "mean", "min", "max", "quantile", "distinct", "first"]


class Column(Record, tag="column"):
    """A column of the queried table."""

    name: str
    alias: str | None = None


class Bucket(Record, tag="bucket"):
    """A time column rounded down to a multiple of `width_ns`."""

    name: str
    width_ns: int
    alias: str = "bucket"


class Attribute(Record, tag="attribute"):
    """One entry of a map column, as text; null when absent."""

    column: str
    key: str
    alias: str | None = None


class Aggregate(Record, tag="aggregate"):
    """A function over a group; `count` without a column counts rows, `quantile` needs `q` in 0..1.

    `first` is the column's known value where the column `by` is smallest, of several such the smallest value.
    """

    function: Function
    alias: str
    column: str | None = None
    q: float | None = None
    where: Predicate | None = None
    by: str | None = None


class Compare(Record, tag="compare"):
    """`column op value`. Null never compares true."""

    column: str
    op: Comparison
    value: Scalar


class Among(Record, tag="among"):
    """The column holds one of the values."""

    column: str
    values: tuple[Scalar, ...]


class Contains(Record, tag="contains"):
    """One of the text columns contains the substring; letter case does not matter."""

    columns: tuple[str, ...]
    text: str


class MapHas(Record, tag="map_has"):
    """A map column's entry compares true with a text value; numbers compare as numbers when both sides are."""

    column: str
    key: str
    op: Comparison
    value: Scalar


class Known(Record, tag="known"):
    """The column is not null (or, with `known` false, is null)."""

    column: str
    known: bool = True


class And(Record, tag="and"):
    """All hold; an empty list is true."""

    all: tuple[Predicate, ...]


class Or(Record, tag="or"):
    """At least one holds; an empty list is false."""

    any: tuple[Predicate, ...]


class Not(Record, tag="not"):
    """Does not hold (null counts as not holding, so its negation holds)."""

    inner: Predicate


Predicate = Compare | Among | Contains | MapHas | Known | And | Or | Not
Projection = Column | Bucket | Attribute | Aggregate


class Order(Record):
    """Sort by the alias of a projection; nulls last."""

    by: str
    descending: bool = False


class Join(Record):
    """Join with another query's rows on `left = right` pairs of column names.

    "semi" keeps rows with a match, "anti" rows without; "left" adds the other query's aliases to the row, null
    without a match. The right side is a whole query, so it can filter, group or take the latest revision first.
    `large` tells a database that the right side of a semi or anti join may have millions of keys.
    """

    kind: Literal["semi", "anti", "left"]
    select: Select
    on: tuple[tuple[str, str], ...]
    large: bool = False


class Select(Record):
    """One question to one table within a time range, always bounded: [`since_ns`, `until_ns`) on the table's own clock.

    `columns` empty means whole records (the adapter returns column `record`, packed). `latest_by` keeps only the
    highest revision for each key before anything else is applied. `group` lists aliases of non-aggregate projections;
    left empty with aggregates present it means one row over all.
    """

    table: Table
    since_ns: int
    until_ns: int
    columns: tuple[Projection, ...] = ()
    where: Predicate | None = None
    joins: tuple[Join, ...] = ()
    group: tuple[str, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    latest_by: tuple[str, ...] = ()


class Rows(Record):
    """An answer: column names and rows in order.

    `complete` is False when the index lags behind the journal; `lag_frames` says by how many frames, where known.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    complete: bool = True
    lag_frames: int = 0

    def dicts(self) -> list[dict[str, object]]:
        """The rows as dictionaries by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]
