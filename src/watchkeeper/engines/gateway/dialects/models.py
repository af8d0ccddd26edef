"""The list of models, in the shape of OpenAI or of Anthropic as the client's headers ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import unquote

from watchkeeper.engines.gateway.key_record import may_use
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.records.record import as_json

PATH = "/models"


class ModelList:
    """Answers GET /v1/models from what the upstreams declare."""

    def __init__(self, declared: Iterable[tuple[str, str]], created_s: int) -> None:
        """`declared` are names with the upstream that serves each; `created_s` is unix time, for no other is known."""
        self._owners = dict(declared)
        self._created_s = created_s

    def answer(self, suffix: str, headers: Mapping[bytes, bytes], key: Key | None = None) -> bytes | None:
        """The list, or one model, as JSON; None when nothing is declared and the upstream has to be asked.

        A key sees the models that it may call.
        """
        if not self._owners:
            return None
        seen = {name: owner for name, owner in self._owners.items() if may_use(key, name, owner)}
        shape = self._anthropic if b"anthropic-version" in headers else self._openai
        if suffix != PATH:
            name = unquote(suffix.removeprefix(PATH + "/"))
            return as_json(shape(name)) if name in seen else None
        listed = [shape(name) for name in seen]
        if shape == self._openai:
            return as_json({"object": "list", "data": listed})
        ends = {"first_id": listed[0]["id"] if listed else None, "last_id": listed[-1]["id"] if listed else None}
        return as_json({"data": listed, "has_more": False, **ends})

    def _openai(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created_s, "owned_by": self._owners[name]}

    def _anthropic(self, name: str) -> dict[str, object]:
        created = datetime.fromtimestamp(self._created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": "model", "id": name, "display_name": name, "created_at": created}
