"""Who a call belongs to, and where that was learnt."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.record import Record


class Source(StrEnum):
    """Where a field of an identity came from, in the order of precedence."""

    KEY = "key"
    HEADER = "header"
    BAGGAGE = "baggage"
    BODY = "body"
    ATTRIBUTE = "attribute"
    NONE = "unattributed"


class Identity(Record):
    """Tenant, key, user, team, session, run and agent of a call; None where nothing said so.

    `sources` names the `Source` of each field that is set, so that a limit can tell a bound user from a claimed one.
    """

    tenant: str = "default"
    key: str | None = None
    user: str | None = None
    session: str | None = None
    run: str | None = None
    agent: str | None = None
    sources: dict[str, str] = {}
    team: str | None = None

    @property
    def owner(self) -> str:
        """Whose payloads these are: the tenant's user, or the tenant where no user is known."""
        return f"{self.tenant}\x1f{self.user}" if self.user else self.tenant
