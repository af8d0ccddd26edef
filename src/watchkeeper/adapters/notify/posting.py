"""Posts bytes to a URL, and says no more of the URL than its host when that fails."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from watchkeeper.adapters.notify.webhook import NotDelivered

TIMEOUT_S = 20.0


async def post(url: str, headers: Mapping[str, str], body: bytes) -> None:
    """Post a body, following no redirect; raises `NotDelivered` unless the answer's status is below 300."""
    import aiohttp

    host = urlsplit(url).hostname
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=dict(headers), allow_redirects=False) as response,
        ):
            status = response.status
    except TimeoutError:
        raise NotDelivered(f"{host} did not answer within {TIMEOUT_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotDelivered(f"{host} could not be reached: {type(error).__name__}") from None
    if status >= 300:
        raise NotDelivered(f"{host} answered {status}")
