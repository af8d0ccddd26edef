"""How French addresses a person: tu against vous.

Vous is formal by its form, though it is also the plural of tu. Words that only look like the address are left out:
the noun rendez-vous, chez and assez, names in -ez, tu as the participle of taire (il s'est tu), ton as a noun (le ton).
What tu is asked to do is known where a pronoun is joined to it (dis-moi), where ne stands without a subject (n'oublie
pas), and for verbs whose form has no other reading at the head of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchkeeper.analysis.address.words import Evidence, Sentence, listed

_VOUS = listed("vous votre vos vôtre vôtres")
_TU = listed("toi te ta tes tien tienne tiens tiennes t' t’ stp") - {"tiens"}
_NOT_VOUS = listed("chez assez nez rez lez lèz merguez raz")
_TAIRE = listed("est suis es était étais étaient été être a avait ont ayant s'est étant soit sera sont c' s' c’ s’")
_TON_NOUN = listed("le un ce du même bon quel au son mon demi autre")
_AFTER_TON_NOUN = listed("de du d' d’ et ou est sur pour que qui dans avec monte") | {""}
_MAY_VOUS = listed("dites faites redites refaites")
_JOINED = listed("moi toi le la les lui leur y en")
_LET_TU = listed(
    "viens prends passe dis fais va attends écoute appelle envoie donne regarde imagine tiens vois arrête"
    " laisse excuse pardonne essaie essaye oublie pense rappelle réponds choisis clique mets ouvre lis écris"
    " continue profite cherche vérifie suis reviens sois aie sache explique"
)
_NOT_DO = listed(
    "hésite oublie fais dis va sois aie prends crois attends laisse touche ouvre bouge perds reste viens"
    " mets rate manque"
    " pleure bois mange pars regarde écoute réponds parle pense cherche donne envoie appelle rends"
)
_SHARED = listed(
    "va dis fais suis donne regarde cherche demande continue profite vois pense mets lis écris laisse essaie essaye"
)
_NOT_ASKED = listed("pas plus jamais rien personne guère")
_NOT_TU_JOINED = listed(
    "puis ai suis dois peux vais est sont a ont peut doit fait dit veut va sera serait aurait avons sommes"
    " soit être non oui c' ce celui"
)


def marks(sentence: Sentence) -> Iterator[Evidence]:
    """The marks of address in a sentence."""
    for index, word in enumerate(sentence.words):
        low, before = word.low, sentence.low(index - 1)
        hyphen = index > 0 and word.gap == "-"
        if low in _VOUS:
            if not (hyphen and before in ("rendez", "à")):
                yield sentence.mark(index, "formal", 1.0, "pronoun or possessive of vous")
        elif low == "tu":
            if (hyphen or before not in _TAIRE) and not sentence.stands_out(index):
                yield sentence.mark(index, "informal", 1.0, "pronoun or possessive of tu")
        elif (
            low in _TU
            or (low == "ton" and not _tone(sentence, index))
            or (low == "tiens" and before in ("les", "des", "aux"))
        ):
            if not sentence.stands_out(index) and word.gap != "_" and not _slash(sentence, index):
                yield sentence.mark(index, "informal", 1.0, "pronoun or possessive of tu")
        elif (
            (low.endswith("ez") and len(low) > 3) or low == "êtes" or (low in _MAY_VOUS and (index == 0 or word.opens))
        ):
            named = index > 0 and word.capital and not word.text.isupper()
            following = sentence.words[index + 1] if index + 1 < len(sentence.words) else None
            noun = low == "rendez" and following is not None and following.low == "vous" and following.gap == "-"
            if low not in _NOT_VOUS and not named and not noun:
                yield sentence.mark(index, "formal", 1.0, "verb of vous")
        else:
            yield from _asked(sentence, index)


def _tone(sentence: Sentence, index: int) -> bool:
    """Whether ton is the noun: after an article, or with nothing after it that it could belong to."""
    if sentence.low(index - 1) in _TON_NOUN and sentence.words[index - 1].gap != "-":
        return True
    after = sentence.low(index + 1)
    return after in _AFTER_TON_NOUN or sentence.words[index + 1].opens


def _slash(sentence: Sentence, index: int) -> bool:
    """Whether the word is the t of a-t-il, or a Latin te (Te Deum)."""
    if sentence.low(index)[:2] in ("t'", "t’") and sentence.low(index + 1) in ("il", "elle", "on", "ils", "elles"):
        return True
    return sentence.low(index + 1) == "deum" or (sentence.low(index) == "te" and sentence.words[index].text == "TE")


def _asked(sentence: Sentence, index: int) -> Iterator[Evidence]:
    """What tu is asked to do."""
    word, before, after = sentence.words[index], sentence.low(index - 1), sentence.low(index + 1)
    joined = index + 1 < len(sentence.words) and sentence.words[index + 1].gap == "-" and after in _JOINED
    opens = index == 0 or word.opens or before in ("et", "puis", "alors", "donc", "mais")
    if (
        joined
        and after in ("moi", "le", "la", "lui", "leur", "y", "les", "en")
        and opens
        and word.low not in _NOT_TU_JOINED
    ):
        if (
            word.low.endswith(("e", "s", "a", "ds", "ts"))
            and not word.low.endswith(("ons", "ez", "tes"))
            and sentence.low(index + 2) not in ("même", "ci", "là")
        ):
            yield sentence.mark(
                index, "informal", 1.0 if after in ("moi", "y", "en") else 0.7, "what tu is asked to do, with a pronoun"
            )
    elif (
        before in ("ne", "n'", "n’")
        and index == 1
        and sentence.words[0].capital
        and after in _NOT_ASKED
        and (word.low.endswith(("e", "s")) or word.low == "va")
        and not word.low.endswith("ons")
    ):
        weight = 0.8 if word.low in _NOT_DO else 0.4
        yield sentence.mark(index, "informal", weight, "what tu is asked not to do", first=index - 1)
    elif (
        word.low in _LET_TU
        and index == 0
        and not sentence.question
        and after not in ("je", "il", "elle", "on", "nous", "ça", "bien")
    ):
        yield sentence.mark(
            index,
            "informal",
            0.4 if not word.capital else 0.5 if word.low in _SHARED else 0.6,
            "what tu is asked to do",
        )
