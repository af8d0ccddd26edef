"""How German addresses a person: du and ihr against Sie.

Sie, Ihnen and Ihr with a capital inside a sentence are the formal address. At the head of a sentence they may also be
they, she, her and their: with a singular verb they are not the address, with a plural one they may be, the more so in
the first sentence, where nobody else has been named yet, and before a verb that advises.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchkeeper.analysis.address.words import Evidence, Sentence, Word, listed

_DU = listed(
    "du dich dir dein deine deinen deinem deiner deines deins deinetwegen deinerseits euch euer eure euren"
    " eurem eurer eures eurerseits euretwegen dus haste biste kannste willste weißte musste"
) - {"musste", "dus"}
_IHR = listed("ihr ihre ihren ihrem ihrer ihres")
_FORMAL_ONLY = listed("Ihnen Ihrerseits Ihretwegen Ihresgleichen")
_VERB_DU = listed(
    "bist hast kannst willst musst mußt sollst wirst darfst magst möchtest könntest solltest würdest müsstest"
    " dürftest wolltest konntest hattest warst weißt hättest wärst wärest brauchst findest denkst meinst"
    " glaubst kennst siehst machst gehst kommst sagst nimmst gibst bekommst"
)
_VERB_IHR = listed(
    "seid habt könnt wollt müsst dürft sollt werdet wisst mögt möchtet würdet hättet wärt könntet solltet wart"
    " hattet braucht findet kennt"
)
_LET_DU = listed("gib nimm lies iss sieh hilf sprich vergiss wirf tritt versprich")
_LET_DU_TOO = listed(
    "komm sag schau schaue geh lass warte wart mach ruf rufe schick schicke bleib hör denk denke probier"
    " probiere versuche entschuldige verzeih verzeihe zeig zeige nenn nenne stell stelle setz setze leg lege"
    " schreib schreibe melde bring hol trink klick klicke prüfe wähle öffne sende überprüfe kontaktiere gehe"
    " mache lasse sei"
)
_CALLS = listed("komm schau warte entschuldige verzeih sei lass zeig")
_ADVISE = listed(
    "können müssen sollten möchten dürfen brauchen wollen könnten müssten erhalten bekommen finden"
    " sollen dürften haben sind werden"
)
_WITH_SHE = listed(
    "ist hat war kann will muss soll wird darf mag möchte könnte sollte würde hatte hätte wäre wollte musste konnte"
)
_ASK_BEFORE = listed(
    "haben sind können möchten wollen werden sollten würden müssen dürfen könnten bitte hätten wären kennen"
    " wissen mögen nehmen geben wenn dass ob was wie wo wann warum falls damit weil und oder aber als nachdem"
    " bevor sobald da für an ohne um gegen durch"
)
_EXCLAIMED = listed("meine lieber liebe liebes grüne heiliger heilige")
_EXCLAIMED_AT = listed("güte zeit himmel gott neune strohsack bisschen scheiße")
_HEADS = frozenset(':„“"»«(*•#|[/>')


def marks(sentence: Sentence) -> Iterator[Evidence]:
    """The marks of address in a sentence."""
    shouted = len(sentence.words) > 1 and all(word.text.isupper() for word in sentence.words if len(word.text) > 1)
    for index, word in enumerate(sentence.words):
        low = word.low
        if word.glued or (index + 1 < len(sentence.words) and sentence.words[index + 1].glued and low == "dir"):
            continue
        if low in _DU and not (sentence.low(index + 1) in _EXCLAIMED and sentence.low(index + 2) in _EXCLAIMED_AT):
            weight = (
                0.3
                if _foreign(sentence, index) or (word.text.isupper() and len(word.text) > 1 and not shouted)
                else 1.0
            )
            yield sentence.mark(index, "informal", weight, "pronoun or possessive of du or ihr")
        elif low in _VERB_DU and _is_verb(word, index):
            yield sentence.mark(index, "informal", 1.0, "verb of du")
        elif low == "ihr" and _plural(sentence, index):
            yield sentence.mark(index, "informal", 1.0, "ihr with its verb")
        elif word.text in _FORMAL_ONLY:
            yield sentence.mark(index, "formal", 0.6 if _heads(word, index) else 1.0, "Ihnen with a capital")
        elif word.text == "Sie" or (word.capital and not word.text.isupper() and low in _IHR):
            yield from _sie(sentence, index)
        elif index == 0 or word.opens:
            yield from _asked(sentence, index)


def _plural(sentence: Sentence, index: int) -> bool:
    """Whether ihr is you: a verb of ihr stands before it, or after it in the same clause."""
    if sentence.low(index - 1) in _VERB_IHR:
        return True
    for word in sentence.words[index + 1 : index + 11]:
        if word.opens:
            return False
        if word.low in _VERB_IHR:
            return True
    return False


def _is_verb(word: Word, index: int) -> bool:
    return index == 0 or word.opens or not word.capital


def _heads(word: Word, index: int) -> bool:
    return index == 0 or not _HEADS.isdisjoint(word.gap) or (word.gap.strip() in ("-", "–", "—") and word.gap != "-")


def _foreign(sentence: Sentence, index: int) -> bool:
    """Whether du stands in a French name: Cirque du Soleil."""
    if sentence.low(index) != "du" or index == 0 or index + 1 >= len(sentence.words):
        return False
    before, after = sentence.words[index - 1], sentence.words[index + 1]
    if (
        before.low.endswith(("st", "ßt", "t"))
        or before.low in _ASK_BEFORE
        or (index == 1 and before.low in ("wenn", "was", "wie", "wo", "ob"))
    ):
        return False
    return before.capital and after.capital


def _sie(sentence: Sentence, index: int) -> Iterator[Evidence]:
    """Sie or Ihr with a capital: the address inside a sentence, perhaps at its head."""
    word, after = sentence.words[index], sentence.low(index + 1)
    rule = "Sie or Ihr with a capital"
    if not _heads(word, index):
        yield sentence.mark(index, "formal", 1.0, rule)
    elif word.low == "sie":
        if after in _WITH_SHE or not after.endswith(("en", "sind", "ern", "eln")):
            return
        you_know = (
            after == "wissen" and index + 2 < len(sentence.words) and sentence.words[index + 2].gap.strip() == ","
        )
        weight = 0.5 if sentence.number == 0 or you_know else 0.3
        yield sentence.mark(
            index,
            "formal",
            weight if you_know or after in _ADVISE else weight - 0.2,
            "Sie at the head, which is also they",
        )
    else:
        yield sentence.mark(
            index, "formal", 0.5 if sentence.number == 0 else 0.4, "Ihr at the head, which is also her and their"
        )


def _asked(sentence: Sentence, index: int) -> Iterator[Evidence]:
    """What du is asked to do, at the head of a clause."""
    word, after = sentence.words[index], sentence.low(index + 1)
    if after in ("ich", "wir", "sie", "er", "es", "man", "du") or sentence.question:
        return
    if word.low in _LET_DU and (index == 0 or not word.capital):
        yield sentence.mark(index, "informal", 1.0, "what du is asked to do")
    elif word.low in _LET_DU_TOO and index == 0:
        helped = after in ("mal", "doch", "bitte", "mir", "mich", "uns", "einfach", "deine", "her", "nicht")
        whole = after in ("auf", "den", "die", "das", "ein", "eine", "zu", "dann") and not word.low.endswith("e")
        weight = 0.8 if helped and word.low in _CALLS else 0.6 if helped or whole else 0.4
        yield sentence.mark(index, "informal", weight, "what du is asked to do, or I without its pronoun")
