"""Whose rows the request at hand may read; a Reader, and a search, that keep every question within them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from msgspec import structs

from watchkeeper.engines.recorder.search import Found, Sought
from watchkeeper.queries.question import Question, Reader
from watchkeeper.queries.replies import ReplyReader, Said
from watchkeeper.queries.select import Rows, Select
from watchkeeper.queries.tenancy import within
from watchkeeper.records.span import Span

T = TypeVar("T")

_TENANT: ContextVar[str | None] = ContextVar("watchkeeper_tenant", default=None)
"""The tenant that the request at hand is bound to; None for the whole house, as its own work is."""


@contextmanager
def bound_to(tenant: str | None) -> Iterator[None]:
    """Bind all that is asked inside, and in tasks begun inside, to a tenant; None leaves it unbound."""
    token = _TENANT.set(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


def bounded(select: Select) -> Select:
    """A query within the tenant that the request at hand is bound to."""
    tenant = _TENANT.get()
    return select if tenant is None else within(select, tenant)


class BoundReader:
    """A Reader over another one that narrows every question to the tenant of the request at hand."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner

    async def ask(self, question: Question[T]) -> T:
        """Answer a named question about the tenant's rows."""
        if _TENANT.get() is None:
            return await self._inner.ask(question)
        return question.answer(await self._inner.select(bounded(question.select())))

    async def select(self, query: Select) -> Rows:
        """Answer a query about the tenant's rows."""
        return await self._inner.select(bounded(query))

    async def payload(self, span: Span, *names: str) -> bytes | None:
        """The exact bytes of a payload of a span that was read here; None where the inner reader has none."""
        fetch = getattr(self._inner, "payload", None)
        found: bytes | None = None if fetch is None else await fetch(span, *names)
        return found

    async def said(self, span: Span) -> Said | None:
        """What the model said in a call that was read here; None where the inner reader has it not."""
        return await self._inner.said(span) if isinstance(self._inner, ReplyReader) else None


class Searches(Protocol):
    """Whoever searches in payloads."""

    async def search(self, sought: Sought, deadline_s: float) -> Found:
        """Look for text for so many seconds; raises `ValueError` for what cannot be looked for."""
        ...


class BoundSearch:
    """A search over another one that looks in the payloads of the tenant of the request at hand alone."""

    def __init__(self, inner: Searches) -> None:
        self._inner = inner

    async def search(self, sought: Sought, deadline_s: float) -> Found:
        """Look for text in the tenant's payloads, whatever tenant is asked for."""
        tenant = _TENANT.get()
        if tenant is not None:
            sought = structs.replace(sought, fields={**sought.fields, "tenant": tenant})
        return await self._inner.search(sought, deadline_s)
