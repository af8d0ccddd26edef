"""Finds what in a request hangs on the model that it was written for, before another model shows it.

- fence: the prompt shows or asks for code fences, or a parser takes them off: whether a model fences is its habit;
- matched phrase: the prompt dictates words that a parser then looks for ("Final Answer:");
- stop string: `stop` cuts where one model happens to write a text;
- lenient schema: JSON is asked for in words alone, or without a schema that is enforced, so that it fits by habit;
- model's own: chat-template tokens, a prefilled answer, token ids in `logit_bias`, the name of a model.

Limits: words in English; a find is a place to look at. Whether it matters is what the migration's matrix measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from watchkeeper.records.record import Record

HabitKind = Literal["fence", "matched phrase", "stop string", "lenient schema", "model's own"]
_FENCED = re.compile(r"```|triple[- ]backticks?|code (?:fence|block)s?\b", re.I)
_PHRASE = re.compile(
    r"(?:(?:begin|start|end|finish|prefix|respond|reply|answer|say|write|output|print|return)\b[^.\n]{0,60}?"
    r"[\"“`'](?P<quoted>[A-Z#<\[][^\"”`'\n]{1,40})[\"”`'])"
    r"|^\s*(?P<label>(?:Final Answer|Answer|Thought|Action|Action Input|Observation|Result|Verdict|Label|Score)):",
    re.M,
)
_JSON = re.compile(r"\bjson\b", re.I)
_TEMPLATE = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|<<SYS>>|</?s>|\n\n(?:Human|Assistant):|<(?:start|end)_of_turn>", re.I)
_NAMED = re.compile(r"\b(?:ChatGPT|GPT-?\d[\w.-]*|Claude(?: \d[\w.]*)?|Gemini|Llama[- ]?\d?|Mistral|DeepSeek|Qwen)\b")
_OUTPUT = re.compile(r"\b(?:reply|respond|return|answer|output|format|produce|write|only|valid|use)\b", re.I)
_SHOWN = 60


class Habit(Record):
    """One find: its kind, where it stands, the text in question and why it may not travel."""

    kind: HabitKind
    place: str
    text: str
    why: str


def habits(
    messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], unfences: bool = False
) -> tuple[Habit, ...]:
    """What one request hangs on. `unfences` tells that its output is parsed after a fence was taken off."""
    return (*_of_text(messages, parameters), *_of_parameters(parameters), *_of_parsers(unfences))


def _of_text(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Iterator[Habit]:
    form = parameters.get("response_format")
    for index, message in enumerate(messages):
        role, text = str(message.get("role")), _text(message.get("content"))
        place = f"messages[{index}] ({role})"
        if role == "assistant" and index == len(messages) - 1 and text:
            yield _habit(
                "model's own", place, text, "The answer is begun for the model, and not every interface allows it."
            )
        template = _TEMPLATE.search(text)
        if template is not None:
            yield _habit(
                "model's own", place, template.group(), "A chat template's own mark means something to one model."
            )
        if role not in ("system", "developer"):
            continue
        fenced = _FENCED.search(text)
        if fenced is not None:
            yield _habit("fence", place, _line(text, fenced.start()), "Whether an answer is fenced is a model's habit.")
        phrase = _PHRASE.search(text)
        if phrase is not None:
            said = phrase["quoted"] or phrase["label"]
            yield _habit(
                "matched phrase", place, said, "A parser that looks for these words depends on one model's way."
            )
        asked = next((m for m in _JSON.finditer(text) if _OUTPUT.search(_line(text, m.start()))), None)
        if asked is not None and form is None:
            line = _line(text, asked.start())
            yield _habit(
                "lenient schema", place, line, "JSON is asked for in words alone; send a schema with the request."
            )
        named = _NAMED.search(text)
        if named is not None:
            yield _habit("model's own", place, named.group(), "The prompt names a model.")


def _of_parameters(parameters: Mapping[str, Any]) -> Iterator[Habit]:
    for name in ("stop", "stop_sequences"):
        if parameters.get(name):
            why = "It cuts where one model writes this; another may write it elsewhere, or never."
            yield _habit("stop string", f"parameters.{name}", str(parameters[name]), why)
    if parameters.get("logit_bias"):
        why = "Token ids are of one tokenizer."
        yield _habit("model's own", "parameters.logit_bias", str(parameters["logit_bias"]), why)
    form = parameters.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_object":
        why = "Any JSON fits; which fields come is a habit. Send a schema."
        yield _habit("lenient schema", "parameters.response_format", "json_object", why)
    if kind == "json_schema" and isinstance(form, Mapping):
        described = form.get("json_schema")
        if not (isinstance(described, Mapping) and described.get("strict") is True):
            why = "The schema is not strict, so that it is advice."
            yield _habit("lenient schema", "parameters.response_format", "strict is not true", why)
    tools = parameters.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and function.get("strict") is not True:
            why = "Arguments need not fit the tool's schema."
            place = f"parameters.tools[{index}]"
            yield _habit("lenient schema", place, f"{function.get('name')}: strict is not true", why)


def _of_parsers(unfences: bool) -> Iterator[Habit]:
    if unfences:
        why = "The parser takes a fence off; where it cannot, it repaired one model's habit."
        yield _habit("fence", "scorers", "unfence", why)


def _habit(kind: HabitKind, place: str, text: str, why: str) -> Habit:
    line = " ".join(text.split())
    return Habit(kind=kind, place=place, text=line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...", why=why)


def _line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return text[text.rfind("\n", 0, at) + 1 : len(text) if end < 0 else end]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
