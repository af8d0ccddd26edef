"""Who may do what with jobs and effects: a key by its scopes and within its tenant, a person by their role.

| What | A key needs | Or |
|---|---|---|
| submit a job | `call` | whoever is on this machine where nobody is asked for a key |
| read, cancel or resume a job of its own | `call` | the two lines below |
| read any job or effect of the tenant | `read` | a viewer |
| cancel or resume any job of the tenant | `operate` | an operator |
| say that a job goes on | `ingest`, or `call` for its own | an operator |
| claim an effect | `ingest` | an operator |
| settle an effect, cancel a run | `ingest` or `operate` | an operator |

A job makes its calls in the name of a key, so that people submit jobs with one and not by their sign-in.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from watchkeeper.engines.gateway.errors import NO_RETRY, Refusal
from watchkeeper.engines.gateway.key_record import check_scope
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.records.identity import Identity

PERSON = "person:"


class Asker(Protocol):
    """Who asks, as the front door found out: their name, whose rows they may read (None: all), and how far they go."""

    @property
    def actor(self) -> str:
        """Their name: "local", "key:<id>" or "person:<name>"."""
        ...

    @property
    def tenant(self) -> str | None:
        """The tenant that they are bound to; None is bound to none."""
        ...

    @property
    def reads(self) -> bool:
        """Whether they may read what belongs to that tenant."""
        ...

    @property
    def operates(self) -> bool:
        """Whether they may work on what belongs to that tenant."""
        ...


class Caller(NamedTuple):
    """Who asks: the identity of what they make, the key that they showed or signed in with, and what the door knows."""

    identity: Identity
    key: Key | None
    asker: Asker

    @property
    def actor(self) -> str:
        """Their name for the record."""
        return self.asker.actor

    def submits(self) -> None:
        """Raise a 403 for who may not submit a job."""
        if self.key is None and self.actor.startswith(PERSON):
            raise Refusal(
                403,
                "key_required",
                f"A job makes its calls in the name of a key, and you, {self.actor}, are signed in without one. Submit "
                "it with a key that has the scope 'call'.",
                kind="authentication",
                headers=(NO_RETRY,),
            )
        if self.key is None and not self.asker.operates:
            raise self._missing("operator")
        check_scope(self.key, "call")

    def claims(self) -> None:
        """Raise a 403 for who may not claim an effect."""
        if self.key is None and not self.asker.operates:
            raise self._missing("operator")
        check_scope(self.key, "ingest")

    def reads(self) -> str | None:
        """The tenant whose effects they may read, None for all; raises a 403 for who may read none."""
        return self._within(self.asker.reads, "viewer")

    def settles(self) -> str | None:
        """The tenant whose effects they may settle, None for all; raises a 403 for who may settle none."""
        return self._within(self.asker.operates, "operator")

    def sees(self, job: Identity) -> bool:
        """Whether they may read a job: any of their tenant's, or, without leave to read, those of their own key."""
        return (self.asker.reads and self.asker.tenant in (None, job.tenant)) or self._owns(job)

    def changes(self, job: Identity) -> None:
        """Raise a 403 for who may not cancel or resume a job that they see."""
        if not self._operates(job) and not self._owns(job):
            raise self._missing("operator")

    def notes(self, job: Identity) -> None:
        """Raise a 403 for who may not say that a job which they see goes on."""
        same = self.key is not None and self.key.tenant == job.tenant and self.key.may("ingest")
        if not same:
            self.changes(job)

    def _operates(self, job: Identity) -> bool:
        return self.asker.operates and self.asker.tenant in (None, job.tenant)

    def _owns(self, job: Identity) -> bool:
        key = self.key
        return key is not None and key.may("call") and (key.tenant, key.key_id) == (job.tenant, job.key)

    def _within(self, by_role: bool, role: str) -> str | None:
        if by_role:
            return self.asker.tenant
        if self.key is None:
            raise self._missing(role)
        check_scope(self.key, "ingest")
        return self.key.tenant

    def _missing(self, role: str) -> Refusal:
        return Refusal(
            403,
            "role_missing",
            f"This needs the role {role}, or a key with the scope for it, and you, {self.actor}, have neither.",
            kind="authentication",
            headers=(NO_RETRY,),
        )
