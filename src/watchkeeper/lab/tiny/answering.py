"""Answers a chat request with the tiny model, in OpenAI's words: what of a request it obeys, and what it says.

Obeyed: `temperature`, `seed`, `max_tokens`, `stop`, `response_format`, `logprobs` and `top_logprobs`. Log-probabilities
are those of the model at temperature 1, before any mask. OpenAI's shape has no place for what a mask took away, so that
stands beside it in fields of the lab's own, both called `masked_mass`: for a token in its entry of `logprobs.content`,
for the reply, the end included, in `logprobs` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchkeeper.lab.shapes import Drawn, Json, LabError, Reply, Usage
from watchkeeper.lab.speech import ChatRequest, field, wrong
from watchkeeper.lab.tiny.masks import Mask, grammar_of
from watchkeeper.lab.tiny.model import CONTEXT, TinyError, shipped
from watchkeeper.lab.tiny.writing import MOST_TOP, Token, Wanted, write


def tiny_reply(request: ChatRequest) -> Reply:
    """The model's reply; raises `LabError`: a 400 for what cannot be obeyed, a 503 where the model cannot be used."""
    wanted, told = _wanted(request), request.body.get("logprobs") is True
    try:
        model = shipped()
        prompt = model.vocabulary.prompt(request.messages)
        if len(prompt) >= CONTEXT:
            text = f"The prompt has {len(prompt)} tokens; the tiny model takes fewer than {CONTEXT}. Send less."
            raise LabError(400, "context_length_exceeded", text, param="messages")
        grammar = grammar_of(request.body.get("response_format"))
        said = write(model, prompt, wanted, None if grammar is None else Mask(grammar, model.vocabulary))
    except TinyError as error:
        raise LabError(503, "lab_tiny_unavailable", str(error), kind="server_error") from error
    except ValueError as error:
        text = f"The field 'response_format' cannot be kept by this model: {error}."
        raise LabError(400, "invalid_value", text, param="response_format") from error
    return Reply(
        content=said.text,
        cut_short=said.finish == "length",
        usage=Usage(prompt_tokens=len(prompt), completion_tokens=said.count),
        drawn=tuple(Drawn(text=each.text, said=_entry(each)) for each in said.tokens) if told else None,
        masked_mass=said.masked_mass if told else None,
    )


def _wanted(request: ChatRequest) -> Wanted:
    body = request.body
    temperature = _number(body, "temperature", 0, 2)
    top = field(body, "top_logprobs", int) or 0
    if not 0 <= top <= MOST_TOP or (top and body.get("logprobs") is not True):
        raise wrong("top_logprobs", f"0 to {MOST_TOP}, and needs `logprobs` to be true")
    stop = body.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) and each for each in stops):
        raise wrong("stop", "a text, or an array of texts")
    seed = field(body, "seed", int)
    return Wanted(
        temperature=1.0 if temperature is None else temperature,
        seed=None if seed is None else seed % 2**63,
        max_tokens=request.max_tokens,
        stop=tuple(stops),
        top=top,
    )


def _number(body: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise wrong(name, f"a number from {low:g} to {high:g}")
    return float(value)


def _entry(token: Token) -> Json:
    best = [_said(text, logprob) for text, logprob in token.top]
    return {**_said(token.text, token.logprob), "top_logprobs": best, "masked_mass": token.masked_mass}


def _said(text: str | None, logprob: float) -> Json:
    """A token in OpenAI's words; the end of the reply writes nothing and has no bytes."""
    return {
        "token": "<end>" if text is None else text,
        "logprob": logprob,
        "bytes": None if text is None else list(text.encode()),
    }
