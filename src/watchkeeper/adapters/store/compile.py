"""Turns a Select into the SQL of a dialect and its parameters; values never enter the text."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from watchkeeper.adapters.store.attribute_slots import COLUMN as SLOT_COLUMN
from watchkeeper.adapters.store.attribute_slots import TABLE as SLOT_TABLE
from watchkeeper.adapters.store.attribute_slots import AttributeSlots, slot_column
from watchkeeper.adapters.store.plan import EXACT, NUMBER, alias_of, check, needle
from watchkeeper.queries.select import (
    Aggregate,
    Among,
    And,
    Attribute,
    Bucket,
    Compare,
    Contains,
    Join,
    Known,
    MapHas,
    Not,
    Or,
    Predicate,
    Projection,
    Select,
    Table,
)
from watchkeeper.queries.tables import SHAPES, FieldType

_encode = msgspec.json.Encoder().encode


class Dialect:
    """The words in which one engine differs from another; this one is DuckDB's.

    A subclass for another engine overrides methods, never the compiler.
    """

    schema = "log."
    sequence = "rowid"

    def __init__(self, slots: AttributeSlots | None = None, restated: Set[Table] = frozenset()) -> None:
        """`slots` says which attributes have columns of their own; None where all lie in one map.

        `restated` are the tables whose keys with more than one revision are all kept in a table of that name.
        """
        self.slots = slots
        self.restated = restated

    def placeholder(self, number: int) -> str:
        """The mark of the parameter with this number, counted from 1."""
        return f"${number}"

    def name(self, identifier: str) -> str:
        """An identifier, quoted."""
        return '"' + identifier.replace('"', '""') + '"'

    def entry_path(self, key: str) -> str:
        """The parameter that leads to a map's entry: a JSON pointer."""
        return "/" + key.replace("~", "~0").replace("/", "~1")

    def entry(self, column: str, path: str) -> str:
        """A map's entry as text, null when absent."""
        return f"json_extract_string({column}, {path})"

    def listed(self, values: list[str]) -> str:
        """Some text values as a list."""
        return f"list_value({', '.join(values)})"

    def number(self, text: str) -> str:
        """Text as a floating-point number, null where it cannot be one; takes a little more than `is_number`."""
        return f"TRY_CAST({text} AS DOUBLE)"

    def is_number(self, text: str) -> str:
        """Whether text counts as a number."""
        return f"regexp_full_match({text}, '{NUMBER.pattern}')"

    def contains(self, text: str, part: str) -> str:
        """Whether text has a part, letter case aside."""
        return f"contains(lower({text}), lower({part}))"

    def has_exactly(self, text: str, part: str) -> str:
        """Whether text has a part, letter case included."""
        return f"contains({text}, {part})"

    def bucket(self, column: str, width: str) -> str:
        """An integer rounded down to a multiple of a width."""
        return f"({column} - ((({column} % {width}) + {width}) % {width}))"

    def bucket_from_zero(self, column: str, width: str) -> str:
        """The same for an integer that is not negative."""
        return f"({column} - {column} % {width})"

    def as_integer(self, value: str) -> str:
        """A truth value as 0 or 1."""
        return f"CAST({value} AS BIGINT)"

    def quantile(self, column: str, q: str) -> str:
        """A quantile with linear interpolation between the two nearest values."""
        return f"quantile_cont(CAST({column} AS DOUBLE), {q})"

    def first(self, column: str, by: str) -> str:
        """The column where another is smallest; of several such the smallest value."""
        return f"arg_min({column}, row({by}, {column}))"

    def digest(self, value: str) -> str:
        """A 64-bit hash: quicker to join on than text."""
        return f"hash({value})"

    def equal(self, left: str, right: str) -> str:
        """Equality of what is known."""
        return f"{left} = {right}"

    def same(self, left: str, right: str) -> str:
        """Equality in which null equals null."""
        return f"{left} IS NOT DISTINCT FROM {right}"


DUCKDB = Dialect()


class Compiled(msgspec.Struct, frozen=True):
    """SQL text with numbered placeholders, its parameters in order, and the columns of its answer with their types."""

    sql: str
    parameters: list[object]
    columns: dict[str, FieldType]


