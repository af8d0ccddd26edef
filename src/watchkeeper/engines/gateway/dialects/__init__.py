"""The interfaces that clients speak, one file each: what of a request and a reply the limits and the record need."""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.engines.gateway.dialects.chat import CHAT
from watchkeeper.engines.gateway.dialects.dialect import Dialect
from watchkeeper.engines.gateway.dialects.embeddings import EMBEDDINGS
from watchkeeper.engines.gateway.dialects.messages import ANTHROPIC, MESSAGES
from watchkeeper.engines.gateway.dialects.responses import COMPACT, COUNT, RESPONSES, is_free
from watchkeeper.engines.gateway.errors import OPENAI, Wording

DIALECTS: Mapping[str, Dialect] = {each.path: each for each in (CHAT, RESPONSES, COMPACT, EMBEDDINGS, MESSAGES)}
"""Each dialect by the path that it is asked at, after the root."""


COUNTS: Mapping[str, Dialect] = {"/messages/count_tokens": MESSAGES, COUNT: RESPONSES}
"""Where a client asks how many tokens a request would have; nobody charges for that."""


def dialect_of(suffix: str | None) -> Dialect | None:
    """The dialect that is spoken at a path; capitals make no other path."""
    if suffix is None:
        return None
    return DIALECTS.get(suffix) or DIALECTS.get(suffix.lower())


def aside_of(method: str, suffix: str) -> Dialect | None:
    """The dialect of a path at which nothing is charged for: counts, responses that are kept, conversations."""
    if is_free(method, suffix):
        return RESPONSES
    return COUNTS.get(suffix) if method == "POST" else None


def wording_of(suffix: str | None, headers: Mapping[bytes, bytes]) -> Wording:
    """In which words to answer a client, told by its path, or by the header that Anthropic's clients send."""
    dialect = dialect_of(suffix)
    if dialect is not None:
        return dialect.wording
    anthropic = b"anthropic-version" in headers or (suffix or "").startswith(MESSAGES.path + "/")
    return ANTHROPIC if anthropic else OPENAI
