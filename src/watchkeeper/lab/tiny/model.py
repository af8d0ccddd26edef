"""The lab's tiny language model: inference in numpy, one token after another, with a cache of keys and values.

A decoder of four layers with rotary positions and about 190 thousand weights, in which each token also sees the one
before it from the start. The file of its weights is checked by its digest before it is read.

Limits: it knows the made-up tasks of `tasks.py` and nothing else, in conversations of at most `CONTEXT` tokens. Figures
measured on it hold for it.
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.lab.tiny.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

NAME = "lab-tiny"
WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "lab-tiny.npz"
SHA256 = "4f7b19a744a88402950d19f76971cdeefde88c6b5795906b3fc7a100dacd7d57"
CONTEXT = 320


class TinyError(Exception):
    """The tiny model cannot be used, and why."""


class Tiny:
    """The model. `about` is what its file says of how it was made. Without state: `start` gives a conversation."""

    def __init__(self, about: dict[str, Any], weights: dict[str, Array]) -> None:
        self.about = about
        self.vocabulary = Vocabulary(about["pieces"])
        self.layers, self.heads, self.rotation = about["layers"], about["heads"], about["rotation"]
        self.weights = weights

    def start(self) -> Reading:
        """A conversation of which nothing is read yet."""
        return Reading(self)


class Reading:
    """What the model has read so far."""

    def __init__(self, model: Tiny) -> None:
        import numpy as np

        self._np, self._model = np, model
        w = model.weights
        half = w["0.qkv"].shape[0] // model.heads // 2
        angle = np.outer(np.arange(CONTEXT), model.rotation ** (-np.arange(half) / half))
        self._cos, self._sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        shape = (model.layers, model.heads, CONTEXT, 2 * half)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._last = np.zeros((1, 2 * half * model.heads), np.float32)
        self.length = 0

    def read(self, tokens: list[int]) -> Array:
        """Read on; returns the logits of the next token. Raises `ValueError` past `CONTEXT` tokens."""
        if self.length + len(tokens) > CONTEXT:
            raise ValueError(f"{self.length + len(tokens)} tokens are more than the {CONTEXT} of the context")
        np, w = self._np, self._model.weights
        begin, end = self.length, self.length + len(tokens)
        cos, sin = self._cos[begin:end], self._sin[begin:end]
        hidden = np.arange(end)[None, :] > np.arange(begin, end)[:, None]
        x = w["embed"][tokens]
        x = x + w["before"] * np.concatenate((self._last, x[:-1]))
        self._last = w["embed"][tokens[-1:]]
        for n in range(self._model.layers):
            q, k, v = (self._split(each) for each in np.split(_norm(np, x, w[f"{n}.norm1"]) @ w[f"{n}.qkv"], 3, -1))
            self._keys[n, :, begin:end] = self._rotate(k, cos, sin)
            self._values[n, :, begin:end] = v
            p = self._rotate(q, cos, sin) @ self._keys[n, :, :end].swapaxes(-1, -2) * np.float32(q.shape[-1] ** -0.5)
            p[:, hidden] = -np.inf
            p = np.exp(p - p.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            mixed = (p @ self._values[n, :, :end]).swapaxes(0, 1).reshape(len(tokens), -1)
            x = x + mixed @ w[f"{n}.out"]
            x = x + np.maximum(_norm(np, x, w[f"{n}.norm2"]) @ w[f"{n}.up"], 0) @ w[f"{n}.down"]
        self.length = end
        logits: Array = _norm(np, x[-1:], w["last"])[0] @ w["embed"].T
        return logits

    def _split(self, x: Array) -> Array:
        return x.reshape(len(x), self._model.heads, -1).swapaxes(0, 1)

    def _rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        turned: Array = self._np.concatenate((a * cos - b * sin, a * sin + b * cos), axis=-1)
        return turned


def _norm(np: Any, x: Array, gain: Array) -> Array:
    scaled: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain
    return scaled


@cache
def shipped() -> Tiny:
    """The model that comes with the package; raises `TinyError`."""
    return loaded(WEIGHTS, SHA256)


def loaded(path: Path, sha256: str | None) -> Tiny:
    """The model in a file with this digest (None: whichever it has); raises `TinyError`."""
    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise TinyError("The tiny model needs numpy: pip install 'watchkeeper[evals]'.") from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TinyError(f"{path} cannot be read: {error.strerror}. Install Watchkeeper again.") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise TinyError(f"{path} has the digest {found}, expected {sha256}: it is another file. Install it again.")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        about = json.loads(bytes(file["about"]))
        weights = {name: file[name].astype(np.float32) for name in file.files if name != "about"}
    return Tiny(about, weights)
