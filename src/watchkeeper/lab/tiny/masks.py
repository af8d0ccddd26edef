"""Masks for constrained decoding: which tokens may come next so that the output keeps its `response_format`.

The masks are those of llguidance (the extra `guide`), over the tiny model's own vocabulary.

Limits: `json_object` and `json_schema` as OpenAI words them. A schema that llguidance does not know is refused. Output
that a limit cuts off keeps its form as far as it goes, and is no whole document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from watchkeeper.lab.tiny.model import TinyError
from watchkeeper.lab.tiny.vocabulary import END, MARKS, Vocabulary

if TYPE_CHECKING:
    import numpy as np


class Mask:
    """The tokens that may come next in one reply. `allowed` is by token; `take` tells what came."""

    def __init__(self, grammar: str, vocabulary: Vocabulary) -> None:
        import llguidance

        self._matcher = llguidance.LLMatcher(_tokenizer(vocabulary), grammar, log_level=0)
        self._size = len(vocabulary)
        self._check()

    def allowed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each token whether it may come next; the end is allowed where the output may end."""
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little")[: self._size].astype(bool)

    def take(self, token: int) -> None:
        """A token came."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(str(self._matcher.get_error()).partition("\n")[0])


def grammar_of(response_format: Any) -> str | None:
    """The grammar of a `response_format`, None where it sets no form.

    Raises `ValueError` for one that is not understood, and `TinyError` without llguidance.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise ValueError("it must be an object with a `type`")
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return cached_grammar(json.dumps({"type": "object"}))
    described = response_format.get("json_schema")
    if kind != "json_schema" or not isinstance(described, Mapping) or not isinstance(described.get("schema"), Mapping):
        raise ValueError("its `type` must be text, json_object, or json_schema with `json_schema.schema`")
    return cached_grammar(json.dumps(described["schema"]))


@cache
def cached_grammar(schema: str) -> str:
    """The grammar of a JSON schema; raises as `grammar_of` does."""
    try:
        import llguidance
    except ModuleNotFoundError as error:
        raise TinyError(
            "A response_format is kept by masks, which need llguidance: pip install 'watchkeeper[guide]'."
        ) from error
    grammar: str = llguidance.LLMatcher.grammar_from_json_schema(schema)
    problem = llguidance.LLMatcher.validate_grammar(grammar)
    if problem:
        raise ValueError(problem)
    return grammar


class _Pieces:
    """The vocabulary as llguidance asks for it."""

    eos_token_id, bos_token_id = END, None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = [token.encode() for token in vocabulary.tokens]
        self.special_token_ids = list(range(len(MARKS)))
        self._encode = vocabulary.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text.decode(errors="replace") if isinstance(text, bytes) else text)


@cache
def _tokenizer(vocabulary: Vocabulary) -> Any:
    import llguidance
    from llguidance import TokenizerWrapper

    return llguidance.LLTokenizer(TokenizerWrapper(_Pieces(vocabulary)), n_vocab=len(vocabulary))
