"""The list of models in two shapes."""

from __future__ import annotations

import json

from watchkeeper.engines.gateway.dialects.models import ModelList

LISTED = ModelList([("fast", "main"), ("org/big model", "main")], 1_700_000_000)
ANTHROPIC = {b"anthropic-version": b"2023-06-01"}


def test_openais_clients_get_openais_list() -> None:
    told = json.loads(LISTED.answer("/models", {}) or b"")
    assert told["object"] == "list"
    assert told["data"][0] == {"id": "fast", "object": "model", "created": 1_700_000_000, "owned_by": "main"}


def test_anthropics_clients_get_anthropics_list() -> None:
    told = json.loads(LISTED.answer("/models", ANTHROPIC) or b"")
    assert (told["first_id"], told["last_id"], told["has_more"]) == ("fast", "org/big model", False)
    assert told["data"][0] == {
        "type": "model", "id": "fast", "display_name": "fast", "created_at": "2023-11-14T22:13:20Z",
    }  # fmt: skip


def test_one_model_is_found_by_its_name_and_another_is_asked_for_upstream() -> None:
    assert json.loads(LISTED.answer("/models/fast", {}) or b"")["id"] == "fast"
    assert json.loads(LISTED.answer("/models/org%2Fbig%20model", ANTHROPIC) or b"")["id"] == "org/big model"
    assert LISTED.answer("/models/none", {}) is None
    assert ModelList([], 0).answer("/models", {}) is None
