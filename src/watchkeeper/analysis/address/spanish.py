"""How Spanish addresses a person: tú, vos and vosotros against usted and ustedes.

The forms of tú and vos are their own, so they weigh in full; nouns that look the same (cuentas, viajes) count only
beside a word that goes with verbs. Usted shares su, le, se and every verb form with he, she and it: these weigh little,
more where somebody is plainly spoken to (a question, a wish, the writer's we), less where the sentence names somebody
else they may mean. What usted is asked to do (diga, no se preocupe, permítame) is a form of its own at the head of a
clause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from watchkeeper.analysis.address.spanish_verbs import Forms, forms
from watchkeeper.analysis.address.words import Evidence, Sentence, listed

_TU = listed("tú ti contigo te tu tus tuyo tuya tuyos tuyas vos vosotros vosotras vuestro vuestra vuestros vuestras")
_USTED = frozenset(("usted", "ustedes"))
_SU = listed("su sus suyo suya suyos suyas")
_OTHERS = listed("él ella ellos ellas esto eso aquello ello alguien nadie quien quienes cada todos")
_ARTICLES = listed(
    "el la los las un una unos unas este esta estos estas ese esa esos esas aquel aquella mi mis nuestro nuestra"
)
_SPEAKER = listed(
    "me nos mi mis yo nosotros nosotras nuestro nuestra nuestros nuestras puedo voy he quiero quería necesito"
    " tengo podemos gracias favor bienvenido bienvenida saludos atentamente"
)
_CLITICS = listed("me nos lo la los las le les se no")
_LEAD = listed(
    "y e o pero pues entonces ya no nunca también me nos lo la los las le les se cuál cuáles quién cómo como"
    " dónde cuándo cuánto cuánta cuántos cuántas qué"
)
_PREPOSITIONS = listed("a de en por para con desde hasta sobre")
_SPEAKING = listed("creo espero pienso sé veo digo supongo parece confirmo entiendo")
_IF = listed("si cuando aunque mientras ya donde como")
_BEFORE_VERB = listed("me nos lo le les no si cuando que qué cómo dónde ya tú vos también donde mientras aunque")
_NEVER_USTED = listed(
    "es está era fue será sería ha había hace hizo parece pasa pasó ocurre ocurrió sucede significa cuesta"
    " gusta gustó gustaría importa interesa vale suena funciona existe duele llueve depende va iba falta queda"
    " sobra llega llegó sale tarda sirve trata hay incluye cuenta llama contiene"
)
_THINGS = listed(
    "incluye cubre abre cierra ofrece permite requiere necesita empieza comienza termina acaba muestra recibe"
    " presenta representa produce sorprende preocupa molesta aburre emociona alegra aparece desaparece cambia"
    " mejora baja sube crece entra pesa forma mide une reduce contribuye cumple asiste gana juega viaja vive"
    " trabaja estudia habla come duerme"
)
_MODAL = listed(
    "puede debe necesita podrá deberá podría debería tiene tendrá recibirá encontrará desea quiere prefiere sabe"
)
_NOUNS = listed(
    "activas alcances alegres amas animes apuestas apuntes arranques bailes bajas bases calles cargas cargues"
    " casas cenas charlas cierres cobras cocinas comas completas compras comprendas consultas controles copias"
    " cortas cortes costes creas cruces cuentas cuestas culpas demoras descargas disculpas duchas dudas"
    " emociones enlaces entregas escapes esperas extrañas fallas fijas firmas formas ganas giras guardas guías"
    " importes informes intereses juntas lances lanzas lavas limpias llamas llenas luchas marcas marchas"
    " mejoras mejores menciones metas mezclas miras molestas montes muestras nombres notas pagas paras pares partes"
    " pasas pases pegas peleas pesas pescas pintas prendas preguntas presentes presiones prestas programas"
    " proporciones pruebas quejas rellenas reservas sales salvas saques selecciones señales soportes sospechas"
    " sueltas tardes temas tomas toques vacunas vales valores vendas viajes visitas vistas vivas votas casos"
    " dueles ordenes unas usos sientas bebes"
)
_NOT_PAST = listed(
    "aste aplaste traste contraste desgaste baste gaste chiste triste existe coexiste insiste consiste resiste"
    " asiste desiste persiste subsiste reviste liste aliste quiste despiste alpiste embiste conquiste paste"
    " emplaste engaste arraste traspaste"
)
_PEOPLE = listed(
    "ayudar atender contactar conocer acompañar felicitar avisar escuchar llamar molestar recordar informar ver"
)
_NOT_ARTE = listed("arte parte aparte marte baluarte estandarte descarte reparte comparte imparte encarte")
_ENCLITIC = re.compile(r"(?:(?:me|te|se|nos|os)(?:l[oa]s?)|me|te|se|nos|l[oae]s?)$")
_TO_NOUN = listed(
    "viaje baile toque enlace cruce pase informe corte ataque nombre entre sobre para este cobre nadie coste"
    " tarde timbre pare"
)
_CALLS = listed("mira oye espera perdona disculpa imagina escucha fíjate haz ten pon oíd")
_SHARED_TU = listed(
    "ven sal di ve para nada cuenta llama compra ayuda prueba marca nota pregunta toma reserva visita consulta"
    " firma duda oferta"
)
_TO_PEOPLE = listed(
    "ayudo llamo llamaré atiendo espero esperamos felicito contacto contactaré invito ayudamos llamamos"
    " atendemos invitamos"
)
_LEADING = _LEAD | _PREPOSITIONS
_READER = _USTED | _SU | _TU
_NOBODY = _LEAD | _SU | _IF | _CLITICS
_AFTER_ASKED = _ARTICLES | _SU | _USTED | {"por", "adelante"}
_OBJECT = _ARTICLES | _TU | {"aquí", "esto", "eso", "este", "bien"}
_PLAIN = str.maketrans("áéíóú", "aeiou")


def marks(sentence: Sentence) -> Iterator[Evidence]:
    """The marks of address in a sentence."""
    words = sentence.words
    addressed = sentence.question or any(word.low in _SPEAKER or word.low.endswith("mos") for word in words)
    other = False
    for index, word in enumerate(words):
        yield from _pronoun(sentence, index, addressed, other)
        yield from _verb(sentence, index)
        yield from _joined(sentence, index, addressed)
        if (
            word.low in _OTHERS
            or (index and word.capital and not word.gap.strip() and word.low not in _READER)
            or (word.low in _ARTICLES and (word.opens or (index == 1 and words[0].low == "a")) and not addressed)
            or (index == 1 and word.low in forms().usted and words[0].capital and words[0].low not in _NOBODY)
        ):
            other = True


def _pronoun(sentence: Sentence, index: int, addressed: bool, other: bool) -> Iterator[Evidence]:
    word = sentence.words[index]
    after = sentence.words[index + 1] if index + 1 < len(sentence.words) else None
    if word.gap == "_":
        return
    if word.low in _TU or (word.low == "os" and word.text != "OS"):
        yield sentence.mark(
            index,
            "informal",
            0.3 if sentence.stands_out(index) else 1.0,
            "pronoun or possessive of tú, vos or vosotros",
        )
    elif (
        word.low in _USTED
        or word.text in ("Ud", "Uds", "Vd", "Vds")
        or (word.low in ("ud", "uds") and after is not None and after.gap[:1] == ".")
    ):
        yield sentence.mark(index, "formal", 1.0, "usted or ustedes")
    elif word.low in _SU:
        own = sentence.low(index + 1) in ("propio", "propia", "propios", "propias")
        weight = 0.2 if own else 0.5 if not other else 0.3 if addressed else 0.2
        yield sentence.mark(index, "formal", weight, "su, which is also his and her")
    elif (
        word.low in ("lo", "la", "los", "las")
        and after is not None
        and (after.low.endswith("mos") or after.low in _TO_PEOPLE)
    ):
        yield sentence.mark(
            index, "formal", 0.5 if after.low in _TO_PEOPLE else 0.2, "lo or la, which is also him and her"
        )
    elif word.low in ("le", "les") and after is not None:
        speaks = (
            after.low.endswith("mos")
            or after.low in ("he", "voy", "puedo")
            or (after.low.endswith("o") and after.low not in forms().usted)
        )
        weight = 0.5 if not other or speaks else 0.2
        yield sentence.mark(index, "formal", weight, "le, which is also him and her")


def _opens(sentence: Sentence, index: int) -> bool:
    at = sentence.lead(index, _LEADING)
    return at == 0 or sentence.words[at].opens or sentence.low(at - 1) in ("y", "e", "o", "pero", "favor", "entonces")


def _verb(sentence: Sentence, index: int) -> Iterator[Evidence]:
    low, known, before = sentence.low(index), forms(), sentence.low(index - 1)
    if sentence.words[index].shouted:
        return
    if low in known.you:
        if low not in _NOUNS:
            yield sentence.mark(index, "informal", 1.0, "verb of tú")
        elif (before in _BEFORE_VERB and before != "no") or (
            sentence.question and (sentence.lead(index, _LEADING) == 0 or _asks_what(sentence, index))
        ):
            yield sentence.mark(index, "informal", 0.6, "verb of tú that is also a noun")
    elif low in known.vos or (low[-3:] in ("áis", "éis") and len(low) > 4) or (low.endswith("steis") and len(low) > 6):
        yield sentence.mark(index, "informal", 1.0, "verb of vos or vosotros")
    elif low.endswith(("aste", "iste")) and len(low) > 4 and low not in _NOT_PAST:
        yield sentence.mark(index, "informal", 0.6 if low == "viste" else 1.0, "past of tú")
    elif low in known.let_vos and _opens(sentence, index):
        yield sentence.mark(index, "informal", 0.8, "imperative of vos or vosotros")
    else:
        asked = _asked(sentence, index) if _opens(sentence, index) else None
        third = asked or _third(sentence, index)
        if third is not None:
            yield third


def _asks_what(sentence: Sentence, index: int) -> bool:
    """Whether the question begins with how many or which of something, shortly before."""
    asked = ("cuánto", "cuánta", "cuántos", "cuántas", "qué")
    return index < 8 and (sentence.low(0) in asked or sentence.low(1) in asked)


def _asked(sentence: Sentence, index: int) -> Evidence | None:
    """What is asked of usted or tú at the head of a clause."""
    low, known, before, after = sentence.low(index), forms(), sentence.low(index - 1), sentence.low(index + 1)
    head = sentence.lead(index, _LEADING) == 0
    if sentence.question:
        return None
    if low in known.let_usted:
        if low in _TO_NOUN:
            told = head and after in _AFTER_ASKED
            return sentence.mark(index, "formal", 0.6, "what usted is asked to do") if told else None
        if low in ("venga", "vaya", "sea", "haya") and after not in ("a", "al", "hasta", "con", "por", "usted", "tan"):
            return None
        weight = 0.3 if low in known.usted else 1.0 if head else 0.7
        return sentence.mark(index, "formal", weight, "what usted is asked to do")
    if low in known.let_you and low not in _NEVER_USTED and before not in _CLITICS:
        if low == "ven" and after not in ("la", "el", "los", "las", "que", ""):
            return sentence.mark(index, "informal", 1.0 if head else 0.7, "what tú is asked to do")
        if low in _CALLS:
            return sentence.mark(index, "informal", 0.8, "what tú is asked to do")
        if head and low not in _THINGS:
            object_follows = after in _OBJECT
            polite = any(word.low == "favor" for word in sentence.words[index : index + 12])
            clear = object_follows or (low not in _SHARED_TU and polite)
            return sentence.mark(
                index,
                "informal",
                0.5 if clear and polite else 0.4 if clear else 0.3,
                "what tú is asked to do, or a third person",
            )
    return None


def _third(sentence: Sentence, index: int) -> Evidence | None:
    """A third person that may be usted, by what stands before it."""
    low, known, after, at = sentence.low(index), forms(), sentence.low(index + 1), index - 1
    while at >= 0 and index - at < 4 and sentence.low(at) in _CLITICS and not sentence.words[at + 1].opens:
        at -= 1
    lead, modal = sentence.low(at), low in _MODAL
    asks_us = at < index - 1 and sentence.low(index - 1) in ("me", "nos")
    if low in known.let_usted or low in known.let_past:
        wish = lead in ("que", "ojalá") and (at == 0 or sentence.words[at].opens or sentence.low(at - 1) in _SPEAKING)
        asks = asks_us and (lead == "si" or (lead == "que" and low in known.let_past))
        weight = 0.5 if wish or asks else 0.4 if lead in _IF else 0.0
        return sentence.mark(index, "formal", weight, "a wish or a case in the third person")
    many = low.endswith("n") and low[:-1] in known.usted
    if low in ("es", "está", "va", "fue", "era"):
        weight = (
            (0.5 if low == "va" else 0.25)
            if sentence.question and sentence.lead(index, _LEADING) == 0 and after not in _ARTICLES
            else 0.0
        )
        weight = 0.3 if lead in ("si", "cuando") else weight
    elif low in ("ha", "había"):
        weight = 0.5 if (sentence.question and sentence.lead(index, _LEADING) == 0) or lead in ("si", "ya") else 0.0
        if sentence.low(index - 1) == "se" and not sentence.question:
            weight = 0.0
        if not weight and asks_us:
            weight = 0.5 if _opens(sentence, index) or (lead == "que" and sentence.low(at - 1) == "lo") else 0.2
    elif (
        low.endswith("ó") and len(low) > 3 and low not in known.usted and sentence.question and _opens(sentence, index)
    ):
        weight = 0.5
    elif (low not in known.usted and not many) or low in _NEVER_USTED or low[:-1] in _NEVER_USTED:
        return None
    else:
        weight = _third_weight(sentence, index, lead, modal, asks_us)
        weight = weight if not many or asks_us else weight - 0.1
        if sentence.low(index - 1) == "se" and not sentence.question:
            weight = 0.0 if modal else min(weight, 0.3)
        elif sentence.low(index - 1) == "no" and not sentence.question:
            weight = min(weight, 0.4)
    return sentence.mark(index, "formal", weight, "third person that may be usted") if weight > 0 else None


def _third_weight(sentence: Sentence, index: int, lead: str, modal: bool, asks_us: bool) -> float:
    low, after = sentence.low(index), sentence.low(index + 1)
    if (after in ("que", "ser", "de") or after.endswith("rse")) and low in ("puede", "debe", "podría"):
        return 0.0
    if sentence.question and _opens(sentence, index):
        if low in ("puede", "podría", "quiere", "querría") and (asks_us or after.endswith(("rme", "rnos"))):
            return 1.0
        return 0.5 if after not in _ARTICLES or modal or asks_us else 0.3
    if sentence.question and _asks_what(sentence, index):
        return 0.4 if "qué" in (sentence.low(0), sentence.low(1)) else 0.5
    if lead in ("si", "ya"):
        return 0.5
    if lead in _IF or (lead == "que" and sentence.low(index - 2) in _SPEAKING):
        return 0.4
    if _opens(sentence, index) and (modal or asks_us):
        return 0.5
    return 0.3 if lead == "que" and (modal or asks_us) else 0.0


@cache
def _plain_forms() -> Forms:
    """All forms without their accents."""
    return Forms(*(frozenset(form.translate(_PLAIN) for form in group) for group in forms()))


def _joined(sentence: Sentence, index: int, addressed: bool) -> Iterator[Evidence]:
    """Pronouns written in one word with their verb: dígame, ayúdame, ayudarte, ayudarle."""
    low, known = sentence.low(index), _plain_forms()
    found = _ENCLITIC.search(low)
    if found is None or found.start() < 2:
        return
    stem, clitic = low[: found.start()], found[0]
    bare = stem.translate(_PLAIN)
    if (
        bare in known.infinitives
        or bare.endswith(("ando", "endo"))
        or (clitic == "te" and bare.endswith(("ar", "ir")) and len(low) > 5)
    ):
        if clitic.startswith("te") and low not in _NOT_ARTE:
            yield sentence.mark(index, "informal", 1.0, "te joined to its verb")
        elif clitic in ("le", "les", "lo", "la", "los", "las", "selo", "sela") and (
            bare in known.infinitives or stem != bare
        ):
            weight = 0.5 if clitic in ("le", "les") or (addressed and bare in _PEOPLE) else 0.2
            yield sentence.mark(index, "formal", weight, "le or lo joined to its verb, which is also him")
    elif low in ("véase", "véanse", "dícese"):
        return
    elif (bare in known.let_usted and (stem != bare or len(bare) < 4) and clitic[:2] != "te") or (
        stem != bare and clitic.startswith(("me", "se")) and bare.endswith(("que", "gue", "nga", "zca", "ga"))
    ):
        yield sentence.mark(index, "formal", 1.0, "what usted is asked to do, with a pronoun")
    elif stem != bare and clitic.startswith("te") and bare.endswith(("a", "e")) and low != "intérprete":
        yield sentence.mark(index, "informal", 1.0, "what tú is asked to do, with a pronoun")
    elif bare in known.let_vos and bare.endswith("d"):
        yield sentence.mark(index, "informal", 1.0, "what vosotros is asked to do, with a pronoun")
    elif bare in known.let_you and low not in ("tomate", "dame", "para"):
        if stem != bare or bare in ("di", "haz", "pon", "ten", "ven", "ve") or clitic in ("me", "nos", "te"):
            yield sentence.mark(index, "informal", 1.0, "what tú or vos is asked to do, with a pronoun")
    elif low in ("dame", "dime", "dale", "dile", "danos", "vete", "ponte"):
        yield sentence.mark(index, "informal", 1.0, "what tú is asked to do, with a pronoun")
