"""How an upstream of each kind is addressed: its paths, its versions and the header that carries its key."""

from __future__ import annotations

from urllib.parse import quote

from watchkeeper.engines.gateway.settings import UpstreamSpec

ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's API that is asked for where the client names none; it has been the only one since then."""

AZURE_V1 = "v1"
_BY_DEPLOYMENT = ("/chat/completions", "/completions", "/embeddings", "/audio/", "/images/")


def address(spec: UpstreamSpec, suffix: str, query: str, model: str | None) -> str:
    """The path and query that follow an upstream's `base_url`; `suffix` is what follows `/v1` at OpenAI.

    An Azure resource takes its deployments by path and its version by query, unless its version is "v1".
    """
    if spec.kind != "azure":
        return suffix + query
    if spec.api_version == AZURE_V1:
        return f"/openai/v1{suffix}{query}"
    by_deployment = model is not None and suffix.startswith(_BY_DEPLOYMENT)
    root = f"/openai/deployments/{quote(model or '', safe='')}" if by_deployment else "/openai"
    return f"{root}{suffix}?api-version={spec.api_version}" + (f"&{query[1:]}" if query else "")


def credential_headers(spec: UpstreamSpec, token: str, suffix: str) -> dict[str, str]:
    """The headers that carry the owner's key to an upstream. Anthropic's chat completions take it as others do."""
    if spec.kind == "azure":
        return {"api-key": token}
    if spec.kind == "anthropic" and suffix != "/chat/completions":
        return {"x-api-key": token}
    return {"authorization": f"Bearer {token}"}


def required_headers(spec: UpstreamSpec) -> dict[str, str]:
    """Headers without which an upstream of this kind does not answer; the client's own come before them."""
    return {"anthropic-version": ANTHROPIC_VERSION} if spec.kind == "anthropic" else {}
