"""The errors that the gateway itself answers with; in OpenAI's shape where a dialect has no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from watchkeeper.records.record import as_json

ErrorClass = Literal["invalid_request", "authentication", "not_found", "denied", "upstream", "unavailable", "internal"]
Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
NO_RETRY: Header = (b"x-should-retry", b"false")


class Refusal(Exception):
    """An answer of the gateway's own instead of the upstream's: a status, a reason code and a sentence.

    `kind` becomes the error's type (`watchkeeper_<kind>`); `param` names the field of the request that is wrong.
    `close` asks for the connection to be closed because the request was not read to its end.
    """

    def __init__(
        self,
        status: int,
        code: str,
        sentence: str,
        *,
        kind: ErrorClass = "invalid_request",
        param: str | None = None,
        headers: tuple[Header, ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence
        self.kind, self.param = kind, param
        self.headers = (*headers, (b"connection", b"close")) if close else headers

    def body(self) -> bytes:
        """The OpenAI-shaped error as JSON bytes."""
        return error_body(self.kind, self.code, self.sentence, self.param)


class UpstreamFailure(Exception):
    """The upstream gave no whole reply. `sent` is False only when the request certainly never reached it."""

    def __init__(self, status: int, code: str, sentence: str, *, sent: bool) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.sent = status, code, sentence, sent

    def refusal(self) -> Refusal:
        """The answer for the client, where nothing was sent to it yet."""
        return Refusal(self.status, self.code, self.sentence, kind="upstream")


def error_fields(kind: ErrorClass, code: str, sentence: str, param: str | None = None) -> dict[str, str | None]:
    """The fields of an OpenAI-shaped error."""
    return {"message": sentence, "type": f"watchkeeper_{kind}", "param": param, "code": code}


def error_body(kind: ErrorClass, code: str, sentence: str, param: str | None = None) -> bytes:
    """An OpenAI-shaped error as JSON bytes."""
    return as_json({"error": error_fields(kind, code, sentence, param)})


class Wording(NamedTuple):
    """The words of a dialect for what the gateway says itself.

    `body` gives the body of a refusal. `event` gives the event that ends a stream whose upstream failed, from a code, a
    sentence and the number of the last event where the dialect counts them; nothing like [DONE] follows it.
    """

    body: Callable[[Refusal], bytes]
    event: Callable[[str, str, int | None], bytes]


def error_event(code: str, sentence: str, number: int | None = None) -> bytes:
    """The event that ends a stream whose upstream failed: an OpenAI-shaped error, and no [DONE] after it."""
    return b"data: " + error_body("upstream", code, sentence) + b"\n\n"


OPENAI = Wording(Refusal.body, error_event)
