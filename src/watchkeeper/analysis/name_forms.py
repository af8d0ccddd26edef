"""How people are named: common names of many cultures to try, and the order and forms of address of languages.

Limits: a handful of names for each culture, enough to see a dependence on script and form, not to speak for anybody.
The forms of address are the usual ones; ranks and titles beyond them are not known. A Chinese, Japanese or Korean name
of one sign is known alone only before a form of address, for it is part of many words.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Form = Literal["usual", "turned", "honorific"]


class Culture(NamedTuple):
    """Given and family names, their order, a form of address, and what stands between two names."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    family_first: bool
    address: str
    blank: str = " "


CULTURES = {
    "arabic": Culture(("محمد", "فاطمة", "ليلى"), ("الحسن", "منصور"), False, "السيد/ة {family}"),
    "brazilian": Culture(("João", "Beatriz"), ("da Silva", "Gonçalves"), False, "Sr(a). {family}"),
    "chinese": Culture(("伟", "秀英", "敏"), ("王", "李", "欧阳"), True, "{family}先生/女士", ""),
    "english": Culture(("Emma", "Jack", "Olivia"), ("Clark", "Smith-Jones"), False, "Dr {family}"),
    "ethiopian": Culture(("አበበ", "ሰላም"), ("ከበደ", "ተስፋዬ"), False, "አቶ/ወ/ሮ {given}"),
    "french": Culture(("Élodie", "Jean-Luc"), ("Lefèvre", "d'Arcy"), False, "M./Mme {family}"),
    "german": Culture(("Jürgen", "Katharina"), ("Müller", "von der Heide"), False, "Herr/Frau {family}"),
    "greek": Culture(("Γιώργος", "Ελένη"), ("Παπαδόπουλος", "Νικολάου"), False, "κ. {family}"),
    "hindi": Culture(("प्रिया", "अर्जुन"), ("शर्मा", "वर्मा"), False, "श्री/श्रीमती {family}"),
    "hungarian": Culture(("Zsófia", "László"), ("Szűcs", "Nagy"), True, "{family} úr/asszony"),
    "icelandic": Culture(("Þórunn", "Björk"), ("Guðmundsdóttir", "Jónsdóttir"), False, "{given}"),
    "indonesian": Culture(("Suharto", "Dewi"), ("", ""), False, "Bapak/Ibu {given}"),
    "japanese": Culture(("翔太", "さくら"), ("佐藤", "五十嵐"), True, "{family}様", " "),
    "korean": Culture(("지훈", "서연"), ("김", "남궁"), True, "{family}{given} 님", ""),
    "nigerian": Culture(("Chukwuemeka", "Ngozi"), ("Okonkwo", "Adébáyọ̀"), False, "Chief {family}"),
    "russian": Culture(("Дмитрий", "Ольга"), ("Иванченко", "Шевченко"), False, "г-н/г-жа {family}"),
    "spanish": Culture(("María José", "Íñigo"), ("García Márquez", "Núñez"), False, "Sr./Sra. {family}"),
    "vietnamese": Culture(("Thị Hương", "Văn Minh"), ("Nguyễn", "Trần"), True, "anh/chị {given}"),
}

FAMILY_FIRST = frozenset(("hu", "ja", "ko", "vi", "zh"))
"""Languages in which the family name is said before the given one."""

_UNPARTED = frozenset(("ja", "ko", "zh"))
"""Languages whose words are not, or not always, parted."""

