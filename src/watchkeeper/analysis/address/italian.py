"""How Italian addresses a person: tu against Lei.

The pronouns, possessives and most verb forms of tu are its own. Lei shares everything with she: a capital inside a
sentence (Lei, La ringrazio, aiutarLa) is unmistakable, lei, suo, le and third persons without a subject weigh little.
What Lei is asked to do is a form of its own in -ere and -ire (senta, prenda); in -are it is the tu of a statement
(guardi), so that one is read by its place: at the head of a clause it is asked, elsewhere it is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from watchkeeper.analysis.address.italian_verbs import forms
from watchkeeper.analysis.address.words import Evidence, Sentence, listed

_TU = listed("tu te ti tuo tua tuoi tue t' t’")
_SUO = listed("suo sua suoi sue")
_ARTICLES = listed("il lo la i gli le l' l’ un uno una un' un’ questo questa questi queste quel quella quei quelle")
_OTHERS = listed("lui loro essi esse egli ella ognuno qualcuno nessuno chi tutti ciascuno")
_SPEAKER = listed(
    "mi me ci noi io mio mia miei mie nostro nostra nostri nostre posso vorrei ho devo voglio sono grazie"
    " favore cortesia saluti cordiali benvenuto benvenuta spero penso credo"
)
_CLITICS = listed("mi ci lo la li le gli ne si l' l’ non ce me glielo gliela")
_LEAD = _CLITICS | listed(
    "e o ma quindi allora però dunque già mai anche come dove quando quanto quanta quanti quante cosa che"
    " perché quale quali chi cos' cos’ dov' dov’ com' com’ poi così sì no beh ah oh"
)
_PREPOSITIONS = listed("a di da in con per su fino")
_IF = listed("se quando mentre come dove finché appena")
_THINKING = listed(
    "spero penso credo voglio vorrei basta sembra pare bisogna meglio possibile desidero immagino suppongo"
    " temo affinché"
)
_NEVER_LEI = listed(
    "è era sarà sarebbe piace piaceva piacerebbe sembra sembrava pare succede significa costa serve basta"
    " manca funziona vale esiste dipende accade capita bisogna occorre riguarda fa va risulta comprende"
    " contiene dura tratta arriva parte resta rimane nasce cresce muore diventa porta causa importa"
)
_MODAL = listed("può deve potrà dovrà potrebbe dovrebbe vuole desidera preferisce vorrebbe riceverà troverà sa")
_NOUNS = listed(
    "blocchi passeggi abbracci parti menti leggi servi temi vesti sali desti stesti sei dai offesi verbi abiti"
    " aiuti auguri arrivi ascolti aspetti attivi avvisi baci balli calcoli cambi cammini canti carichi cerchi"
    " colleghi collezioni comandi completi conti contatti controlli consigli conservi desideri disegni disturbi"
    " duri fermi figuri fidi filmi fumi giochi giri gridi guadagni gusti impegni imposti inizi inviti lavori"
    " liberi lanci mostri noti ordini passi pesi pianti porti pranzi presenti presti programmi racconti registri"
    " respiri resti ricordi rifiuti ripari riposi risparmi ritiri ritorni saluti salvi sbagli scatti scarichi scherzi"
    " segnali seguiti sogni sposi stampi studi suoni superi svegli tagli termini tiri tocchi torni tratti urli"
    " usi utilizzi versi viaggi voli voti curi odi ami numeri invi ringrazi alzi legati corri"
) - {"corri"}
_NOT_ASKED = listed(
    "possa voglia sia abbia debba menta tema serva cada piacca muoia muoi nasca vesta parta viva dia cuca"
    " volga esista rida si stringa"
)
_SIX_BEFORE = listed(
    "alle le dalle delle tra fra di in ogni circa su per i gli ultimi prossimi primi ho ha hanno abbiamo con"
    " da altri altre solo oltre a le"
)
_SIX_AFTER = listed(
    "anni mesi ore giorni minuti settimane persone volte euro mila milioni cento secondi chili figli o e gol"
    " punti dollari metri chilometri"
)
_CALLS = listed("guarda ascolta aspetta scusa immagina senti dai figurati lascia")
_PERSONAL = listed(
    "contattar ringraziar aiutar disturbar informar chiamar richiamar conoscer avvisar invitar servir ascoltar"
    " salutar incontrar"
)
_TO_PEOPLE = listed("ringrazio prego ringraziamo preghiamo")
_TO_PEOPLE_OR_THINGS = listed(
    "informo contatto chiamo richiamo aspetto saluto invito ascolto aiuto contatterò richiamerò chiamerò sento"
    " informiamo contattiamo invitiamo aspettiamo avvisiamo contatteremo aiuterò"
)  # fmt: skip
_FIRST = listed(
    "ho abbiamo posso consiglio invio mando chiedo auguro dico do faccio suggerisco spiego confermo ricordo"
    " propongo devo offro fornisco"
)
_SUITS_YOU = listed(
    "piace piacerebbe serve interessa dispiace va sembra occorre piacciono servono interessano manca"
    " dispiacerebbe andrebbe"
)
_REFLEXIVE_TU = listed(
    "fermati accomodati siediti calmati sbrigati ricordati rilassati figurati svegliati alzati iscriviti"
    " preparati fidati divertiti vattene"
)
_LEADING = _LEAD | _PREPOSITIONS
_READER = _SUO | _TU | {"lei", "la", "le", "si"}
_NOBODY = _LEAD | _SUO | _IF | {"lei", "forse", "oggi", "qual", "chi", "qui", "ecco"}
_OBJECT = _ARTICLES | _TU | {"qui", "a", "questo"}
_AFTER_ASKED = _ARTICLES | {"che"}
_IMPERSONAL = listed("consulti noti veda osservi confronti consideri tenga pensi")
_PARTICIPLES = listed(
    "vestiti sentiti partiti seguiti serviti divertiti scopriti mentiti dormiti investiti avvertiti convertiti"
    " consentiti saliti usciti offriti fuggiti inseguiti copriti apriti"
)
_NOT_JOINED = listed(
    "parti arti carti reparti comparti scomparti infarti sarti marti quarti cuarti scarti sparti rarti certi"
    " aperti esperti concerti deserti coperti offerti sofferti incerti morti forti porti aeroporti trasporti"
    " rapporti supporti torti sorti corti conforti sporti inerti diverti avverti converti inserti allerti"
    " accerti merti irti spirti iuniorti comporti sopporti riporti esporti importi"
)  # fmt: skip
_JOINED = re.compile(r"(?:[mct]el[oa]|glie(?:l[oa]|ne)|m[i]|mmi|c[i]|l[oa]|ne)$")


def marks(sentence: Sentence) -> Iterator[Evidence]:
    """The marks of address in a sentence."""
    words = sentence.words
    addressed = sentence.question or any(word.low in _SPEAKER or word.low.endswith("iamo") for word in words)
    other = False
    for index, word in enumerate(words):
        yield from _pronoun(sentence, index, addressed, other)
        yield from _verb(sentence, index)
        yield from _joined(sentence, index, addressed)
        named = index and word.capital and not word.gap.strip() and word.low not in _READER
        subject = word.opens and word.low in _ARTICLES and not addressed
        someone = (
            index == 1
            and (word.low == "è" or word.low in forms().lei)
            and words[0].capital
            and words[0].low not in _NOBODY
        )
        if word.low in _OTHERS or named or subject or someone:
            other = True


def _pronoun(sentence: Sentence, index: int, addressed: bool, other: bool) -> Iterator[Evidence]:
    word, before, after = sentence.words[index], sentence.low(index - 1), sentence.low(index + 1)
    polite = index > 0 and word.capital and word.gap.strip() in ("", ",", ";")
    next_capital = index + 1 < len(sentence.words) and sentence.words[index + 1].capital
    if word.gap == "_":
        return
    if word.low in _TU:
        yield sentence.mark(
            index, "informal", 0.3 if sentence.stands_out(index) else 1.0, "pronoun or possessive of tu"
        )
    elif word.low == "lei":
        verb = after in forms().lei or after in ("è", "non", "mi", "ci", "si")
        weight = 1.0 if polite else 0.6 if sentence.question else 0.5 if index == 0 and verb else 0.3
        yield sentence.mark(index, "formal", weight if polite or not other else weight / 2, "lei, which is also she")
    elif word.low in _SUO:
        weight = 1.0 if polite and not next_capital else 0.5 if not other else 0.3 if addressed else 0.2
        yield sentence.mark(index, "formal", weight, "suo, which is also his and her")
    elif (
        (word.low == "la" and after in _TO_PEOPLE)
        or word.text in ("arrivederLa", "ArrivederLa")
        or word.low == "arrivederla"
    ):
        yield sentence.mark(index, "formal", 1.0, "la with a verb of address")
    elif word.low in ("la", "le") and polite and not next_capital and after not in ("", "e"):
        yield sentence.mark(index, "formal", 1.0, "La or Le with a capital")
    elif word.low == "la" and after in _TO_PEOPLE_OR_THINGS:
        yield sentence.mark(index, "formal", 0.5 if not other else 0.2, "la, which is also her and it")
    elif (
        word.low == "le"
        and after in ("è", "sono", "era")
        and sentence.low(index + 2)[:6] in ("piaciu", "succes", "servit", "capita")
    ):
        yield sentence.mark(index, "formal", 0.5 if sentence.question or not other else 0.2, "le, which is also to her")
    elif word.low == "le" and (after in _FIRST or after.endswith("iamo") or after in _SUITS_YOU):
        yield sentence.mark(
            index,
            "formal",
            0.5 if after not in _SUITS_YOU or sentence.question or before in ("se", "") or not other else 0.2,
            "le, which is also to her",
        )
    elif word.low in ("vi", "voi", "vostro", "vostra", "vostri", "vostre") and polite:
        yield sentence.mark(index, "formal", 0.4 if word.low == "vi" else 0.5, "Voi with a capital")


def _opens(sentence: Sentence, index: int) -> bool:
    at = sentence.lead(index, _LEADING)
    return at == 0 or sentence.words[at].opens or sentence.low(at - 1) in ("favore", "cortesia", "prego")


def _clitics(sentence: Sentence, index: int) -> int:
    """Where the clitics before a verb begin."""
    at = index
    while at > 0 and index - at < 4 and not sentence.words[at].opens and sentence.low(at - 1) in _CLITICS:
        at -= 1
    return at


def _verb(sentence: Sentence, index: int) -> Iterator[Evidence]:
    low, known, before, after = sentence.low(index), forms(), sentence.low(index - 1), sentence.low(index + 1)
    if sentence.words[index].shouted:
        return
    if low == "sei":
        if before not in _SIX_BEFORE and after not in _SIX_AFTER:
            yield sentence.mark(index, "informal", 1.0, "verb of tu")
    elif low == "dai":
        weight = (
            1.0
            if before in ("mi", "ci", "gli", "glielo", "me")
            else 0.5
            if sentence.words[index].opens and after != "un" and _followed_by(sentence, index, ",!")
            else 0.0
        )
        if weight:
            yield sentence.mark(index, "informal", weight, "verb of tu")
    elif low in known.you:
        if low not in _NOUNS or before in ("non", "mi", "ci", "ne", "se", "cosa", "che"):
            yield sentence.mark(index, "informal", 1.0 if low not in _NOUNS else 0.6, "verb of tu")
    elif low in known.shared:
        yield from _shared(sentence, index)
    elif low in known.let_lei and low not in _NOT_ASKED:
        yield from _let_lei(sentence, index)
    elif (low == "abbia" and after in ("pazienza", "cura", "fiducia")) or (low == "stia" and _opens(sentence, index)):
        yield sentence.mark(index, "formal", 0.8, "what Lei is asked to do")
    elif (
        low in known.infinitives
        and before == "non"
        and (index == 1 or sentence.words[index - 1].opens)
        and not sentence.question
    ):
        weight = 0.6 if index == 1 and sentence.words[0].capital else 0.4
        yield sentence.mark(index, "informal", weight, "what tu is asked not to do", first=index - 1)
    elif (
        low in known.let_tu
        and _clitics(sentence, index) == index
        and _opens(sentence, index)
        and not sentence.question
        and low not in _NEVER_LEI
    ):
        if low in _CALLS and sentence.words[index].capital | (index > 0):
            yield sentence.mark(index, "informal", 0.8, "what tu is asked to do")
        else:
            clear = (
                sentence.lead(index, _LEADING) == 0
                and after in _OBJECT
                and low not in ("inizia", "termina", "conta", "parla")
            )
            yield sentence.mark(index, "informal", 0.4 if clear else 0.3, "what tu is asked to do, or a third person")
    else:
        third = _third(sentence, index)
        if third is not None and third.weight > 0:
            yield third


def _followed_by(sentence: Sentence, index: int, signs: str) -> bool:
    return index + 1 >= len(sentence.words) or sentence.words[index + 1].gap.strip()[:1] in tuple(signs)


def _shared(sentence: Sentence, index: int) -> Iterator[Evidence]:
    """A verb in -are whose form is tu's in a statement and Lei's where something is asked."""
    low, before, after = sentence.low(index), sentence.low(index - 1), sentence.low(index + 1)
    start = _clitics(sentence, index)
    lead, noun = sentence.low(start - 1), low in _NOUNS
    head = (
        start == 0
        or sentence.words[start].opens
        or lead in ("prego", "favore", "cortesia", "e", "ma", "quindi", "allora", "comunque")
    )
    if before == "si":
        weight = 0.3 if low in _IMPERSONAL else 1.0 if head else 0.5
        yield sentence.mark(index, "formal", weight, "what Lei is asked to do, with si", first=index - 1)
    elif head and (not sentence.question or _followed_by(sentence, index, ",!")):
        if not noun or before in ("mi", "ci", "non") or (start == index and after in _AFTER_ASKED):
            weight = 0.5 if noun and start == index else 1.0 if start == 0 or low == "scusi" else 0.7
            yield sentence.mark(index, "formal", weight, "what Lei is asked to do", first=start)
    elif (
        noun
        and before not in ("non", "mi", "ci", "ne", "se", "cosa")
        and not (sentence.question and before in ("quando", "dove", "come", "perché"))
    ):
        return
    elif lead == "che":
        weight = 0.0 if sentence.low(start - 2) in _THINKING else 0.6
        if weight:
            yield sentence.mark(index, "informal", weight, "verb of tu, or a wish")
    else:
        yield sentence.mark(
            index,
            "informal",
            0.6 if noun else 1.0 if sentence.question or before in ("se", "quando") else 0.8,
            "verb of tu in -are",
        )


def _let_lei(sentence: Sentence, index: int) -> Iterator[Evidence]:
    start = _clitics(sentence, index)
    lead = sentence.low(start - 1)
    if lead == "che":
        if sentence.low(start - 2) in _THINKING | {""}:
            yield sentence.mark(index, "formal", 0.4, "a wish in the third person")
    elif (
        start == 0
        or sentence.words[start].opens
        or lead in ("prego", "favore", "cortesia", "e", "ma", "quindi", "allora", "comunque")
    ):
        yield sentence.mark(
            index, "formal", 1.0 if start == 0 or start < index else 0.8, "what Lei is asked to do", first=start
        )


def _third(sentence: Sentence, index: int) -> Evidence | None:
    """A third person that may be Lei, by what stands before it."""
    low, before, after = sentence.low(index), sentence.low(index - 1), sentence.low(index + 1)
    if (low != "è" and low not in forms().lei) or (before == "si" and low in _MODAL) or after in ("essere", "darsi"):
        return None
    at = _clitics(sentence, index) - 1
    lead, opens, modal = sentence.low(at), _opens(sentence, index), low in _MODAL
    rule = "third person that may be Lei"
    if low == "è":
        weight = 0.25 if sentence.question and index == 0 and after not in _ARTICLES else 0.0
        return sentence.mark(
            index, "formal", 0.4 if sentence.question and before == "si" and after not in _ARTICLES else weight, rule
        )
    if low in _NEVER_LEI:
        weight = (
            0.5
            if sentence.question
            and low in ("va", "fa")
            and before in ("come", "dove", "cosa", "che")
            and after in ("", "di")
            else 0.0
        )
    elif (
        sentence.question
        and opens
        and low in ("può", "potrebbe", "vuole", "vorrebbe")
        and (before in ("mi", "ci") or after.endswith(("rmi", "rci")))
    ):
        weight = 1.0
    elif sentence.question and opens:
        weight = 0.5 if after not in _ARTICLES or modal or low == "ha" else 0.3
    elif lead == "se":
        weight = 0.5
    elif lead in _IF:
        weight = 0.4
    elif opens and (
        modal or (low == "ha" and after in ("ragione", "bisogno", "visto", "mai", "già", "fatto", "detto", "capito"))
    ):
        weight = 0.5
    elif lead == "che" and (modal or before in ("mi", "ci") or low == "ha"):
        weight = 0.4 if sentence.low(at - 1) in _THINKING or before in ("mi", "ci") else 0.3
    else:
        weight = 0.0
    if before == "non" and not sentence.question:
        weight = min(weight, 0.4)
    return sentence.mark(index, "formal", weight, rule)


def _joined(sentence: Sentence, index: int, addressed: bool) -> Iterator[Evidence]:
    """Pronouns written in one word with their verb: aiutarti, dimmi, scusami, aiutarLa."""
    text, low, known = sentence.words[index].text, sentence.low(index), forms()
    if re.search(r"(?:[aeiou]r|nd[o])(?:La|Le|Lo|Si|Gliel[oa])$", text):
        yield sentence.mark(index, "formal", 1.0, "La, Le or Si joined to its verb")
    elif low.endswith(("ndoti", "ndotela", "ndotelo")) or (
        low.endswith(("rti", "rtelo", "rtela", "rtene")) and low not in _NOT_JOINED
    ):
        stem = re.sub(r"(?:ti|te(?:l[oa]|ne))$", "", low)
        sure = stem + "e" in known.infinitives or stem.endswith("ndo") or (len(low) > 6 and stem.endswith(("ar", "ir")))
        if sure:
            yield sentence.mark(index, "informal", 1.0, "ti joined to its verb")
    elif low.endswith(("rla", "rle")) and low[:-2] + "e" in known.infinitives:
        weight = 0.5 if low[:-2] in _PERSONAL or (low.endswith("le") and addressed) else 0.2
        yield sentence.mark(index, "formal", weight, "la or le joined to its verb, which is also her")
    elif low.endswith("iti") and low[:-2] in known.let_tu and low not in _PARTICIPLES:
        yield sentence.mark(index, "informal", 1.0, "what tu is asked to do, with ti")
    elif low in _REFLEXIVE_TU and sentence.words[index].opens and not sentence.question:
        yield sentence.mark(index, "informal", 0.6, "what tu is asked to do, with ti")
    else:
        found = _JOINED.search(low)
        if low in ("dimmi", "dammi", "fammi", "stammi") or (found and low[: found.start()] in known.let_tu):
            weight = 1.0 if low.endswith(("mi", "melo", "mela", "ci")) else 0.7
            yield sentence.mark(index, "informal", weight, "what tu is asked to do, with a pronoun")
