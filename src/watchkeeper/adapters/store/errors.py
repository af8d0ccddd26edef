"""What can go wrong in a store, each with what to do next."""

from __future__ import annotations


class StoreError(Exception):
    """A store could not be opened or used; the text says what to do."""


class IndexUnreadable(StoreError):
    """The index file is damaged or was written by another version; the journal can rebuild it."""


class IndexOutdated(IndexUnreadable):
    """The index was made for other tables than this version has; it is made anew from the journal."""


class IndexBusy(StoreError):
    """Another process holds the index file."""


class CellsUnreadable(StoreError):
    """The cells file is damaged; it holds keys and ledgers and cannot be rebuilt from the journal."""


class StoreClosed(StoreError):
    """The store was used after it was closed."""


class SelectError(ValueError):
    """A Select that cannot be answered: an unknown column, a wrong type, a projection that does not fit its group."""
