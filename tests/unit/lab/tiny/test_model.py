"""The weights are the ones that were shipped, and reading on gives what reading at once gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from watchkeeper.lab.tiny.model import CONTEXT, SHA256, WEIGHTS, TinyError, loaded, shipped

MOST_BYTES = 400_000


def test_the_shipped_weights_have_their_digest_and_are_small() -> None:
    model = shipped()
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    assert model.about["parameters"] == sum(each.size for each in model.weights.values())
    assert model.about["licence"].startswith("Apache-2.0")
    assert "--seed" in model.about["recipe"]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(WEIGHTS.read_bytes() + b"x")
    with pytest.raises(TinyError, match="another file"):
        loaded(other, SHA256)
    with pytest.raises(TinyError, match="cannot be read"):
        loaded(tmp_path / "none.npz", SHA256)


def test_reading_token_by_token_gives_what_reading_at_once_gives() -> None:
    model = shipped()
    prompt = model.vocabulary.prompt([{"role": "user", "content": "Ann has 9 pens. Gets 2. How many?"}])
    at_once = model.start().read(prompt)
    slowly = model.start()
    for token in prompt:
        logits = slowly.read([token])
    assert np.allclose(at_once, logits, atol=1e-3)


def test_training_reads_as_inference_does_and_two_trainings_with_a_seed_are_the_same() -> None:
    from scripts.train_small_model import gradients, tokens_of, train

    def quiet(*_: object, **__: object) -> None:
        """Says nothing."""

    (one, vocabulary), (other, _) = train(2, 7, quiet), train(2, 7, quiet)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    model = shipped()
    tokens, learnt = tokens_of([("user", "Spell plums backwards."), ("assistant", "smulp")], vocabulary)
    ids, counts = np.array([tokens]), np.array([learnt])
    loss, _, _ = gradients(model.weights, ids[:, :-1], ids[:, 1:], counts[:, 1:])
    reading, found = model.start(), []
    for at, token in enumerate(tokens[:-1]):
        logits = reading.read([token]).astype(np.float64)
        if learnt[at + 1]:
            found.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[tokens[at + 1]])
    assert loss == pytest.approx(float(np.mean(found)), rel=1e-3)


def test_more_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context"):
        shipped().start().read([5] * (CONTEXT + 1))
