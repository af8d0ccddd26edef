"""Knows a refusal by its beginning, in ten languages.

Nothing was fitted to data. Limits: one in other words, or after a long preamble, is not known; a first sentence that
says what cannot be done for another reason ("I cannot find parcel 7") is taken for a refusal.
"""

from __future__ import annotations

import re

_BEGINS = re.compile(
    r"\W*(i['’]m sorry|i am sorry|sorry,|i can(no|['’])t|i['’]m (not able|unable)|i am (not able|unable)|i won['’]t"
    r"|as an ai\b|unfortunately,? i can)",
    re.IGNORECASE,
)
_LONGEST = 2_000
_WITHIN = 160
"""Characters of the beginning in which a refusal says that it is one."""

_NOT = r"[^.!?]{0,90}\b(?:nicht|keine?n?)\b"
_REFUSES = {
    "de": rf"\b(?:ich|wir) (?:kann|können|darf|dürfen|werde|möchte)\b{_NOT}"
    rf"|\b(?:dabei|damit|das|dies|hierbei|leider) (?:kann|können|darf|dürfen) (?:ich|wir)\b{_NOT}"
    r"|\bist (?:es )?mir (?:leider )?nicht (?:möglich|erlaubt)",
    "en": r"\bi (?:can(?:no|['’])t|can not|won['’]t|will not|must decline)\b"
    r"|\bi(?: am|['’]m) (?:unable|not able|not allowed)\b"
    r"|\bi (?:do not|don['’]t) feel comfortable|\bnot able to (?:help|assist)",
    "es": r"\bno (?:me es posible|puedo|podemos|podré|estoy (?:autorizad|en condiciones))|\bno est[áa] permitido",
    "fr": r"\b(?:je|nous) ne (?:peux|pouvons|pourrai|puis) pas\b|\bil m['’]est impossible"
    r"|\bje ne suis pas (?:en mesure|autoris)",
    "it": r"\bnon (?:posso|possiamo|mi è possibile|sono in grado|sono autorizzat)",
    "ja": r"(?:お(?:答え|手伝い|応え)|ご(?:案内|提供|回答|対応|協力))(?:することが|は|が|を)?"
    r"(?:でき(?:ません|ず|かねます)|いたしかねます|致しかねます)"
    r"|お断り|応じ(?:られません|かねます)|控えさせて",
    "ko": r"(?:도와|답변|대답|제공해?|안내해?|알려|말씀)[^.]{0,6}(?:드릴 수 없|드리기 어렵|수 없습니다)|거절",
    "pt": r"\bnão (?:posso|podemos|me é possível|consigo|estou autorizad)",
    "ru": r"\b(?:я|мы) не (?:могу|можем|смогу|имею права|вправе)"
    r"|\bне (?:могу|можем) (?:вам )?(?:помочь|ответить|предоставить)",
    "zh": r"(?:不能|无法|無法|不可以|不便)(?:为您|为你|帮|回答|协助|回應|回应|说|說)"
    r"|(?:我|我们)(?:不能|无法|無法|不可以|不便)",
}
_COMPILED = {language: re.compile(pattern, re.IGNORECASE) for language, pattern in _REFUSES.items()}
LANGUAGES = tuple(sorted(_REFUSES))


def begins_as_refusal(text: str) -> bool:
    """Whether a text of at most 2,000 characters begins as refusals do in English."""
    return len(text) <= _LONGEST and _BEGINS.match(text) is not None


def refuses(text: str, language: str) -> bool:
    """Whether a reply says within its first sentences that it will not do what was asked.

    An apology alone is none ("Es tut mir leid, dass das Paket spät kommt"). `language` may be a tag (`de-AT`); raises
    `ValueError` for one without rules.
    """
    name = language.replace("_", "-").partition("-")[0].lower()
    if name not in _COMPILED:
        raise ValueError(f"there are no rules of refusal for {language!r}; known are: {', '.join(LANGUAGES)}")
    return len(text) <= _LONGEST and _COMPILED[name].search(text[:_WITHIN]) is not None
