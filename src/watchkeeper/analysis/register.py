"""Tells in which register a text speaks to its reader: formal, informal, both, or with no mark of either.

By rule, from the grammar of address in seven languages: the pronouns, possessives and verb forms that belong to one
way of
addressing a person (German Sie and du, French vous and tu, Spanish usted and tú, Italian Lei and tu, Russian вы and
ты), and the endings of sentences (Japanese です/ます against plain forms, Korean 합니다/해요 against plain and intimate
forms). The tables are in `register_forms`. Nothing was fitted to data.

Limits: a text may address its reader without any marked word, or nobody; that is "unmarked", never one of the two.
French
and Russian plural you, Italian Lei ("she") and German Sie at the head of a sentence ("they", "she") look formal or
are left open, as the tables say. Spanish su and le and
Italian suo are read as your although they are his and her as well. Imperatives are known only where their form is
unmistakable. Quoted speech is not told apart.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from watchkeeper.analysis.register_forms import FORMS

Register = Literal["formal", "informal", "mixed", "unmarked"]
LANGUAGES = tuple(sorted(FORMS))


class Reading(msgspec.Struct, frozen=True):
    """The register of a text, and the marks of each kind in it, as written."""

    register: Register
    formal: tuple[str, ...] = ()
    informal: tuple[str, ...] = ()


def read_register(text: str, language: str) -> Reading:
    """Read a text in a language (`de`, or a tag such as `de-AT`); raises `ValueError` for one without a table."""
    name = language.replace("_", "-").partition("-")[0].lower()
    if name not in FORMS:
        raise ValueError(f"there are no register rules for {language!r}; known are: {', '.join(LANGUAGES)}")
    formal, informal = (tuple(found[0].strip() for found in re.finditer(form, text)) for form in FORMS[name])
    register: Register = "unmarked"
    if formal or informal:
        register = "mixed" if formal and informal else "formal" if formal else "informal"
    return Reading(register, formal, informal)
