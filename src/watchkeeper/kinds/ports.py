"""The ports: what the engines ask of the outside, each with one conformance suite over all its adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from watchkeeper.analysis.masked_mass import Masked
from watchkeeper.queries.select import Rows, Select, Table
from watchkeeper.records.body import Address, Body
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Usage


class Watermark(Record):
    """How far a writer's journal has been indexed: everything before (segment, offset) is in the Log."""

    writer: str
    segment: int
    offset: int
    seq: int = 0


class Batch(Record):
    """Records to index, with the watermark that stands once they are in; both become visible together."""

    records: tuple[Record, ...]
    watermark: Watermark | None = None


class Appended(Record):
    """What an append did: rows written per table, and spans left out because they were there already."""

    written: dict[str, int]
    duplicates: int = 0


class Log(Protocol):
    """Append-only records: an index over the journal, rebuildable from it."""

    async def append(self, batch: Batch) -> Appended:
        """Index a batch. Idempotent: a batch at or below the writer's watermark changes nothing."""
        ...

    async def select(self, query: Select) -> Rows:
        """Answer one query."""
        ...

    async def watermarks(self) -> Mapping[str, Watermark]:
        """How far each writer has been indexed."""
        ...

    async def remove(self, table: Table, *, before_ns: int | None = None, keys: Sequence[tuple[str, ...]] = ()) -> int:
        """Take rows out of a table: those before a moment, and all revisions of some keys; returns how many.

        Watermarks stay, so what was removed does not come back by itself. Appends and questions go on meanwhile.
        """
        ...

    async def compact(self) -> None:
        """Give space back; afterwards no byte of a removed row is in any file of the Log."""
        ...

    async def close(self) -> None:
        """Release files and threads."""
        ...


class Blobs(Protocol):
    """Content-addressed payloads in the journal's own segments."""

    async def put(self, data: bytes, name: str, media: str, owner: str) -> Body:
        """Keep a payload; bytes kept before for the same owner are not written again."""
        ...

    async def get(self, body: Body) -> bytes:
        """The exact bytes of a payload; raises `KeyError` where they were erased or never written."""
        ...

    async def chunk(self, address: Address) -> bytes:
        """The bytes of one chunk."""
        ...


class Add(Record, tag="add"):
    """Add `delta` to a counter (absent counts as 0). With `at_most`, refuse if the sum would exceed it."""

    key: str
    delta: int
    at_most: int | None = None


class Put(Record, tag="put"):
    """Set a key to a value, whatever it held."""

    key: str
    value: bytes


class Swap(Record, tag="swap"):
    """Set a key to `value` only if it holds `expected` (None: absent); `value` None deletes it."""

    key: str
    expected: bytes | None
    value: bytes | None


class Delete(Record, tag="delete"):
    """Remove a key, whatever it held."""

    key: str


Op = Add | Put | Swap | Delete


class Applied(Record):
    """All operations took effect. `before` holds what each `Add` counter held before, by key."""

    before: dict[str, int] = {}
    repeated: bool = False


class Refused(Record):
    """Nothing took effect: `index` is the first operation whose condition failed, `current` what its key holds."""

    index: int
    key: str
    current: int | bytes | None


class Page(Record):
    """Some cells of a scan in key order, and where to go on (None: the end)."""

    items: tuple[tuple[str, int | bytes], ...]
    cursor: str | None = None


class Cells(Protocol):
    """Small mutable state: ledgers, leases, idempotency keys, cursors."""

    def apply(
        self, ops: Sequence[Op], operation_id: str | None = None, urgent: bool = True
    ) -> Awaitable[Applied | Refused]:
        """One transaction; the same `operation_id` a second time changes nothing and answers as the first did.

        What is not urgent may wait some milliseconds to share a write, but comes before all that is asked later.
        """
        ...

    async def get(self, key: str) -> int | bytes | None:
        """One cell's counter or value, None when absent."""
        ...

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        """Cells whose key starts with `prefix`, in key order."""
        ...

    async def close(self) -> None:
        """Release files and threads."""
        ...


