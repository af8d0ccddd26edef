"""Checks that a webhook comes from the server, is as it was sent, and is not an old one that somebody sends again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any


def verified_webhook(headers: Mapping[str, str], body: bytes, secret: str, tolerance_s: float = 300.0) -> Any:
    """The event in a webhook's body, after its signature held; raises `ValueError` where it does not.

    `headers` are the request's, `secret` is the one of the setting `jobs.webhook_secret`, and `tolerance_s` is how old
    an event may be. The same event can come more than once, always under the same `webhook-id`: remember the ids.

    Source of the form: Standard Webhooks, https://www.standardwebhooks.com, signature version 1.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        hook_id, at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        age_s = abs(time.time() - int(at))
    except (KeyError, ValueError) as error:
        missing = "the request has no webhook-id, webhook-timestamp and webhook-signature that can be read."
        raise ValueError(missing) from error
    if age_s > tolerance_s:
        raise ValueError(f"the webhook is {age_s:.0f} s old, and at most {tolerance_s:g} s are taken.")
    mac = hmac.new(secret.encode(), f"{hook_id}.{at}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(mac).decode()
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures.split()):
        raise ValueError("the webhook's signature does not hold: it was sent by another, or changed on its way.")
    return json.loads(body)
