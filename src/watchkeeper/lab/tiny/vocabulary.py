"""The vocabulary of the tiny model: printable characters, a few whole words and sentences, and the marks of the roles.

Text is cut greedily, the longest known piece first. A character that is not known becomes "?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.lab.shapes import text_of

MARKS = ("<end>", "<system>", "<user>", "<assistant>")
END, SYSTEM, USER, ASSISTANT = range(len(MARKS))
CHARACTERS = ("\n", *(chr(code) for code in range(32, 127)))
_ROLES = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "assistant": ASSISTANT}


class Vocabulary:
    """Tokens by number: the marks first, then characters, then `pieces` of several characters."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.tokens: tuple[str, ...] = (*MARKS, *CHARACTERS, *pieces)
        self._number = {token: number for number, token in enumerate(self.tokens) if number >= len(MARKS)}
        self._longest = max(map(len, self._number))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        found, at = [], 0
        while at < len(text):
            for length in range(min(self._longest, len(text) - at), 0, -1):
                number = self._number.get(text[at : at + length])
                if number is not None:
                    break
            else:
                number, length = self._number["?"], 1
            found.append(number)
            at += length
        return found

    def text(self, token: int) -> str:
        """What a token writes: nothing for a mark."""
        return "" if token < len(MARKS) else self.tokens[token]

    def prompt(self, messages: Sequence[Any]) -> list[int]:
        """The tokens of a conversation, with the mark after which the model speaks."""
        found: list[int] = []
        for message in messages:
            if isinstance(message, Mapping):
                found.append(_ROLES.get(str(message.get("role")), USER))
                found += self.encode(text_of(message.get("content")))
                if found and message.get("role") == "assistant":
                    found.append(END)
        return [*found, ASSISTANT]
