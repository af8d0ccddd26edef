"""Anchors checkpoints by posting them to somebody who keeps them, signed."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.records.checkpoint import Checkpoint

SIGNATURE = "X-Watchkeeper-Signature"


class WebhookAnchor:
    """An Anchor over HTTP: one POST of a checkpoint's JSON line, answered with a status below 300 or not kept.

    With a secret the body is signed: `X-Watchkeeper-Signature: sha256=<HMAC-SHA256 of the body>`.
    """

    def __init__(self, url: str, *, secret: bytes | None = None, timeout_s: float = 20.0) -> None:
        """Raises `ValueError` for a URL that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a webhook needs a URL that begins with http:// or https:// (it is not shown here).")
        self._url, self._host, self._secret, self._timeout_s = url, parts.hostname, secret, timeout_s

    async def keep(self, checkpoint: Checkpoint, line: bytes) -> str:
        """Post a checkpoint; raises `NotAnchored`."""
        import aiohttp

        headers = {"Content-Type": "application/json", "X-Watchkeeper-Checkpoint": checkpoint.digest}
        if self._secret is not None:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, line, hashlib.sha256).hexdigest()
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, data=line, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
        except TimeoutError:
            raise NotAnchored(f"{self._host} did not answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotAnchored(f"{self._host} could not be reached: {type(error).__name__}") from None
        if status >= 300:
            raise NotAnchored(f"{self._host} answered {status}")
        return self._host