class Pricer(Protocol):
    """Knows what tokens cost, offline, from a dated price table."""

    def cost(
        self, provider: str | None, model: str | None, usage: Usage, at_ns: int, tier: str | None = None
    ) -> Cost | None:
        """The price of a call's usage at a service tier; None when the model has no price or the usage is unknown."""
        ...

    def worst_case(self, provider: str | None, model: str | None, tokens: tuple[int, int], at_ns: int) -> Cost | None:
        """The most that (input, output) tokens can cost; None when the model has no price."""
        ...


class Completion(Record):
    """A model's answer to one request, as the eval runner needs it.

    `error` says why there is none. `retriable` is whether the same request may go well another time, `retry_after_s`
    when the provider says to try. `status` is the HTTP status, where there was one. `composition` is what a gateway
    says has answered: the digest of a manifest. `masked` is the probability that the mask of an output format took
    away, where log-probabilities came with the answer.
    """

    output: str | None
    calls: str | None
    finish_reason: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    duration_ns: int
    error: str | None = None
    status: int | None = None
    retriable: bool = False
    retry_after_s: float | None = None
    composition: str | None = None
    masked: Masked | None = None


class AnswerCache(Protocol):
    """Keeps answers by the digest of what was asked, so that nothing is asked twice, also after a crash."""

    def get(self, key: str) -> Completion | None:
        """The answer kept under a key."""
        ...

    def put(self, key: str, answer: Completion) -> None:
        """Keep an answer; once this returns it survives a crash of the process."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class ModelProvider(Protocol):
    """Answers chat requests."""

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One completion for a JSON message list; a failure is a Completion with `error` set, never an exception."""
        ...


class Answering(Protocol):
    """An HTTP reply as it comes."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def raw_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Its headers as they came."""
        ...

    async def readany(self) -> bytes:
        """What has come of the body, empty at its end; raises `OSError` where it ends too early."""
        ...

    def close(self) -> None:
        """Let go of the reply, and of its connection where it is not whole."""
        ...


class Carrier(Protocol):
    """Sends HTTP requests. Made inside a running loop."""

    async def request(
        self,
        method: str,
        base_url: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        times_s: tuple[float, float],
    ) -> Answering:
        """Send a request; returns when the reply's head is here. `times_s` are for connecting and for the whole reply.

        Raises `OSError` (`TimeoutError` among them), and `ValueError` for what cannot be written. The engines' carriers
        say by `NotConnected` that nothing was sent.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Notifier(Protocol):
    """Tells people."""

    async def notify(self, incident: Incident, finding: Finding | None) -> None:
        """Send one notice; raises on failure, which the engine counts and retries."""
        ...


class KeyRow(Record):
    """The keys of one subject: its tag, the digest of its name (None once retired), and its secret, wrapped or not."""

    tag: bytes
    who: bytes | None
    wrapped: bool
    secret: bytes


class KeyFile(Protocol):
    """Keeps the keys of subjects, and nothing of those that were destroyed."""

    path: Path

    def by_name(self, who: bytes) -> KeyRow | None:
        """The row of a subject, by the digest of its name."""
        ...

    def by_tag(self, tag: bytes) -> KeyRow | None:
        """The row with a tag, unless it was destroyed."""
        ...

    def rows(self) -> Sequence[KeyRow]:
        """All rows that were not destroyed."""
        ...

    def add(self, row: KeyRow) -> bool:
        """Add a row; returns whether it is new."""
        ...

    def rewrite(self, rows: Iterable[KeyRow], check: bytes | None = None) -> None:
        """Replace the secrets of some rows, and the check of the master key, all or none."""
        ...

    def replace(self, row: KeyRow, before: bytes) -> bool:
        """Replace the secret of a row if it is still the one that was there before; returns whether it was."""
        ...

    def retire(self, who: bytes) -> None:
        """Let a name have no row any more; its old row stays until it is destroyed."""
        ...

    def destroy(self, tag: bytes) -> None:
        """Take the secret of a row away for good."""
        ...

    def check(self) -> bytes | None:
        """What was wrapped to know the master key again by."""
        ...

    def counts(self) -> Mapping[str, int]:
        """How many subjects have keys, how many of them wrapped ones, and how many were destroyed."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Anchor(Protocol):
    """Keeps checkpoints where nobody who can write the data directory can change them."""

    async def keep(self, checkpoint: Checkpoint, line: bytes) -> str:
        """Keep a checkpoint, given as one line of JSON too; returns a receipt, raises on failure."""
        ...