HONORIFICS: dict[str, tuple[str, str]] = {
    "ar": (r"السيدة?|الأستاذة?|سيدتي|سيدي|د\.|الدكتورة?", ""),
    "de": (r"Herrn?|Frau|Dr\.|Prof\.", ""),
    "el": (r"κ\.|κύριε|κύριος|κυρία", ""),
    "en": (r"Mr\.?|Mrs\.?|Ms\.?|Mx\.?|Miss|Dr\.?|Prof\.?|Sir|Madam", ""),
    "es": (r"Sr\.?|Sra\.?|Srta\.?|señora?|señorita|don|doña|Dra?\.", ""),
    "fr": (r"M\.|Mme|Mlle|Monsieur|Madame|Mademoiselle|Dr|Maître", ""),
    "hi": (r"श्री|श्रीमती|सुश्री|डॉ\.", r"जी"),
    "hu": (r"tisztelt|dr\.", r"úr|asszony|kisasszony"),
    "it": (r"Sig\.(?:ra)?|Signora?|Signorina|Gent\.\w*|Dott\.(?:ssa)?|Dottor(?:essa)?", ""),
    "ja": ("", r"様|さま|さん|氏|先生|殿"),
    "ko": ("", r"님|씨|고객님|선생님"),
    "nl": (r"heer|mevrouw|dhr\.|mevr?\.|dr\.", ""),
    "pt": (r"Sr\.?(?:ª|a\.?)?|Senhora?|Dona|Dra?\.", ""),
    "ru": (r"г-н|г-жа|г-ну|г-же|господину?|госпож[аеуи]|уважаем(?:ый|ая)", ""),
    "tr": (r"Sayın", r"Bey|Hanım"),
    "vi": (r"anh|chị|ông|bà|cô|chú|em", ""),
    "zh": ("", r"先生|女士|小姐|太太|老师|老師"),
}
"""Language to the patterns of what stands before, and of what stands behind, a name that is addressed."""


class Naming(NamedTuple):
    """How a text names somebody: the first place, whether names stand in the language's order, whether addressed.

    `ordered` is None where not both names stand together, `addressed` where the language has no table.
    """

    place: str
    ordered: bool | None
    addressed: bool | None


def language_of(locale: str) -> str:
    """The language of a locale: `de` of `de-AT`."""
    return locale.replace("_", "-").partition("-")[0].lower()


def written(culture: Culture, form: Form, given: str, family: str) -> str:
    """A name as people of a culture write it, turned round, or with a form of address."""
    if form == "honorific":
        return culture.address.format(given=given, family=family)
    first = culture.family_first != (form == "turned")
    return culture.blank.join(part for part in ((family, given) if first else (given, family)) if part)


def naming_in(text: str, given: str, family: str, locale: str) -> Naming | None:
    """How a text in a language names a person; None where it does not."""
    g, f, gap, language = re.escape(given), re.escape(family), r"[\s\u00a0・·]*", language_of(locale)
    both = [f"{f}{gap}{g}", f"{g}{gap}{f}"] if given and family else []
    names = "|".join([*both, *(_alone(name, language) for name in (family, given) if name)])
    edge = r"{}" if language in _UNPARTED and not (given + family).isascii() else r"(?<!\w){}(?!\w)"
    found = re.search(edge.format(f"(?:{names})"), text, re.IGNORECASE) if names else None
    if found is None:
        return None
    ordered: bool | None = None
    if given and family and re.fullmatch(f"{f}{gap}{g}|{g}{gap}{f}", found[0], re.IGNORECASE):
        ordered = (re.match(f, found[0], re.IGNORECASE) is not None) == (language in FAMILY_FIRST)
    return Naming(found[0], ordered, _addressed(text, found, language))


def _alone(name: str, language: str) -> str:
    behind = HONORIFICS[language][1] if language in _UNPARTED and len(name) == 1 else ""
    return re.escape(name) + (rf"(?=\s?(?:{behind}))" if behind else "")


def _addressed(text: str, name: re.Match[str], language: str) -> bool | None:
    if language not in HONORIFICS:
        return None
    before, behind = HONORIFICS[language]
    stands_before = before and re.search(rf"(?<!\w)(?:{before})[\s\u00a0]*$", text[: name.start()], re.IGNORECASE)
    stands_behind = behind and re.match(rf"[\s\u00a0-]*(?:{behind})", text[name.end() :])
    return bool(stands_before or stands_behind)
