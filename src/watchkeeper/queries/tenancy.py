"""Keeps a question within one tenant: every table that it reads is narrowed to rows of that tenant, or to none."""

from __future__ import annotations

from msgspec import structs

from watchkeeper.queries.select import And, Column, Compare, Join, MapHas, Or, Predicate, Select, Table
from watchkeeper.queries.tables import SHAPES
from watchkeeper.queries.timespan import FAR_NS

NOTHING = Or(any=())
"""Holds for no row."""

_THROUGH: dict[Table, tuple[str, str]] = {"manifests": ("digest", "manifest")}
"""Tables whose rows name no tenant but are a tenant's when one of its spans points to them, and by which column."""


_MARKED: dict[Table, tuple[str, str]] = {"scores": ("attributes", "watchkeeper.tenant")}
"""Tables whose rows say in an attribute whose they are, which the intake writes from the key and nobody else can."""


def within(select: Select, tenant: str) -> Select:
    """The same question about one tenant's rows alone.

    Wherever the question reads a table, in its joins too, rows of other tenants are left out before anything is counted
    or joined. A table that names no tenant has no row for it, unless the tenant's own spans point to the row: a new
    table is closed until it says whose its rows are.
    """
    joins = tuple(structs.replace(join, select=within(join.select, tenant)) for join in select.joins)
    if any(field.name == "tenant" for field in SHAPES[select.table].fields):
        return structs.replace(select, where=_and(select.where, _of(tenant)), joins=joins)
    if select.table in _MARKED:
        column, key = _MARKED[select.table]
        mark = MapHas(column=column, key=key, op="=", value=tenant)
        return structs.replace(select, where=_and(select.where, mark), joins=joins)
    through = _THROUGH.get(select.table)
    if through is None:
        return structs.replace(select, where=_and(select.where, NOTHING), joins=joins)
    column, pointer = through
    mine = Select(table="spans", since_ns=0, until_ns=FAR_NS, columns=(Column(name=pointer),), where=_of(tenant))
    return structs.replace(select, joins=(*joins, Join(kind="semi", select=mine, on=((column, pointer),))))


def _of(tenant: str) -> Predicate:
    return Compare(column="tenant", op="=", value=tenant)


def _and(where: Predicate | None, more: Predicate) -> Predicate:
    return more if where is None else And(all=(where, more))
