"""OpenAI's embeddings: texts in, vectors out, and nothing that a model writes."""

from __future__ import annotations

import msgspec

from watchkeeper.engines.gateway.dialects.dialect import Dialect, Head, fields_of
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.engines.gateway.usage import Answer, read_usage_only
from watchkeeper.records.span import Operation

_input = msgspec.json.Decoder(str | list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


class Embeddings(Dialect):
    """POST /v1/embeddings."""

    name = "embeddings"
    path = "/embeddings"
    operation = Operation.EMBEDDINGS
    limiting = frozenset({"model", "input"})
    conversation = None

    def read(self, body: bytes, deployment: str | None = None) -> Head:
        """Decode the head; the input, which may be long, is left as it is."""
        fields, model, named = fields_of(body, self, deployment)
        return Head(fields, model, named, [], max_output=0)

    def input_bound(self, body: bytes, head: Head, most: int | None = None, earlier: int | None = None) -> int | None:
        """As many tokens as the body has bytes: a token that is sent as a number takes two of them."""
        return len(body)

    def output_bound(self, head: Head, spec: UpstreamSpec) -> int | None:
        """Nothing is written."""
        return 0

    def system(self, head: Head) -> list[bytes]:
        """There is none."""
        return []

    def asked_text(self, head: Head, most_chars: int) -> str:
        """The first text, where it is one."""
        try:
            given = _input.decode(head.fields.get("input", b"null"))
            return (given if isinstance(given, str) else _text.decode(given[0]) if given else "")[:most_chars]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""

    def answer(self, body: bytes) -> Answer:
        """Model and usage; the vectors are not decoded."""
        return read_usage_only(body, "embeddings")


EMBEDDINGS = Embeddings()
