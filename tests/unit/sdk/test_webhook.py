"""A webhook is taken only as it was signed, and not when it is old."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from watchkeeper.engines.jobs.hooks import signed
from watchkeeper.sdk.webhook import verified_webhook

BODY = b'{"id":"job_1"}'


def headers(at_s: int | None = None, body: bytes = BODY, secret: bytes = b"secret") -> dict[str, str]:
    at_s = int(time.time()) if at_s is None else at_s
    return {
        "Webhook-Id": "job_1.4",
        "Webhook-Timestamp": str(at_s),
        "Webhook-Signature": f"v1,AAAA {signed(secret, 'job_1.4', at_s, body)}",
    }


def test_a_signed_one_is_read() -> None:
    assert verified_webhook(headers(), BODY, "secret") == {"id": "job_1"}


@pytest.mark.parametrize(
    ("given", "body", "said"),
    [
        (headers, BODY + b" ", "does not hold"),
        (lambda: headers(secret=b"other"), BODY, "does not hold"),
        (lambda: {**headers(), "Webhook-Id": "job_2.1"}, BODY, "does not hold"),
        (lambda: headers(at_s=1_700_000_000), BODY, "s old"),
        (dict, BODY, "no webhook-id"),
        (lambda: {**headers(), "Webhook-Timestamp": "soon"}, BODY, "no webhook-id"),
    ],
)
def test_any_other_is_refused(given: Callable[[], dict[str, str]], body: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        verified_webhook(given(), body, "secret")
