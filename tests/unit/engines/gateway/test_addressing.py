"""How upstreams of each kind are addressed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines.gateway.stage import spec
from watchkeeper.engines.gateway.addressing import address, credential_headers, required_headers
from watchkeeper.engines.gateway.settings import Settings, SettingsError, check

AZURE: dict[str, Any] = {"kind": "azure", "api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("settings", "suffix", "query", "path"),
    [
        ({}, "/chat/completions", "?a=1", "/chat/completions?a=1"),
        ({"kind": "anthropic"}, "/messages", "?beta=true", "/messages?beta=true"),
        (AZURE, "/chat/completions", "", "/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21"),
        (AZURE, "/embeddings", "?a=1", "/openai/deployments/m%2F1/embeddings?api-version=2024-10-21&a=1"),
        (AZURE, "/responses/r/cancel", "", "/openai/responses/r/cancel?api-version=2024-10-21"),
        ({"kind": "azure", "api_version": "v1"}, "/chat/completions", "", "/openai/v1/chat/completions"),
    ],
)
def test_each_kind_has_its_own_paths(settings: dict[str, Any], suffix: str, query: str, path: str) -> None:
    assert address(spec("https://x", **settings), suffix, query, "m/1") == path


def test_azure_without_a_model_has_no_deployment() -> None:
    assert address(spec("https://x", **AZURE), "/files", "", None) == "/openai/files?api-version=2024-10-21"


def test_each_kind_takes_its_key_in_its_own_header() -> None:
    bearer = {"authorization": "Bearer t"}
    assert credential_headers(spec("https://x"), "t", "/chat/completions") == bearer
    assert credential_headers(spec("https://x", **AZURE), "t", "/chat/completions") == {"api-key": "t"}
    ours = spec("https://x", kind="anthropic")
    assert credential_headers(ours, "t", "/messages") == {"x-api-key": "t"}
    assert credential_headers(ours, "t", "/chat/completions") == bearer


def test_anthropic_is_always_asked_for_a_version() -> None:
    assert required_headers(spec("https://x", kind="anthropic")) == {"anthropic-version": "2023-06-01"}
    assert required_headers(spec("https://x")) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "azure"},
        {"api_version": "v1"},
        {"kind": "anthropic", "api_version": "v1"},
        {"kind": "azure", "api_version": "2024&x=1"},
        {"kind": "azure", "api_version": ""},
    ],
)
def test_a_version_that_cannot_be_is_refused_with_the_fix(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="api_version"):
        check(Settings(upstreams=(spec("https://x", **settings),)))
