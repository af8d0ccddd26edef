"""Which path is which."""

from __future__ import annotations

import pytest

from watchkeeper.engines.gateway.ways import Way, way_of


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("/v1/chat/completions", Way("/chat/completions")),
        ("/v1/chat/completions/", Way("/chat/completions")),
        ("//v1//chat///completions", Way("/chat/completions")),
        ("/openai/deployments/gpt/chat/completions", Way("/chat/completions", "gpt", True)),
        ("/openai/responses", Way("/responses", None, True)),
        ("/openai/v1/responses", Way("/responses", None, True)),
        ("/v1", Way(None)),
        ("/v2/chat/completions", Way(None)),
        ("/", Way(None)),
        ("", Way(None)),
    ],
)
def test_a_path_is_taken_apart(path: str, way: Way) -> None:
    assert way_of(path) == way
