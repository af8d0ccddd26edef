"""The forms of frequent Spanish verbs that differ between tú, vos, vosotros and usted, by rule from their stems.

A verb is written `infinitive/stressed stem/subjunctive stem/preterite stem/future stem`, a later part only where it is
not the one that spelling gives. The verbs are those a grammar lists as regular models, stem-changing or irregular, with
those that any conversation needs; a verb that is not here is known by its unmistakable endings alone.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from watchkeeper.analysis.address.words import listed

_AR = (
    "abonar abrazar acabar aceptar acercar acompañar acordar/acuerd acostar/acuest acostumbrar activar"
    " actualizar adelantar adivinar admirar adjuntar agregar aguantar ahorrar alcanzar alegrar almorzar/almuerz"
    " alojar alquilar amar analizar andar///anduv animar anotar anular apagar apellidar aplicar apostar/apuest"
    " apoyar apreciar aprovechar apuntar arreglar arrancar asegurar asustar atrapar avisar ayudar bailar bajar"
    " bloquear borrar bromear bañar buscar calcular callar calmar cambiar caminar cancelar cansar cantar cargar"
    " casar celebrar cenar cerrar/cierr charlar cobrar cocinar colgar/cuelg colocar comentar comenzar/comienz"
    " comparar completar comprar comprobar/comprueb comunicar concentrar configurar confirmar considerar"
    " consultar contactar contar/cuent contestar continuar/continú controlar copiar cortar costar/cuest crear"
    " criticar cruzar cuidar culpar dar///d dedicar dejar demorar descansar descargar desear despertar/despiert"
    " destacar dibujar disculpar disfrutar dudar duchar echar elaborar emocionar empezar/empiez encargar"
    " encontrar/encuentr enfadar enojar enseñar entrar entregar enviar/enví equivocar escapar escuchar"
    " esforzar/esfuerz especificar esperar estar/est//estuv estudiar evaluar/evalú evitar examinar expresar"
    " explicar extrañar facilitar fallar felicitar fijar firmar formar fumar ganar gastar girar grabar gritar"
    " guardar guiar/guí gustar hablar identificar imaginar importar indicar informar ingresar iniciar insertar"
    " instalar intentar interesar investigar invitar jugar/jueg juntar jurar lamentar lanzar lavar levantar"
    " limpiar llamar llegar llenar llevar llorar lograr luchar mandar manejar marcar marchar mejorar mencionar"
    " mezclar mirar modificar molestar montar mostrar/muestr nadar navegar necesitar negar/nieg nombrar notar"
    " observar odiar olvidar opinar ordenar organizar pagar parar participar pasar pasear pegar pelear"
    " pensar/piens perdonar pesar pescar pintar practicar preguntar preocupar preparar presentar presionar"
    " prestar probar/prueb programar proporcionar publicar pulsar quedar quejar quitar realizar rechazar"
    " reclamar recomendar/recomiend recordar/recuerd recuperar reenviar/reenví reflejar registrar regresar"
    " rellenar relajar reparar repasar representar reservar respetar retirar revisar rogar/rueg sacar salvar"
    " seleccionar señalar sentar/sient significar solicitar soltar/suelt soñar/sueñ soportar sospechar subrayar"
    " suspirar tardar terminar tirar tocar tomar trabajar tranquilizar tratar usar utilizar vacunar valorar"
    " verificar viajar visitar volar/vuel votar"
)
_ER = (
    "aparecer//aparezc aprender agradecer//agradezc atender/atiend atrever beber caber/cab/quep/cup/cabr"
    " caer//caig coger comer cometer comprender conocer//conozc contener/contien/conteng/contuv/contendr correr"
    " creer crecer//crezc deber defender/defiend depender desaparecer//desaparezc"
    " detener/detien/deteng/detuv/detendr devolver/devuelv doler/duel encender/enciend entender/entiend escoger"
    " esconder establecer//establezc exponer//expong/expus/expondr favorecer//favorezc hacer//hag/hic/har leer"
    " mantener/mantien/manteng/mantuv/mantendr merecer//merezc meter morder/muerd mover/muev nacer//nazc"
    " obedecer//obedezc obtener/obtien/obteng/obtuv/obtendr ofrecer//ofrezc parecer//parezc perder/pierd"
    " permanecer//permanezc pertenecer//pertenezc poder/pued//pud/podr poner//pong/pus/pondr poseer prender"
    " pretender prometer proponer//propong/propus/propondr proteger querer/quier//quis/querr recoger"
    " reconocer//reconozc resolver/resuelv responder romper saber//sep/sup/sabr ser/x/se/fu/ser socorrer"
    " sorprender sostener/sostien/sosteng/sostuv/sostendr suponer//supong/supus/supondr temer"
    " tener/tien/teng/tuv/tendr torcer/tuerz traer//traig/traj valer//valg//valdr vencer vender ver//ve"
    " volver/vuelv"
)
_IR = (
    "abrir aburrir acudir adquirir/adquier admitir añadir aplaudir asistir asumir compartir concluir/concluy"
    " conducir//conduzc/conduj confundir conseguir/consigu construir/construy contribuir/contribuy"
    " convertir/conviert corregir/corrig cubrir cumplir decidir decir/dic/dig/dij/dir definir describir"
    " descubrir despedir/despid dirigir discutir disminuir/disminuy distinguir divertir/diviert dormir/duerm"
    " elegir/elig escribir exigir existir evadir huir/huy impedir/impid imprimir incluir/incluy inscribir"
    " insistir instruir/instruy introducir//introduzc/introduj invertir/inviert ir/x/vay/fu/ir interrumpir"
    " medir/mid mentir/mient morir/muer ocurrir oír/oy/oig pedir/pid permitir partir preferir/prefier"
    " producir//produzc/produj prohibir recibir reducir//reduzc/reduj referir/refier repetir/repit"
    " requerir/requier resistir reunir/reún salir//salg//saldr seguir/sigu sentir/sient servir/sirv subir"
    " sufrir sugerir/sugier traducir//traduzc/traduj venir/vien/veng/vin/vendr vestir/vist vivir"
)

_YOU_IRREGULAR = (
    "das eres estás vas ves has dices oyes ríes sonríes fuiste diste eras ibas veías hubieras fueras seas"
    " estés vayas hayas"
)
_USTED_IRREGULAR = "hizo vio da es está va ha oye ríe sonríe fue dio era iba veía"
_SUBJUNCTIVE_USTED = "sea esté vaya haya dé vea sepa quepa oiga"
_IMPERATIVE_TU = "di haz pon ten ven sal oye ve compón mantén detén propón"
_OWN_IMPERATIVE = listed(
    "decir hacer poner tener venir salir oír ver poder querer saber deber caber valer parecer proponer suponer"
    " exponer mantener obtener detener contener sostener pertenecer existir ocurrir doler nacer"
)
_VOS = "sos tenés podés querés sabés venís decís"


class Forms(NamedTuple):
    """Sets of forms by who is addressed and how."""

    you: frozenset[str]
    """Second person singular of tú in every tense but the preterite and those that end as it does."""
    usted: frozenset[str]
    """Third person singular, indicative and conditional."""
    let_usted: frozenset[str]
    """Third person of the subjunctive: what usted and ustedes are asked to do."""
    let_you: frozenset[str]
    """Imperative of tú."""
    vos: frozenset[str]
    """Present of vos and vosotros where it is not that of tú."""
    let_vos: frozenset[str]
    """Imperatives of vos and vosotros."""
    infinitives: frozenset[str]
    let_past: frozenset[str]
    """Third person of the past subjunctive."""


def _spelt(stem: str, before: str, ending: str) -> str:
    """A stem with its last consonant spelt for the sound it keeps before the vowel of another class."""
    if ending == "ar":
        for old, new in (("gu", "gü"), ("c", "qu"), ("g", "gu"), ("z", "c")):
            if stem.endswith(old):
                return stem.removesuffix(old) + new
        return stem
    if stem.endswith("gu"):
        return stem.removesuffix("u")
    if stem.endswith("g") and before.endswith("g"):
        return stem.removesuffix("g") + "j"
    return stem.removesuffix("c") + "z" if stem.endswith("c") and before.endswith("c") else stem


def _parts(verb: str) -> tuple[str, str, str, str, str, str]:
    infinitive, stressed, subjunctive, preterite, future, *_ = (*verb.split("/"), "", "", "", "")
    base = infinitive[:-2]
    stressed = stressed or base
    present = subjunctive or _spelt(stressed, base, infinitive[-2:])
    return infinitive, base, stressed, present, preterite or base, future or infinitive.replace("í", "i")


@cache
def forms() -> Forms:
    """All forms, made once."""
    you, usted, let_usted, let_you = (
        set(text.split()) for text in (_YOU_IRREGULAR, _USTED_IRREGULAR, _SUBJUNCTIVE_USTED, _IMPERATIVE_TU)
    )
    vos, let_vos, infinitives, let_past = (
        set(_VOS.split()),
        {"vení", "decí", "sed"},
        set(),
        {"fuera", "fuese", "diera", "viera"},
    )
    for verb in f"{_AR} {_ER} {_IR}".split():
        infinitive, base, stressed, present, preterite, future = _parts(verb)
        infinitives.add(infinitive)
        usted |= {future + "á", future + "ía"}
        you |= {future + "ás", future + "ías"}
        if infinitive in ("ser", "ir", "estar", "dar"):
            continue
        first = infinitive.endswith("ar")
        theme, other = ("a", "e") if first else ("e", "a")
        you |= {stressed + theme + "s", present + other + "s", *([base + "abas"] if first else [base + "ías"])}
        past = preterite + ("" if first else "e" if preterite.endswith("j") else "ie")
        theme_past = "a" if first and preterite == base else ""
        you |= {past + theme_past + ending + "s" for ending in ("ra", "se")}
        let_past |= {past + theme_past + ending for ending in ("ra", "se")}
        usted |= {
            stressed + theme,
            base + ("aba" if first else "ía"),
            preterite + ("o" if preterite != base else "ó" if first else "ió"),
        }
        let_usted |= {present + other, present + other + "n"}
        if infinitive not in _OWN_IMPERATIVE:
            let_you.add(stressed + theme)
        vowel = {"ar": "a", "er": "e"}.get(infinitive[-2:], "i")
        accented = {"a": "á", "e": "é", "i": "í"}[vowel]
        vos |= {base + accented + "s", base + ("ís" if vowel == "i" else accented + "is")}
        let_vos |= {base + vowel + "d", *([base + accented] if vowel != "i" else [])}
    return Forms(
        *map(frozenset, (you, usted - {"para"}, let_usted, let_you - {"para"}, vos, let_vos, infinitives, let_past))
    )
