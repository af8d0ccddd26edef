"""Train the lab's tiny model from nothing: `python scripts/train_small_model.py [--steps N] [--seed N] [--out FILE]`.

Text is made by `lab/tiny/tasks.py`; nothing is read. A decoder of four layers is trained by AdamW, with gradients
written out in numpy, on one core. Needs the extra `evals`, and ten to thirty minutes. The digest that it prints belongs
into `lab/tiny/model.py`; another numpy or another processor gives other last digits, and so another digest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np

from watchkeeper.engines.experiments import formats
from watchkeeper.lab.tiny import tasks
from watchkeeper.lab.tiny.tasks import drawn
from watchkeeper.lab.tiny.vocabulary import ASSISTANT, END, SYSTEM, USER, Vocabulary

OUT = Path(__file__).resolve().parents[1] / "src/watchkeeper/lab/data/lab-tiny.npz"
WIDTH, LAYERS, HEADS, HIDDEN, ROTATION = 64, 4, 4, 224, 500.0
BATCH, BUCKET, PEAK, WARM = 64, 32, 3e-3, 200
TOLD = {form: formats.TOLD[form] for form in ("free", "strict", "reasoning first")}
PIECES = (
    *TOLD.values(),
    formats.SECOND,
    *(f" {word}" for word in tasks.THINGS),
    *(f"{word} " for word in tasks.FIELDS),
    "; ", ". Which ", "is ", "is it?", " has ", "Gets ", "Loses ", ". ", "How many?", "Spell ", " backwards.",
    "Answer", ": ", ", ", '{"', '": "', '", "', '"}', "answer", "reasoning",
)  # fmt: skip
# How often the training text answers with steps although JSON alone was asked for, by the size of a sum: people write
# steps where a problem is long. Nearly all other text keeps to what was asked.
SLOPPY = {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.7}
SLOPPY_ELSE = 0.03
Turn = tuple[str, str]
Array = np.ndarray[Any, np.dtype[np.float32]]


def example(rng: Random) -> list[Turn]:
    """One conversation of the training text, as (role, text)."""
    kind = rng.choices(("sums", "records", "backwards", "turns"), (52, 30, 10, 8))[0]
    if kind == "turns":
        return _turns(rng)
    problem = drawn(kind, _size(kind, rng), rng, held=False)
    form = rng.choices(("free", "strict", "reasoning first", "second", "bare"), (26, 36, 22, 12, 4))[0]
    short = json.dumps({"answer": problem.answer})
    if form == "second":
        return [("system", formats.SECOND), ("user", problem.written), ("assistant", short)]
    said = problem.written
    if form == "strict":
        often = SLOPPY[problem.size] if kind == "sums" else SLOPPY_ELSE
        said = f"{problem.steps}\n{short}" if rng.random() < often else short
    elif form == "reasoning first":
        said = json.dumps({"reasoning": problem.steps, "answer": problem.answer})
    asked = [("user", problem.text), ("assistant", said)]
    return asked if form == "bare" else [("system", TOLD[form]), *asked]  # type: ignore[index]


def _size(kind: str, rng: Random) -> int:
    """The frontier: short words are hardly ever seen, long ones often."""
    if kind == "sums":
        return rng.choices((1, 2, 3, 4), (30, 30, 22, 18))[0]
    if kind == "records":
        return rng.randint(2, 4)
    return rng.choices((2, 3, 5, 6), (0.1, 0.3, 49.6, 50))[0]


def _turns(rng: Random) -> list[Turn]:
    """A short sum told in turns, each answered with what is known so far."""
    problem = drawn("sums", rng.randint(1, 2), rng, held=False)
    first, *rest, asks = problem.text.replace(". ", ".|").split("|")
    steps = problem.steps.split(", ")
    known = first.split()[2]
    turns = [("system", TOLD["free"]), ("user", asks), ("assistant", "Answer: ?")]
    turns += [("user", first), ("assistant", f"Answer: {known}")]
    for number, each in enumerate(rest, 1):
        done = ", ".join(steps[:number])
        turns += [("user", each), ("assistant", f"{done}\nAnswer: {done.rsplit('=', 1)[1]}")]
    return turns


def tokens_of(turns: list[Turn], vocabulary: Vocabulary) -> tuple[list[int], list[bool]]:
    """The tokens of a conversation, and which of them the model is to write."""
    marks = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
    found: list[int] = []
    learnt: list[bool] = []
    for role, text in turns:
        body = vocabulary.encode(text) + ([END] if role == "assistant" else [])
        found += [marks[role], *body]
        learnt += [False] + [role == "assistant"] * len(body)
    return found, learnt


def batches(vocabulary: Vocabulary, rng: Random) -> Iterator[tuple[Any, Any, Any]]:
    """Batches without end: inputs, targets and where a target counts. Examples of like length go together."""
    while True:
        drawn_ = [tokens_of(example(rng), vocabulary) for _ in range(BATCH * BUCKET)]
        drawn_.sort(key=lambda each: len(each[0]))
        groups = [drawn_[at : at + BATCH] for at in range(0, len(drawn_), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(tokens) for tokens, _ in group)
            ids = np.zeros((len(group), longest), dtype=np.int64)
            counts = np.zeros((len(group), longest), dtype=bool)
            for row, (tokens, learnt) in enumerate(group):
                ids[row, : len(tokens)], counts[row, : len(tokens)] = tokens, learnt
            yield ids[:, :-1], ids[:, 1:], counts[:, 1:]


def fresh(size: int, seed: int) -> dict[str, Array]:
    """Weights before training."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float) -> Array:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    made = {"embed": normal(size, WIDTH, scale=0.1), "last": np.ones(WIDTH, np.float32)}
    made["before"] = np.full(WIDTH, 0.3, np.float32)
    for layer in range(LAYERS):
        made |= {
            f"{layer}.norm1": np.ones(WIDTH, np.float32),
            f"{layer}.norm2": np.ones(WIDTH, np.float32),
            f"{layer}.qkv": normal(WIDTH, 3 * WIDTH, scale=WIDTH**-0.5),
            f"{layer}.out": normal(WIDTH, WIDTH, scale=WIDTH**-0.5 / (2 * LAYERS) ** 0.5),
            f"{layer}.up": normal(WIDTH, HIDDEN, scale=(2 / WIDTH) ** 0.5),
            f"{layer}.down": normal(HIDDEN, WIDTH, scale=HIDDEN**-0.5 / (2 * LAYERS) ** 0.5),
        }
    return made


