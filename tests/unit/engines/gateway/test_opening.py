"""An error inside a 200 amounts to a status: its own number, or what its words say."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.engines.gateway.opening import status_of


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        ({"code": 502}, "502", 502),
        ({"code": "429"}, "429", 429),
        ({"status": 503}, "UNAVAILABLE", 503),
        ({"code": 200}, "x", 500),
        ({"code": 7}, "x", 500),
        ({"type": "rate_limit_error"}, "rate_limit_error", 429),
        ({"type": "overloaded_error"}, "overloaded_error", 529),
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, "context_length_exceeded", 400),
        ({"type": "authentication_error"}, "authentication_error", 401),
        ({"type": "server_error"}, "server_error", 500),
        ({}, "upstream_error", 500),
    ],
)
def test_each_error_amounts_to_a_status(error: dict[str, Any], code: str, status: int) -> None:
    assert status_of(error, code) == status