def compile_select(select: Select, dialect: Dialect = DUCKDB) -> Compiled:
    """The SQL of a Select; a Select for whole records returns all columns of its table.

    Raises `SelectError` for unknown columns and wrong types.
    """
    outputs = check(select)
    parameters: list[object] = []
    sql = _Compiler(dialect, parameters).select(select)
    return Compiled(sql, parameters, outputs or {f.name: f.type for f in SHAPES[select.table].fields})


class _Names(dict[str, str]):
    """What each column of one Select is called in its SQL, the Select itself, and what its table is called there."""

    def __init__(self, select: Select, base: str, columns: dict[str, str]) -> None:
        super().__init__(columns)
        self.select, self.base = select, base


class _Compiler:
    def __init__(self, dialect: Dialect, parameters: list[object]) -> None:
        self.dialect = dialect
        self.parameters = parameters
        self.depth = 0

    def select(self, select: Select) -> str:
        """One query over its source, joins, predicate, group, order and limit."""
        self.depth += 1
        base = f"t{self.depth}"
        fields = SHAPES[select.table].fields
        names = _Names(select, base, {field.name: f"{base}.{self.dialect.name(field.name)}" for field in fields})
        joins = [self._join(join, names) for join in select.joins]
        columns = self._columns(select, names)
        parts = [f"SELECT {', '.join(columns)} FROM {self._source(select)} {base}", *joins]
        if select.where is not None:
            parts.append(f"WHERE {self._predicate(select.where, names)}")
        parts += self._tail(select, names)
        return " ".join(parts)

    def _columns(self, select: Select, names: _Names) -> list[str]:
        if not select.columns:
            return [self._whole(field.name, names) for field in SHAPES[select.table].fields]
        kinds = {field.name: field.type for field in SHAPES[select.table].fields}
        return [
            f"{self._projection(projection, names, kinds)} AS {self.dialect.name(alias_of(projection))}"
            for projection in select.columns
        ]

    def _tail(self, select: Select, names: _Names) -> list[str]:
        aliases = [alias_of(projection) for projection in select.columns]
        parts = []
        if select.group:
            parts.append("GROUP BY " + ", ".join(str(aliases.index(name) + 1) for name in select.group))
        if select.order:
            keys = [
                f"{aliases.index(order.by) + 1 if aliases else names[order.by]} "
                f"{'DESC' if order.descending else 'ASC'} NULLS LAST"
                for order in select.order
            ]
            parts.append("ORDER BY " + ", ".join(keys))
        if select.limit is not None:
            parts.append(f"LIMIT {self._value(select.limit)}")
        if select.offset:
            parts.append(f"OFFSET {self._value(select.offset)}")
        return parts

    def _source(self, select: Select) -> str:
        """The table within its time range, reduced to the latest revisions where asked.

        The latest revision is sought among all revisions of the keys that appear in the range, so that a revision
        which moved out of the range takes the older one with it.
        """
        shape, quote = SHAPES[select.table], self.dialect.name
        table = self.dialect.schema + quote(shape.table)
        since, until = self._value(select.since_ns), self._value(select.until_ns)
        clock = quote(shape.clock)
        within = f"{clock} >= {since} AND {clock} < {until}"
        if not select.latest_by or (shape.unique and select.latest_by == shape.key):
            return f"(SELECT * FROM {table} WHERE {within})"
        keys = ", ".join(quote(name) for name in select.latest_by)
        # The parts of a table's own key are always known; equality without nulls is far quicker to join on.
        same = self.dialect.equal if select.latest_by == shape.key else self.dialect.same
        alike = " AND ".join(same(f"r.{quote(n)}", f"k.{quote(n)}") for n in select.latest_by)
        rank = f"{quote(shape.revision or shape.clock)} DESC, r.{self.dialect.sequence} DESC"
        # Few keys have more than one revision; only theirs are put in order.
        several = f"several_{self.depth}"
        return (
            f"(WITH {several} AS MATERIALIZED ({self._several(select, keys, table)}) "
            f"SELECT r.* FROM {table} r ANTI JOIN {several} k ON {alike} WHERE {within} UNION ALL "
            f"SELECT * EXCLUDE (newest) FROM (SELECT r.*, row_number() OVER (PARTITION BY {keys} ORDER BY {rank}) "
            f"AS newest FROM {table} r SEMI JOIN {several} k ON {alike}) WHERE newest = 1 AND {within})"
        )

    def _several(self, select: Select, keys: str, table: str) -> str:
        """The keys that have, or perhaps have, more than one revision."""
        if select.table in self.dialect.restated and select.latest_by == SHAPES[select.table].key:
            kept = self.dialect.schema + "restated"
            return f"SELECT key AS {keys} FROM {kept} WHERE of_table = {self._value(select.table)}"
        return f"SELECT {keys} FROM {table} GROUP BY ALL HAVING count(*) > 1"

    def _join(self, join: Join, names: _Names) -> str:
        kind, right, on = join.kind, join.select, join.on
        inner = self.select(right)
        alias = f"j{len(self.parameters)}_{self.depth}"
        if join.large and len(on) == 1:
            # Two different keys of one hash among millions are less likely than a failing disk.
            (left, other), digest = on[0], self.dialect.digest
            return (
                f"{kind.upper()} JOIN (SELECT {digest(self.dialect.name(other))} AS digest FROM ({inner})) {alias} "
                f"ON {digest(names[left])} = {alias}.digest"
            )
        pairs = " AND ".join(f"{names[left]} = {alias}.{self.dialect.name(other)}" for left, other in on)
        if kind == "left":
            for projection in right.columns:
                names[alias_of(projection)] = f"{alias}.{self.dialect.name(alias_of(projection))}"
        return f"{kind.upper()} JOIN ({inner}) {alias} ON {pairs}"

    def _projection(self, projection: Projection, names: _Names, kinds: dict[str, FieldType]) -> str:
        if isinstance(projection, Bucket):
            return self._bucket(projection, names)
        if isinstance(projection, Attribute):
            return self._entry(projection.column, projection.key, names)
        if isinstance(projection, Aggregate):
            text = self._aggregate(projection, names, kinds)
            if projection.where is not None:
                text += f" FILTER (WHERE {self._predicate(projection.where, names)})"
            return text
        return self._whole(projection.name, names)

    def _bucket(self, bucket: Bucket, names: _Names) -> str:
        column, width = names[bucket.name], self._value(bucket.width_ns)
        if bucket.name == SHAPES[names.select.table].clock and names.select.since_ns >= 0:
            return self.dialect.bucket_from_zero(column, width)
        return self.dialect.bucket(column, width)

    def _whole(self, name: str, names: _Names) -> str:
        """A column; of attributes in columns of their own, the list of what lies in the map and in each column."""
        parts = self._parts(name, names)
        return names[name] if len(parts) == 1 else self.dialect.listed(parts)

    def _parts(self, name: str, names: _Names) -> list[str]:
        slots = self._slots(name, names)
        used = 0 if slots is None else len(slots.names())
        return [names[name], *(f"{names.base}.{slot_column(number)}" for number in range(used))]

    def _slots(self, column: str, names: _Names) -> AttributeSlots | None:
        return self.dialect.slots if (names.select.table, column) == (SLOT_TABLE, SLOT_COLUMN) else None

    def _aggregate(self, aggregate: Aggregate, names: _Names, kinds: dict[str, FieldType]) -> str:
        if aggregate.column is None:
            return "count(*)"
        column = names[aggregate.column]
        if aggregate.function == "distinct":
            return f"count(DISTINCT {column})"
        if aggregate.function in ("count", "min", "max"):
            return f"{aggregate.function}({column})"
        if aggregate.function == "first" and aggregate.by is not None:
            return self.dialect.first(column, names[aggregate.by])
        if kinds.get(aggregate.column) == "bool":
            column = self.dialect.as_integer(column)
        if aggregate.function == "quantile":
            return self.dialect.quantile(column, self._value(aggregate.q))
        return f"{'avg' if aggregate.function == 'mean' else 'sum'}({column})"

    def _predicate(self, predicate: Predicate, names: _Names) -> str:
        if isinstance(predicate, And):
            return (
                "(" + " AND ".join(self._predicate(p, names) for p in predicate.all) + ")" if predicate.all else "TRUE"
            )
        if isinstance(predicate, Or):
            return (
                "(" + " OR ".join(self._predicate(p, names) for p in predicate.any) + ")" if predicate.any else "FALSE"
            )
        if isinstance(predicate, Not):
            return f"NOT coalesce({self._predicate(predicate.inner, names)}, FALSE)"
        if isinstance(predicate, Compare):
            if predicate.value is None:
                return "FALSE"
            return f"({names[predicate.column]} {predicate.op} {self._value(predicate.value)})"
        if isinstance(predicate, Among):
            values = [self._value(value) for value in predicate.values if value is not None]
            return f"({names[predicate.column]} IN ({', '.join(values)}))" if values else "FALSE"
        if isinstance(predicate, Known):
            parts = self._parts(predicate.column, names)
            part = parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"
            return f"({part} IS {'NOT ' if predicate.known else ''}NULL)"
        if isinstance(predicate, Contains):
            return self._contains(predicate, names)
        return self._map_has(predicate, names)

    def _contains(self, predicate: Contains, names: _Names) -> str:
        if not predicate.columns:
            return "FALSE"
        part = self._value(predicate.text)
        found = [f"coalesce({self.dialect.contains(names[name], part)}, FALSE)" for name in predicate.columns]
        return "(" + " OR ".join(found) + ")"

    def _map_has(self, predicate: MapHas, names: _Names) -> str:
        number, text = needle(predicate.value)
        if text is None:
            return "FALSE"
        tests = []
        for entry, in_map in self._lies(predicate.column, predicate.key, names):
            test = self._entry_has(predicate, entry, number, text)
            if in_map and number is None and predicate.op == "=":
                # The quoted pair is sought first: far cheaper than reading the JSON of every row.
                pair = self._value(_encode({predicate.key: text}).decode()[1:-1])
                test = f"({self.dialect.has_exactly(names[predicate.column], pair)} AND {test})"
            tests.append(test)
        return f"({' OR '.join(tests)})" if tests else "FALSE"

    def _entry_has(self, predicate: MapHas, entry: str, number: float | None, text: str) -> str:
        if number is None:
            return f"({entry} {predicate.op} {self._value(text)})"
        as_number, given = self.dialect.number(entry), self._value(number)
        by_number, by_text = f"{as_number} {predicate.op} {given}", f"{entry} {predicate.op} {self._value(text)}"
        # Whether text counts as a number is dear to find out, and mostly makes no difference.
        return (
            f"(CASE WHEN {as_number} IS NULL OR ({by_number}) = ({by_text}) THEN {by_text} "
            f"WHEN abs({as_number}) <= {self._value(float(EXACT))} AND {self.dialect.is_number(entry)} "
            f"THEN {by_number} "
            f"ELSE {by_text} END)"
        )

    def _entry(self, column: str, key: str, names: _Names) -> str:
        found = [entry for entry, _ in self._lies(column, key, names)]
        return f"coalesce({', '.join(found)})" if found else "CAST(NULL AS VARCHAR)"

    def _lies(self, column: str, key: str, names: _Names) -> list[tuple[str, bool]]:
        """Where a map's entry can lie, and whether that is in the map; in a row it lies in one place at most."""
        slots = self._slots(column, names)
        if slots is None:
            return [(self._in_map(column, key, names), True)]
        slot, outside = slots.place(key)
        found = [] if slot is None else [(f"{names.base}.{slot_column(slot)}", False)]
        if outside is not None and outside[0] < names.select.until_ns and names.select.since_ns <= outside[1]:
            found.append((self._in_map(column, key, names), True))
        return found

    def _in_map(self, column: str, key: str, names: _Names) -> str:
        return self.dialect.entry(names[column], self._value(self.dialect.entry_path(key)))

    def _value(self, value: object) -> str:
        self.parameters.append(value)
        return self.dialect.placeholder(len(self.parameters))
