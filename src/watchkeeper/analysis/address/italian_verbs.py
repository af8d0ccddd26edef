"""The forms of frequent Italian verbs that differ between tu and Lei, by rule from their stems.

A verb is written `infinitive/stressed stem/subjunctive stem/past stem/future stem`, a later part only where it
is not the one that spelling gives. Verbs in -ire that insert -isc- are a list of their own.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

_ARE = (
    "abbonare abbracciare abitare accettare accomodare accompagnare affittare aggiornare aiutare allegare"
    " allenare alzare amare annullare apprezzare arrabbiare arrivare ascoltare aspettare assicurare attivare"
    " augurare avvicinare avvisare baciare ballare bloccare buttare calcolare cambiare camminare cancellare"
    " cantare capitare caricare cenare cercare chiacchierare chiamare cliccare collegare collezionare comandare"
    " cominciare compilare completare comportare comprare comunicare conservare consigliare consultare"
    " contattare contare continuare controllare creare cucinare curare desiderare dichiarare digitare"
    " dimenticare disegnare disturbare diventare domandare dubitare durare entrare esagerare esaminare evitare"
    " fermare festeggiare ficcare fidare figurare filmare firmare fissare frequentare fumare girare giocare"
    " gridare guadagnare guardare guidare gustare imparare immaginare impegnare impostare incontrare indicare"
    " indugiare informare iniziare insegnare installare inviare invitare lamentare lanciare lasciare lavare"
    " lavorare legare liberare litigare mancare mandare mangiare meritare mescolare migliorare modificare"
    " mostrare navigare negare notare nuotare occupare odiare ordinare organizzare osservare pagare parlare"
    " partecipare passare passeggiare pensare perdonare pesare piantare portare pranzare pregare premere"
    " prenotare preoccupare preparare presentare prestare procurare programmare pronunciare provare pubblicare"
    " pulsare raccomandare raccontare rallentare realizzare recitare regalare registrare respirare restare"
    " ricaricare richiamare ricordare rifiutare rilassare ringraziare risparmiare ritirare ritornare riparare"
    " riposare rubare salutare salvare sbagliare sbrigare scaricare scattare scherzare scordare scusare"
    " segnalare selezionare sembrare seguitare smontare sognare sopportare sperare spiegare sposare spostare"
    " sprecare stampare staccare studiare suonare superare sviluppare svegliare tagliare telefonare tentare"
    " terminare tirare toccare tornare trattare trovare urlare usare utilizzare valutare verificare versare"
    " viaggiare visitare visualizzare volare votare"
)
_ERE = (
    "accendere/accend//acces accorgere/accorg aggiungere/aggiung ammettere/ammett apprendere/apprend"
    " assistere attendere/attend bere/bev//bevv/berr cadere/cad///cadr chiedere/chied//chies"
    " chiudere/chiud//chius comprendere/comprend concedere/conced condividere/condivid"
    " condurre/conduc//condus/condurr confondere/confond conoscere/conosc correggere/corregg correre/corr"
    " credere/cred crescere/cresc decidere/decid difendere/difend dipendere/dipend discutere/discut"
    " dividere/divid eleggere/elegg escludere/esclud esistere/esist esprimere/esprim fingere/fing"
    " godere/god///godr giungere/giung iscrivere/iscriv insistere/insist leggere/legg"
    " mantenere/mantien/manteng/manten/manterr mettere/mett muovere/muov nascere/nasc nascondere/nascond"
    " offendere/offend ottenere/ottien/otteng/otten/otterr permettere/permett perdere/perd piacere/piacc"
    " possedere/possied prendere/prend pretendere/pretend produrre/produc//produs/produrr promettere/promett"
    " proporre/propon/propong/propos/proporr proteggere/protegg raccogliere/raccogl/raccolg rendere/rend"
    " ridere/rid ridurre/riduc//ridus/ridurr rimanere/riman/rimang//rimarr ripetere/ripet risolvere/risolv"
    " rispondere/rispond ritenere/ritien/riteng//riterr rompere/romp scegliere/scegl/scelg scendere/scend"
    " scrivere/scriv sedere/sied smettere/smett sorridere/sorrid spegnere/spegn/speng spendere/spend"
    " sostenere/sostien/sosteng//sosterr stringere/string supporre/suppon/suppong//supporr temere/tem"
    " tenere/tien/teng/tenn/terr togliere/togl/tolg tradurre/traduc//tradus/tradurr trascorrere/trascorr"
    " uccidere/uccid vedere/ved//vid/vedr vendere/vend vincere/vinc vivere/viv///vivr volgere/volg"
)
_IRE = (
    "aprire avvertire bollire consentire coprire convertire cucire divertire dormire fuggire inseguire"
    " investire mentire morire/muor/muoi offrire partire salire//salg scoprire seguire sentire servire soffrire"
    " uscire/esc vestire venire/vien/veng//verr"
)
_ISC = (
    "agire capire chiarire colpire condire contribuire costruire distribuire esaurire ferire finire fornire"
    " garantire gestire gradire guarire impedire inserire istruire percepire preferire proibire pulire punire"
    " reagire restituire riferire riunire sparire spedire stabilire stupire subire suggerire tradire trasferire"
    " ubbidire unire"
)  # fmt: skip

_TU = (
    "hai vai puoi vuoi devi stai fai sai dici esci bevi vieni tieni siedi rimani scegli togli eri stavi davi"
    " facevi dicevi bevevi avevi potevi volevi dovevi sapevi andavi venivi avrai sarai potrai vorrai dovrai"
    " saprai andrai farai dirai starai darai verrai avresti saresti potresti vorresti dovresti sapresti"
    " andresti faresti diresti staresti daresti verresti fosti avesti facesti dicesti andasti potesti volesti"
    " dovesti sapesti desti stesti piaci riesci muori rifai disfai soddisfi"
)
_LEI = (
    "ha va può vuole deve sta fa sa dice esce beve viene tiene siede rimane sceglie toglie era stava dava"
    " faceva diceva aveva poteva voleva doveva sapeva andava veniva avrà sarà potrà vorrà dovrà saprà andrà"
    " farà dirà starà darà verrà avrebbe sarebbe potrebbe vorrebbe dovrebbe saprebbe andrebbe farebbe direbbe"
    " starebbe darebbe verrebbe riesce"
)
_LET_LEI = (
    "abbia sia vada stia faccia dica dia sappia venga tenga esca beva voglia possa debba salga scelga tolga"
    " rimanga si tragga riesca"
)
_LET_TU = "vieni tieni siedi dimmi dammi fammi stammi vacci dillo fallo abbi sii esci"
_IRREGULAR = "fare dare stare dire andare avere essere potere volere dovere sapere"


class Forms(NamedTuple):
    """Sets of forms by who is addressed and how."""

    you: frozenset[str]
    """Second person singular that is not the subjunctive of Lei as well."""
    shared: frozenset[str]
    """Present of verbs in -are: tu in a statement or question, Lei where something is asked."""
    lei: frozenset[str]
    """Third person singular, indicative and conditional."""
    let_lei: frozenset[str]
    """Subjunctive of verbs in -ere and -ire: what Lei is asked to do."""
    let_tu: frozenset[str]
    """Imperative of tu."""
    infinitives: frozenset[str]


def _soft(stem: str, ending: str, hard: bool) -> str:
    """A stem and an ending: verbs in -care keep their sound with h, those in -iare drop one i."""
    if ending.startswith("i") and stem.endswith("i"):
        return stem[:-1] + ending
    if hard and stem.endswith(("c", "g")) and ending[0] in "ie":
        return stem + "h" + ending
    return stem + ending


def _are(base: str) -> tuple[set[str], set[str], set[str]]:
    """Forms of tu, of Lei, and those they share, of a verb in -are."""
    future = _soft(base[:-1] if base.endswith(("ci", "gi")) else base, "er", not base.endswith(("ci", "gi")))
    return (
        {base + "avi", base + "asti", future + "ai", future + "esti"},
        {base + "a", base + "ava", base + "ò", future + "à", future + "ebbe"},
        {_soft(base, "i", True)},
    )


@cache
def forms() -> Forms:
    """All forms, made once."""
    you, lei, let_lei, let_tu = (set(text.split()) for text in (_TU, _LEI, _LET_LEI, _LET_TU))
    shared: set[str] = set()
    infinitives = set(_IRREGULAR.split())
    for verb in _ARE.split():
        mine, theirs, both = _are(verb[:-3])
        you, lei, shared = you | mine, lei | theirs, shared | both
        let_tu.add(verb[:-3] + "a")
        infinitives.add(verb)
    isc = frozenset(_ISC.split())
    for verb in f"{_ERE} {_IRE} {_ISC}".split():
        infinitive, stressed, subjunctive, past, future, *_ = (*verb.split("/"), "", "", "", "")
        short = infinitive[-4:] in ("urre", "orre")
        base = infinitive[:-4] + {"urre": "uc", "orre": "on"}[infinitive[-4:]] if short else infinitive[:-3]
        base = "bev" if infinitive == "bere" else base
        stressed = base + "isc" if verb in isc else stressed or base
        theme = "e" if short else infinitive[-3]
        future = future or infinitive[:-1]
        you |= {_soft(stressed, "i", False), base + theme + "vi", base + theme + "sti", future + "ai", future + "esti"}
        lei |= {stressed + "e", base + theme + "va", future + "à", future + "ebbe", *([past + "e"] if past else [])}
        let_lei.add((subjunctive or stressed) + "a")
        let_tu.add(_soft(stressed, "i", False))
        infinitives.add(infinitive)
    return Forms(*map(frozenset, (you, shared, lei, let_lei - {"si"}, let_tu, infinitives)))
