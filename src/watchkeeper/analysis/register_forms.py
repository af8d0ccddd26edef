"""The marked forms of address of each language: a pattern of the formal ones and one of the informal ones.

From the grammars of the languages. Case counts where the language makes it count (German Sie against sie, Italian Lei
against lei); elsewhere patterns ignore it.
"""

from __future__ import annotations

import re

# A sentence may begin after these; there a capital says nothing.
_INSIDE = r"(?<=[\w,;:)»”\"–-] )"
_END = r"(?=\s*(?:[。．.!！?？…~〜♪\n」』）)]|$))"

_DE_FORMAL = (
    rf"{_INSIDE}(?:Sie|Ihnen|Ihre[nmrs]?|Ihr)\b"
    r"|\b(?:[Hh]aben|[Ss]ind|[Kk]önnen|[Mm]öchten|[Ww]ollen|[Ww]erden|[Ss]ollten|[Ww]ürden|[Bb]itte \w+en|[A-ZÄÖÜ]\w+en) Sie\b"  # noqa: E501
    r"|(?:^|[.!?]\s+)Ihnen\b"
    r"|(?:^|[.!?]\s+)Sie (?:haben|sind|können|möchten|müssen|sollten|werden|wollen|dürfen|würden|könnten|brauchen)\b"
)
_DE_INFORMAL = (
    r"(?i:\b(?:du|dich|dir|deine?[nmrs]?|euch|eure?[nmrs]?)\b)"
    r"|\b(?:[Bb]ist|[Hh]ast|[Kk]annst|[Ww]illst|[Mm]usst|[Ss]ollst|[Ww]irst|[Dd]arfst|[Mm]agst|[Mm]öchtest|[Kk]önntest|[Ss]olltest"
    r"|[Ww]ürdest|[Hh]attest|[Ww]arst|[Ww]eißt|[Hh]ättest|[Ww]ärst)\b"
)
_FR_FORMAL = (
    r"(?i:\b(?:vous|votre|vos|vôtres?)\b)|\b(?!(?:[Cc]hez|[Aa]ssez|[Nn]ez)\b)[A-Za-zéèêëàâîïôûç]+ez\b(?!-(?:de|le)\b)"
)
_FR_INFORMAL = r"(?i:\b(?:tu|toi|te|ton|ta|tes|tien(?:ne)?s?)\b|\bt['’](?=[aeiouyhéèêàâî])|-t['’]en\b|-toi\b)"
_ES_FORMAL = (
    r"(?i:\b(?:usted(?:es)?|ud\.|vd\.|uds\.)(?!\w))"
    # su and le are also his and her: in a reply that names nobody they are the reader's
    r"|(?i:\b(?:sus?|suy[oa]s?|les?)\b)"
    r"|(?i:(?:¿[^?]*|\bsi |\bque )\b(?:tiene|puede|quiere|desea|está|sabe|ha|necesita|prefiere|podría|debería|cree|piensa)\b)"  # noqa: E501
    r"|(?i:\b(?:disculpe|perdone|permítame|dígame|indíqueme|póngase|espere|haga|tenga|escriba|envíeme|consulte|visite|llámenos"
    r"|contáctenos|asegúrese|vaya a|diga|llame|revise|verifique|seleccione|introduzca|confirme|sírvase)\b)"
)
_ES_INFORMAL = (
    r"(?i:\b(?:tú|ti|contigo|te|tus?|tuy[oa]s?|vosotr[oa]s|vuestr[oa]s?|os)\b)"
    r"|(?i:\b(?:eres|estás|tienes|puedes|quieres|debes|sabes|haces|vas|necesitas|has|podrías|deberías|querrías|tendrás"
    r"|serás|piensas|crees|prefieres|fuiste|estabas|tuviste|hiciste|habías|ves|dices|dime|perdona|disculpa|haz|ponte)\b)"
)
_IT_FORMAL = (
    rf"{_INSIDE}(?:Lei|Suo|Sua|Suoi|Sue|Le|La)\b"
    # suo is also his and her, as in Spanish
    r"|(?i:\b(?:suo|sua|suoi|sue)\b)"
    r"|(?i:(?:\bse |\bche )(?:può|vuole|deve|desidera|preferisce|potrebbe|dovrebbe|ha|sta)\b)"
    r"|(?i:\b(?:può|vuole|deve|desidera|preferisce|potrebbe|vorrebbe|ha|conosce|pensa|crede)\b(?=[^.!?]*\?))"
    r"|(?i:\b(?:mi scusi|mi dica|mi permetta|si accomodi|prego si|senta|guardi|attenda|abbia pazienza|si assicuri|scusi|consulti"  # noqa: E501
    r"|faccia|verifichi|inserisca|per favore mi dica|la prego|la ringrazio|le serve|le piace|le piacerebbe)\b)"
)
_IT_INFORMAL = (
    r"(?i:\b(?:tu|te|ti|tuoi|tu[oae])\b|\bt['’](?=[aeiouh]))"
    r"|(?i:\b(?:sei|hai|puoi|vuoi|devi|stai|vai|fai|sai|pensi|potresti|dovresti|vorresti|avresti|saresti|avrai|sarai|eri"
    r"|avevi|preferisci|conosci|credi|scusa|dimmi|fammi|dammi)\b)"
)
_RU_FORMAL = r"(?i:\b(?:вы|вас|вам|вами|ваш(?:а|е|и|его|ему|им|ем|ей|у|их|ими)?)\b|\b\w{2,}(?:йте|ите)(?:сь)?\b)"
_RU_INFORMAL = (
    r"(?i:\b(?:ты|тебя|тебе|тобой|тобою|тво(?:й|я|ё|е|и|его|ему|им|ём|ем|ей|ю|их|ими))\b"
    r"|\b\w{2,}(?:ешь|ёшь|ишь)(?:ся)?\b)"
)
_JA_FORMAL = rf"(?:です|ます|ません|でした|ました|ませんでした|ましょう|でしょう|ください|くださいませ|ございます)(?:か|ね|よ|が|けど|ので|から|よね)*{_END}"  # noqa: E501
_JA_INFORMAL = (
    r"(?<!ん)(?<!しょ)(?:(?:じゃ|では)?ない|だ|だった|だろう|じゃん|しろ|せよ|くれ|なさい|"
    r"る|た|う|く|む|ぬ|ぶ|ぐ|す|い|だよ|だね|の)(?:か|ね|よ|な|ぞ|ぜ|さ|わ|よね)*"
)
_JA_INFORMAL = rf"(?<!で)(?<!ま)(?<!まし)(?<!でし)(?<!でしょ)(?<!ましょ)(?<!くださ){_JA_INFORMAL}{_END}"
_KO_FORMAL = rf"(?:니다|니까|십시오|세요|셔요|[가-힣]*요|시죠|지요|죠){_END}"
_KO_INFORMAL = rf"[가-힣]*(?:다|야|어|아|해|지|니|냐|자|네|라|돼|줘|와|봐|게|래|까|군|거든)(?<!니다)(?<!니까){_END}"


def _pair(formal: str, informal: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(formal, re.MULTILINE), re.compile(informal, re.MULTILINE)


FORMS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "de": _pair(_DE_FORMAL, _DE_INFORMAL),
    "es": _pair(_ES_FORMAL, _ES_INFORMAL),
    "fr": _pair(_FR_FORMAL, _FR_INFORMAL),
    "it": _pair(_IT_FORMAL, _IT_INFORMAL),
    "ja": _pair(_JA_FORMAL, _JA_INFORMAL),
    "ko": _pair(_KO_FORMAL, _KO_INFORMAL),
    "ru": _pair(_RU_FORMAL, _RU_INFORMAL),
}
"""Language to the patterns of formal and of informal forms."""