def _rotation(length: int) -> tuple[Array, Array]:
    half = WIDTH // HEADS // 2
    angle = np.outer(np.arange(length), ROTATION ** (-np.arange(half) / half))
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate((a * cos - b * sin, a * sin + b * cos), axis=-1)


def _norm(x: Array, gain: Array) -> tuple[Array, Array, Array]:
    inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    unit = x * inverse
    return unit * gain, unit, inverse


def _norm_back(d: Array, unit: Array, inverse: Array, gain: Array) -> tuple[Array, Array]:
    dg = (d * unit).reshape(-1, d.shape[-1]).sum(0)
    d = d * gain
    return inverse * (d - unit * (d * unit).mean(-1, keepdims=True)), dg


def _heads(x: Array) -> Array:
    b, t, _ = x.shape
    return np.ascontiguousarray(x.reshape(b, t, HEADS, -1).transpose(0, 2, 1, 3))


def _joined(x: Array) -> Array:
    b, h, t, d = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, t, h * d)


def _layer(w: dict[str, Array], n: int, x: Array, cos: Array, sin: Array, mask: Array) -> tuple[Array, tuple[Any, ...]]:
    n1, u1, i1 = _norm(x, w[f"{n}.norm1"])
    q, k, v = (_heads(each) for each in np.split(n1 @ w[f"{n}.qkv"], 3, axis=-1))
    q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
    p = q @ k.swapaxes(-1, -2)
    p *= np.float32((WIDTH // HEADS) ** -0.5)
    p += mask
    p -= p.max(-1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(-1, keepdims=True)
    o = _joined(p @ v)
    x1 = x + o @ w[f"{n}.out"]
    n2, u2, i2 = _norm(x1, w[f"{n}.norm2"])
    h = np.maximum(n2 @ w[f"{n}.up"], 0)
    return x1 + h @ w[f"{n}.down"], (n1, u1, i1, q, k, v, p, o, n2, u2, i2, h)


def _flat(a: Array, b: Array) -> Array:
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def _layer_back(
    w: dict[str, Array], g: dict[str, Array], n: int, d: Array, kept: tuple[Any, ...], cos: Array, sin: Array
) -> Array:
    n1, u1, i1, q, k, v, p, o, n2, u2, i2, h = kept
    g[f"{n}.down"] = _flat(h, d)
    dh = (d @ w[f"{n}.down"].T) * (h > 0)
    g[f"{n}.up"] = _flat(n2, dh)
    dx, g[f"{n}.norm2"] = _norm_back(dh @ w[f"{n}.up"].T, u2, i2, w[f"{n}.norm2"])
    d = d + dx
    g[f"{n}.out"] = _flat(o, d)
    do = _heads(d @ w[f"{n}.out"].T)
    dv = p.swapaxes(-1, -2) @ do
    dp = do @ v.swapaxes(-1, -2)
    dp -= (dp * p).sum(-1, keepdims=True)
    dp *= p
    dp *= np.float32((WIDTH // HEADS) ** -0.5)
    dq, dk = _rotate(dp @ k, cos, -sin), _rotate(dp.swapaxes(-1, -2) @ q, cos, -sin)
    dqkv = np.concatenate([_joined(each) for each in (dq, dk, dv)], axis=-1)
    g[f"{n}.qkv"] = _flat(n1, dqkv)
    dx, g[f"{n}.norm1"] = _norm_back(dqkv @ w[f"{n}.qkv"].T, u1, i1, w[f"{n}.norm1"])
    return d + dx


def gradients(w: dict[str, Array], ids: Any, targets: Any, counts: Any) -> tuple[float, float, dict[str, Array]]:
    """The mean loss over the tokens that count, the share of them that is right, and the gradients."""
    length = ids.shape[1]
    cos, sin = _rotation(length)
    mask = np.triu(np.full((length, length), -1e9, np.float32), 1)
    seen = w["embed"][ids]
    earlier = np.concatenate((np.zeros_like(seen[:, :1]), seen[:, :-1]), axis=1)
    x, kept = seen + w["before"] * earlier, []
    for n in range(LAYERS):
        x, each = _layer(w, n, x, cos, sin, mask)
        kept.append(each)
    y, unit, inverse = _norm(x, w["last"])
    rows, wanted = y[counts], targets[counts]
    logits = rows @ w["embed"].T
    logits -= logits.max(-1, keepdims=True)
    p = np.exp(logits)
    p /= p.sum(-1, keepdims=True)
    at = np.arange(len(wanted))
    loss = float(-np.log(p[at, wanted] + 1e-9).mean())
    right = float((p.argmax(-1) == wanted).mean())
    p[at, wanted] -= 1
    p /= len(wanted)
    g: dict[str, Array] = {}
    dembed = p.T @ rows
    dy = np.zeros_like(y)
    dy[counts] = p @ w["embed"]
    d, g["last"] = _norm_back(dy, unit, inverse, w["last"])
    for n in reversed(range(LAYERS)):
        d = _layer_back(w, g, n, d, kept[n], cos, sin)
    g["before"] = (d * earlier).reshape(-1, WIDTH).sum(0)
    d[:, :-1] += w["before"] * d[:, 1:]
    np.add.at(dembed, ids.reshape(-1), d.reshape(-1, WIDTH))
    g["embed"] = dembed
    return loss, right, g


def train(steps: int, seed: int, say: Any = print) -> tuple[dict[str, Array], Vocabulary]:
    """AdamW with a warm-up and a cosine down to a twentieth; gradients are clipped to a norm of one."""
    vocabulary = Vocabulary(PIECES)
    w = fresh(len(vocabulary), seed)
    m = {name: np.zeros_like(each) for name, each in w.items()}
    v = {name: np.zeros_like(each) for name, each in w.items()}
    feed = batches(vocabulary, Random(seed))
    began, loss_, right_ = time.monotonic(), 0.0, 0.0
    for step in range(1, steps + 1):
        loss, right, g = gradients(w, *next(feed))
        norm = sum(float((each * each).sum()) for each in g.values()) ** 0.5
        clip = min(1.0, 1.0 / (norm + 1e-9))
        rate = PEAK * min(step / WARM, 0.05 + 0.475 * (1 + np.cos(np.pi * step / steps)))
        for name, each in g.items():
            each = each * np.float32(clip)
            m[name] += np.float32(0.1) * (each - m[name])
            v[name] += np.float32(0.02) * (each * each - v[name])
            move = (m[name] / (1 - 0.9**step)) / (np.sqrt(v[name] / (1 - 0.98**step)) + 1e-8)
            if w[name].ndim == 2 and name != "embed":
                move += 0.05 * w[name]
            w[name] -= np.float32(rate) * move.astype(np.float32)
        loss_, right_ = loss_ * 0.98 + loss * 0.02, right_ * 0.98 + right * 0.02
        if step % 100 == 0 or step == steps:
            seen, took = 1 - 0.98**step, time.monotonic() - began
            say(f"{step} of {steps}: loss {loss_ / seen:.4f}, right {right_ / seen:.4f}, {took:.0f} s", flush=True)
    return w, vocabulary


def save(out: Path, w: dict[str, Array], steps: int, seed: int) -> str:
    """Write the weights as float16 with what made them; returns the file's digest."""
    about = {
        "name": "lab-tiny",
        "licence": "Apache-2.0, The Watchkeeper authors; trained on generated text alone",
        "recipe": f"scripts/train_small_model.py --steps {steps} --seed {seed}",
        "parameters": int(sum(each.size for each in w.values())),
        "width": WIDTH, "layers": LAYERS, "heads": HEADS, "rotation": ROTATION,
        "pieces": list(PIECES),
    }  # fmt: skip
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez_compressed(out, about=text, **{name: each.astype(np.float16) for name, each in sorted(w.items())})
    return hashlib.sha256(out.read_bytes()).hexdigest()


def main() -> None:
    """Train, write, and say the digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    w, _ = train(chosen.steps, chosen.seed)
    digest = save(chosen.out, w, chosen.steps, chosen.seed)
    print(f"{chosen.out}: {chosen.out.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
