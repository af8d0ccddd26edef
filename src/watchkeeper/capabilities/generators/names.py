"""Puts other people into a question: names of many scripts and cultures, with honorifics and in both orders.

Problem
    Examples hold the names that their authors think of. A system that reads a name's script, length or order decides
    otherwise for people who are not in the examples.

Method
    Wherever one of `replace` (or the placeholder `{name}`) stands, another name is put, the same one throughout a case:
    drawn from a table of common given and family names of eighteen cultures in nine scripts. `cultures` narrows the
    table. `forms` says how it is written: `usual` in the culture's own order, `turned` in the other one, `honorific`
    with the culture's form of address. From each case `count` new ones for each form. Attributes name culture and form.

Limits
    A handful of names for each culture: enough to see a dependence on script and form, not to speak for anybody. A text
    whose pronouns or grammar agree with the first name may end up ungrammatical. Only the last user message is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case

Form = Literal["usual", "turned", "honorific"]


class _Culture(NamedTuple):
    given: tuple[str, ...]
    family: tuple[str, ...]
    family_first: bool
    address: str
    blank: str = " "


_CULTURES = {
    "arabic": _Culture(("محمد", "فاطمة", "ليلى"), ("الحسن", "منصور"), False, "السيد/ة {family}"),
    "brazilian": _Culture(("João", "Beatriz"), ("da Silva", "Gonçalves"), False, "Sr(a). {family}"),
    "chinese": _Culture(("伟", "秀英", "敏"), ("王", "李", "欧阳"), True, "{family}先生/女士", ""),
    "english": _Culture(("Emma", "Jack", "Olivia"), ("Clark", "Smith-Jones"), False, "Dr {family}"),
    "ethiopian": _Culture(("አበበ", "ሰላም"), ("ከበደ", "ተስፋዬ"), False, "አቶ/ወ/ሮ {given}"),
    "french": _Culture(("Élodie", "Jean-Luc"), ("Lefèvre", "d'Arcy"), False, "M./Mme {family}"),
    "german": _Culture(("Jürgen", "Katharina"), ("Müller", "von der Heide"), False, "Herr/Frau {family}"),
    "greek": _Culture(("Γιώργος", "Ελένη"), ("Παπαδόπουλος", "Νικολάου"), False, "κ. {family}"),
    "hindi": _Culture(("प्रिया", "अर्जुन"), ("शर्मा", "वर्मा"), False, "श्री/श्रीमती {family}"),
    "hungarian": _Culture(("Zsófia", "László"), ("Szűcs", "Nagy"), True, "{family} úr/asszony"),
    "icelandic": _Culture(("Þórunn", "Björk"), ("Guðmundsdóttir", "Jónsdóttir"), False, "{given}"),
    "indonesian": _Culture(("Suharto", "Dewi"), ("", ""), False, "Bapak/Ibu {given}"),
    "japanese": _Culture(("翔太", "さくら"), ("佐藤", "五十嵐"), True, "{family}様", " "),
    "korean": _Culture(("지훈", "서연"), ("김", "남궁"), True, "{family}{given} 님", ""),
    "nigerian": _Culture(("Chukwuemeka", "Ngozi"), ("Okonkwo", "Adébáyọ̀"), False, "Chief {family}"),
    "russian": _Culture(("Дмитрий", "Ольга"), ("Иванченко", "Шевченко"), False, "г-н/г-жа {family}"),
    "spanish": _Culture(("María José", "Íñigo"), ("García Márquez", "Núñez"), False, "Sr./Sra. {family}"),
    "vietnamese": _Culture(("Thị Hương", "Văn Minh"), ("Nguyễn", "Trần"), True, "anh/chị {given}"),
}


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Other people's names; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="names", version="1", theme="quality", summary="Puts names of many scripts and cultures into a question."
    )

    replace: Annotated[tuple[str, ...], Meta(description="The names to put others for, beside {name}.")] = ()
    cultures: Annotated[tuple[str, ...], Meta(description="The cultures to draw from; none means all.")] = ()
    forms: Annotated[tuple[Form, ...], Meta(min_length=1, description="How names are written.")] = ("usual",)
    count: Annotated[int, Meta(ge=1, le=100, description="New cases for each case and form.")] = 5

    def __post_init__(self) -> None:
        """Refuse a culture that is not in the table; raises `ValueError`."""
        for name in self.cultures:
            if name not in _CULTURES:
                raise ValueError(f"there are no names for {name!r}; known are: {', '.join(_CULTURES)}")

    def generate(self, cases: Iterable[Case], rng: Random) -> Iterator[Case]:
        """Yield the cases with other names, in the order of the cases; the same `rng` gives the same ones."""
        known = self.cultures or tuple(_CULTURES)
        for case in cases:
            text, number = asked_text(case.messages), 0
            stood = [each for each in (*self.replace, "{name}") if text is not None and each and each in text]
            if text is None or not stood:
                continue
            for form in self.forms:
                for _ in range(self.count):
                    culture = rng.choice(known)
                    name = _written(_CULTURES[culture], form, rng)
                    changed = text
                    for each in stood:
                        changed = changed.replace(each, name)
                    if changed != text:
                        yield child(case, with_text(case.messages, changed), "names", f"{culture}/{form}", number)
                        number += 1


def _written(culture: _Culture, form: str, rng: Random) -> str:
    given, family = rng.choice(culture.given), rng.choice(culture.family)
    if form == "honorific":
        return culture.address.format(given=given, family=family)
    first = culture.family_first != (form == "turned")
    return culture.blank.join(part for part in ((family, given) if first else (given, family)) if part)
