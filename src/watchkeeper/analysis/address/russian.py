"""How Russian addresses a person: ты against вы.

Pronouns and possessives in every case are unmistakable. So are the verbs of вы and ты by their endings, but for nouns
that end the same: those in -те stand in the prepositional case after a preposition (на свете, в интернете), where no
verb can stand, or are of a short list of datives; those in -шь are few.

Limits: вы is formal by its form, though it is the plural of ты as well. Imperatives of ты are known where the form is
reflexive, for frequent verbs, and by the ending at the head of a clause.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchkeeper.analysis.address.words import Evidence, Sentence, Side, listed

_VY = listed("вы вас вам вами ваш ваша ваше ваши вашего вашему вашим вашем вашей вашу ваших вашими ваше по-вашему")
_TY = listed(
    "ты тебя тебе тобой тобою твой твоя твоё твое твои твоего твоему твоим твоём твоем твоей твоею твою твоих твоими"
)
_PREPOSITIONS = listed("в во на о об обо при по к ко")
_NOT_TE = listed(
    "вместе дети сети защите элите планете газете диете ракете карете анкете котлете монете конфете комете"
    " сигарете тете мечте цитате свите сюите орбите плите валюте минуте каюте нате эте этте тете лете кстате"
    " кислоте портрете предмете"
)
_SURE_ETE = (
    "аете",
    "яете",
    "еете",
    "уете",
    "юете",
    "ожете",
    "удете",
    "йдёте",
    "йдете",
    "ажете",
    "ищете",
    "ишете",
    "едете",
    "ивете",
    "ожмете",
    "анете",
    "ачнете",
)
_NOUN_YOTE = ("лёте", "чёте", "нёте")
_VERB_ETE = listed(
    "хотите можете будете идете едете ждете ведете берете возьмете поймете найдете придете пойдете зовете"
    " станете дадите едите поете пьете живете несете везете начнете сможете захотите умрете врете спите летите"
    " примете займете снимете подождете"
)
_NOT_SH = listed("лишь тишь мышь брешь плешь глушь фальшь вошь кишь камыш дрожь вишь ишь слышь гашиш")
_LET_TY = listed(
    "скажи подскажи расскажи напиши пиши иди приходи заходи смотри посмотри подожди погоди помоги возьми бери"
    " держи прости извини помни позвони звони найди попроси спроси говори принеси пришли покажи докажи жди купи"
    " включи выключи нажми введи выбери сохрани загрузи перезагрузи обратись проверь отправь поставь забудь"
    " будь ответь попробуй давай слушай послушай читай прочитай почитай узнай дай передай думай подумай знай"
    " делай сделай открой закрой стой постой поверь верь встань сядь ешь познакомь пойми учти заплати"
    " оплати закажи подпиши уточни укажи заполни повтори добавь удали измени назови опиши объясни переведи"
    " запусти установи обнови скачай помолчи позволь береги разреши жми ищи носи ходи учи веди неси верни"
    " начни останься попей поешь поспи отдохни оставь вернись оставайся брось вспомни"
    " предложи придумай представь сравни реши посчитай положи спаси"
)
_SHARED_LET = listed("помни пришли жди купи прости ешь дай давай учти сохрани держи") - {
    "прости",
    "дай",
    "давай",
}
_ASKED_OF_YOU = listed(
    "мог могл хотел готов согласен согласн уверен знал слышал видел смотрел читал пробовал получил заказал понял"
    " думал помнил забыл успел"
    " решил звонил купил нашел нашёл оплатил отправил проверил написал посмотрел бывал играл"
)
_NOT_AY = listed(
    "май чай край случай урожай обычай невзначай рай трамвай китай пускай лай сарай попугай каравай лентяй"
    " негодяй поцелуй буй пай"
)
_LEAD = listed(
    "не и а но ну да так пожалуйста лучше просто тогда потом сначала обязательно сейчас сразу скорее теперь ещё еще"
)


def marks(sentence: Sentence) -> Iterator[Evidence]:
    """The marks of address in a sentence."""
    for index, word in enumerate(sentence.words):
        low = word.low.replace("ё", "е")
        if word.glued:
            continue
        if word.low in _VY:
            yield sentence.mark(index, "formal", 1.0, "pronoun or possessive of вы")
        elif word.low in _TY:
            sighed = word.low == "ты" and sentence.low(index - 1) in ("ух", "ой", "ах", "эх", "ай")
            yield sentence.mark(index, "informal", 0.3 if sighed else 1.0, "pronoun or possessive of ты")
        elif len(low) > 4 and low.endswith(("те", "тесь")):
            weight = _verb_vy(sentence, index)
            if weight:
                yield sentence.mark(index, "formal", weight, "verb of вы")
        elif len(low) > 3 and low.endswith(("ешь", "ишь", "ешься", "ишься")) and low not in _NOT_SH:
            yield sentence.mark(index, "informal", 1.0, "verb of ты")
        else:
            yield from _asked(sentence, index, low)


def _verb_vy(sentence: Sentence, index: int) -> float:
    """How surely a word in -те is a verb of вы."""
    word = sentence.words[index]
    low = word.low
    if low.endswith("тесь"):
        return 1.0 if low[-5:-4] in "йиеёь" else 0.0
    ending = low[-3:-2]
    if ending not in "йиеёь" or _after_preposition(sentence, index) or low in _NOT_TE:
        return 0.0
    if index and word.capital:
        return 0.0
    if ending == "ё":
        return 0.0 if low.endswith(_NOUN_YOTE) and low not in ("пошлёте", "шлёте", "начнёте") else 1.0
    if ending == "е":
        return 1.0 if low.endswith(_SURE_ETE) or low in _VERB_ETE else 0.0
    return 1.0


def _after_preposition(sentence: Sentence, index: int) -> bool:
    """Whether a preposition stands before, with at most three words that agree with a noun between."""
    for back in range(1, 5):
        before = sentence.low(index - back)
        if before in _PREPOSITIONS:
            return True
        agrees = before.endswith(("ом", "ем", "ём", "ой", "ей", "их", "ых", "его", "ому", "ими")) or before in (
            "её",
            "ее",
            "самом",
            "и",
        )
        if not agrees or sentence.words[index - back + 1].opens:
            return False
    return False


def _asked(sentence: Sentence, index: int, low: str) -> Iterator[Evidence]:
    """What ты is asked to do, and what is asked without a pronoun."""
    word, at = sentence.words[index], index
    while at > 0 and index - at < 3 and not sentence.words[at].opens and sentence.low(at - 1) in _LEAD:
        at -= 1
    opens = at == 0 or sentence.words[at].opens
    if low in _LET_TY:
        if opens and (at == 0 or not sentence.question):
            yield sentence.mark(index, "informal", 0.5 if low in _SHARED_LET else 1.0, "what ты is asked to do")
        elif not word.capital and low not in _SHARED_LET and low not in ("стой", "говори", "будь"):
            yield sentence.mark(index, "informal", 0.8, "what ты is asked to do")
    elif (
        opens
        and len(low) > 4
        and low.endswith(("айся", "яйся", "уйся", "юйся", "ойся", "ейся"))
        and low[-5] not in "щш"
    ):
        yield sentence.mark(index, "informal", 1.0, "what ты is asked to do")
    elif opens and len(low) > 4 and low.endswith("ись") and low[-4] not in "лпкш" and not sentence.question:
        yield sentence.mark(index, "informal", 0.6, "what ты is asked to do")
    elif (
        opens
        and len(low) > 3
        and low.endswith(("ай", "яй", "уй"))
        and low not in _NOT_AY
        and not (index and word.capital)
    ):
        yield sentence.mark(index, "informal", 0.6 if not low.endswith("чай") else 0.3, "what ты is asked to do")
    elif sentence.question and opens and low.rstrip("иаы") in _ASKED_OF_YOU:
        side: Side = "formal" if low.endswith(("и", "ы")) else "informal"
        yield sentence.mark(index, side, 0.5, "past or short form without a subject in a question")
