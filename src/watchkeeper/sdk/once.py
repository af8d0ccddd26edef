"""Does something to the world once: claimed in the server's ledger before, settled after, whoever asks again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from watchkeeper.records.ids import new_id
from watchkeeper.sdk import tracing
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.connection import NotAccepted, Unreachable
from watchkeeper.sdk.guard import Denied

CLAIM = "/api/v1/effects/claim"
SETTLE = "/api/v1/effects/settle"
POLL_S = 0.25


class EffectUnknown(Exception):
    """Somebody took the effect on and what became of it is not known; settle it, or give a `status` callback."""

    def __init__(self, effect_id: str, sentence: str) -> None:
        super().__init__(sentence)
        self.effect_id = effect_id


class Named(NamedTuple):
    """The four names of an effect, and what is said of it."""

    tool: str
    run: str
    step: str
    object: str
    fields: dict[str, Any]

    @property
    def key(self) -> str:
        """The names in one, to hand on to the other side as its idempotency key."""
        return f"{self.run}/{self.step}/{self.tool}/{self.object}"


class ClaimedEffect:
    """An effect that was claimed. `first` is whether this caller is to carry it out; else `receipt` is the first one's.

    `key` may be handed on to the other side as its own idempotency key.
    """

    def __init__(self, named: Named, claim: str, answer: dict[str, Any]) -> None:
        self._named, self._claim = named, claim
        self.effect_id = str(answer["effect_id"])
        self.first = bool(answer["granted"])
        self.status = str(answer["status"])
        self.receipt: Any = answer.get("receipt")
        self.differs = bool(answer.get("differs"))
        self.key = named.key
        self._settled = not self.first

    def done(self, receipt: Any = None) -> None:
        """It happened, and this is what the other side gave for it (JSON, at most 16 kB)."""
        self.receipt = receipt
        self._settle("done", receipt)

    def failed(self, detail: str | None = None) -> None:
        """It certainly did not happen: somebody may claim it again."""
        self._settle("failed", detail=detail)

    def unknown(self, detail: str | None = None) -> None:
        """It may have happened or not: somebody has to look."""
        self._settle("unknown", detail=detail)

    @property
    def settled(self) -> bool:
        """Whether it was said what became of it."""
        return self._settled

    def _settle(self, status: str, receipt: Any = None, detail: str | None = None) -> None:
        if not self.first:
            raise RuntimeError(f"The effect {self.effect_id} is another's; only who carried it out says how it ended.")
        said: dict[str, Any] = {"effect_id": self.effect_id, "claim": self._claim, "status": status}
        if receipt is not None:
            said["receipt"] = receipt
        if detail is not None:
            said["detail"] = detail[:2000]
        self._settled = True
        self.status = status
        try:
            current_client().connection.post(SETTLE, said)
        except Unreachable:
            current_client().send(SETTLE, said)  # told later; until then the claim runs out to unknown, never to free


@contextmanager
def claimed(named: Named, lease_s: float, wait_s: float) -> Iterator[ClaimedEffect]:
    """Claim an effect and settle it at the end of the block: done, or unknown where the block raised.

    Raises `Denied` when the run is cancelled or the server cannot be asked, `EffectUnknown` for an effect whose end
    nobody knows, `TimeoutError` when another carries it out for longer than `wait_s`.
    """
    claim = new_id("clm")
    answer = _claim(named, claim, lease_s, wait_s)
    effect = ClaimedEffect(named, claim, answer)
    if not effect.first and effect.status == "unknown":
        raise EffectUnknown(effect.effect_id, _unknown(effect.effect_id))
    try:
        yield effect
    except BaseException as error:
        if not effect.settled:
            # An exception says nothing of what the other side did: a time-out may have come after it was done.
            effect.unknown(f"{type(error).__qualname__}: the block was left by an exception")
        raise
    if not effect.settled:
        effect.done()


def once(
    do: Callable[[], Any],
    named: Named,
    lease_s: float,
    wait_s: float,
    status: Callable[[str], Any] | None = None,
) -> Any:
    """The receipt of an effect: by `do` for the first who asks, the first one's for everybody else.

    `status` is asked with the effect's key when nobody knows what became of it: it returns the receipt of what
    happened, or None when it certainly did not happen, after which `do` is called.
    """
    try:
        with claimed(named, lease_s, wait_s) as effect:
            if effect.first:
                effect.done(do())
            return effect.receipt
    except EffectUnknown as unknown:
        if status is None:
            raise
        found = status(named.key)
        said: dict[str, Any] = {"effect_id": unknown.effect_id, "status": "failed" if found is None else "done"}
        if found is not None:
            said["receipt"] = found
        _post(SETTLE, said)
    return once(do, named, lease_s, wait_s, None)


def _claim(named: Named, claim: str, lease_s: float, wait_s: float) -> dict[str, Any]:
    at_hand = tracing.current_span()
    sent = {
        **named.fields,
        "run": named.run,
        "step": named.step,
        "tool": named.tool,
        "object": named.object,
        "claim": claim,
        "lease_s": lease_s,
        "trace_id": at_hand[0] if at_hand else None,
        "span_id": at_hand[1] if at_hand else None,
        "door": "sdk",
    }
    sent = {name: value for name, value in sent.items() if value is not None}
    until_s = time.monotonic() + wait_s
    while True:
        answer = _post(CLAIM, sent)
        if answer["granted"] or answer["status"] != "planned":
            return answer
        if time.monotonic() >= until_s:
            raise TimeoutError(
                f"Another carries out the effect {answer['effect_id']} ({named.key}) and has not said in {wait_s:g} s "
                "what became of it. Ask again later; nothing was done here."
            )
        time.sleep(POLL_S)


def _post(path: str, value: dict[str, Any]) -> dict[str, Any]:
    """Ask the ledger; without its word nothing may be done, so whatever keeps it from answering is `Denied`."""
    try:
        answer = current_client().connection.post(path, value)
    except NotAccepted as error:
        raise Denied("effect_not_claimed", error.sentence) from error
    except Unreachable as error:
        raise Denied(
            "ledger_unreachable",
            f"The ledger of effects could not be asked ({error}), so nothing was done. Start the server and try again.",
        ) from error
    assert isinstance(answer, dict)
    return answer


def _unknown(effect_id: str) -> str:
    return (
        f"Somebody took the effect {effect_id} on, and what became of it is not known. It is not done again by itself: "
        f"find out, and settle it (watchkeeper effects settle {effect_id} --as done, or failed), or give a `status` "
        "callback that can find out."
    )
