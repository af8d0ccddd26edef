"""How Japanese addresses a person: polite (です, ます) against plain sentences.

Read from the predicate that ends the sentence, once the particles after it are taken off (ですよね, ますけど); a
clause before a noun has no say. A word that only looks like an ending (ますます, だます, まだ, あなた, ありがとう) is
not one. Honorific and humble words (いらっしゃる, 申し上げる, ご覧, お待ちになる) weigh a little wherever they stand:
they honour a person spoken of, who need not be the reader.

Limits: である is plain, though impersonal writing uses it to nobody in particular, so it weighs less. られる as an
honorific is not told from the passive. A sentence that ends in a noun or a name says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from watchkeeper.analysis.address.endings import Ending, endings
from watchkeeper.analysis.address.words import Evidence

_TAIL = 24
_ASIDE = re.compile(r"[（(][^（()）\n]{0,200}[)）]")
_TRAILING = frozenset("wWｗＷ笑草泣")
_DRAWN = frozenset("ーぁぃぅぇぉっッァィゥェォ")
_LONG_PARTICLES = "けれども けれど けども かしら けど から ので のに って もん もの っけ かな なあ ねえ よね とも"
_PARTICLES = (*_LONG_PARTICLES.split(), *"かねよなわさぞぜのしがと")
_KANJI = "一-鿿々"

_POLITE = re.compile(
    rf"(?:です|でした|でしょう|(?<=[いきぎしじちにびみりえけげせぜてでねべめれ{_KANJI}])(?:ます|ました|ません|ませんでした|ましょう|まして)|でして|ください|下さい|ませ|ございます|ございました)$"
)
_LIKE_POLITE = re.compile(r"(?:[済冷覚醒励悩澄騙晦眩]ま(?:す|した|しょう)|だま(?:す|した)|ますます)$")
_INNER = re.compile(r"(?:です|ます|ました|ません|でした)(?:けれど|けど|から|ので|が|し|ね|よ)?、")
_COPULA = re.compile(
    r"(?:だった|だろう?|じゃん|(?:じゃ|では?)な(?:い|かった)|(?:ん|の)だ|(?<!ま)(?<!た)(?<!あい)(?<!なみ)(?<!いま)だ)$"
)
_WRITTEN = re.compile(r"であ(?:る|った|ろう)$")
_NOT_ADJECTIVE = re.compile(
    r"(?:は|あ|お|せ|くら|ぐら|くださ|なさ|いらっしゃ|ていね|間違|違|願|誓|思|匂|笑|扱|疑|占|戦|争|会|合|祝|救|狙|習|舞|伝|払|問|使|勢|災|幸|位|類|洗|支|お祝|払|買|言|世)い$"
)
_ADJECTIVE = re.compile(rf"(?:[しなたかさまつるいよろごどきくわらぽむふやじちけゆずみ{_KANJI}]い|かった)$")
_NOT_VERB = re.compile(
    r"(?:ありがとう|おめでとう|おはよう|ほんとう|どう|のよう|(?:^|[のは、 　今昼])(?:ひる|よる|はる|さる|まる)"
    r"|[一二三四五六七八九幾]つ|直ぐ|すぐ|あした|なんて|あなた|かなた|[、のは ]きた)$"
)
_VERB = re.compile(
    rf"(?:[ぁ-ん{_KANJI}]る|[{_KANJI}らがまゃあかいわさなや]う|(?:[{_KANJI}][こそとのぼもろごお]|(?:[{_KANJI}しべめれけせてみえねきりげじち])よ)う"
    r"|[行書聞聴働歩着置動続泣引弾開届描驚輝築招抱解効吹焼磨除響咲突叩履導傾浮退敷炊沸乾湧欠嘆巻向抜拭付頂いお]く"
    rf"|(?:[{_KANJI}]|[だならこお])す|[{_KANJI}]ぐ|[{_KANJI}]つ|死ぬ|[{_KANJI}]ぶ|(?:[{_KANJI}]|し)む)$"
)
_PAST = re.compile(rf"(?:っ|[いんしきみべめれてでえけせねげにびりちじぎ{_KANJI}])た$|[んい]だ$")
_NOT_REQUEST = re.compile(
    r"(?:どうし|そし|はじめ|初め|すべ|全|とし|につい|によっ|にとっ|やが|あわせ|改め|あらため|せめ|たっ|対し|通し|通じ|向け|かけ|まし|でし|決し|極め|かえっ|なん|次い|おい|よっ|とっ|従っ|基づい)[てで]$"
)
_REQUEST = re.compile(rf"(?:[っいしきけべめれみせえねげじびりちに{_KANJI}]て|[{_KANJI}](?:ん|い)で|ちょうだい|頂戴)$")
_LET = re.compile(
    r"(?:しろ|せよ|くれ|(?<!おやすみ)(?<!お休み)(?<!ごめん)(?<!おかえり)(?<!お帰り)なさい|[べけめせみえれ見]ろ|来い|行け|頑張れ|がんばれ|黙れ|帰れ|やれ|急げ|止まれ)$"
)
_CASUAL = re.compile(
    r"(?:でしょ|かも|みたい|らしい|っぽい|うん|ううん|ごめん|またね|バイバイ|そうか|なのか|お願い|しそう|そうそう|ないで|な(?:きゃ|くちゃ)|好き|嫌い|大丈夫|無理|だめ|ダメ|本当|ほんと)$"
)
_ASKS = re.compile(r"(?:何|なに|誰|だれ|どこ|いつ|どう|なぜ|なんで|どれ|どっち|いくつ|いくら)$")
_CASUAL_HEAD = re.compile(r"(?:うん|ううん|やあ|ねえ|なあ|おい|じゃあ?ね)(?=[、\s!！ 　]|$)")
_PRONOUN = re.compile(
    rf"(?<![{_KANJI}ァ-ヶ])君(?=[はがもをのに])|俺|おれ(?=[はがもをの])|お前|おまえ|てめえ|あんた(?=[はがもをの])"
)
_HONORED = re.compile(
    r"いらっしゃ[るっり]|おっしゃ[るっりい]|召し上が|ご覧|御覧|いただ[いくけき]|頂[いくけき]|申し上げ|申しま|存じ|伺[いうっ]|拝[見聴読借]|承[りっ知]|かしこまり|致しま"
    r"|いたしま|[おご][^\s、。おご]{1,6}(?:になる|になっ|になり|になら|くださ|下さ)|弊社|御社|貴社|お客様"
)


def marks(text: str) -> Iterator[Evidence]:
    """The marks of address in a text."""
    bare = _ASIDE.sub(lambda found: " " * len(found[0]), text)
    for sentence in endings(bare, _TRAILING):
        found = None if sentence.open else _ending(sentence)
        if found is not None:
            yield found
        for rule, pattern, side, weight in (
            ("polite clause", _INNER, "formal", 0.5),
            ("honorific or humble word", _HONORED, "formal", 0.4),
            ("informal pronoun", _PRONOUN, "informal", 0.8),
        ):
            for hit in pattern.finditer(sentence.text):
                yield sentence.mark_at(hit.start(), hit.end(), side, weight, rule)  # type: ignore[arg-type]
        head = _CASUAL_HEAD.match(sentence.text)
        if head and head.end() < len(sentence.text):
            yield sentence.mark_at(0, head.end(), "informal", 0.5, "casual interjection")


def _ending(sentence: Ending) -> Evidence | None:
    """What the predicate at the end says."""
    tail = sentence.text[-_TAIL:]
    drawn = tail
    while len(drawn) > 2 and drawn[-1] in _DRAWN and "ぁ" <= drawn[-2] <= "ん":
        drawn = drawn[:-1]
    core, taken = _stripped(drawn)
    for candidate in (drawn, core):
        hit = _POLITE.search(candidate)
        if hit and not _LIKE_POLITE.search(candidate):
            return sentence.mark(len(tail) - hit.start(), "formal", 1.0, "polite ending")
    for candidate in (drawn, core):
        weight, length = _plain(candidate)
        if weight:
            return sentence.mark(len(tail) - len(candidate) + length, "informal", weight, "plain ending")
    if sentence.question and _ASKS.search(core):
        return sentence.mark(len(tail), "informal", 0.7, "question without a predicate")
    if taken in ("ね", "よ", "よね", "かな", "ぞ", "ぜ", "っけ", "なあ") and core:
        return sentence.mark(len(tail) - len(core), "informal", 0.6, "casual particle")
    if core in ("ありがとう", "おはよう", "よろしく", "おやすみ") or core.endswith("、ありがとう"):
        return sentence.mark(len(tail), "informal", 0.4, "greeting in its plain form")
    if core in ("はい", "いいえ", "ええ", "ごめんなさい", "おやすみなさい"):
        return sentence.mark(len(tail), "formal", 0.3, "polite word")
    return None


def _stripped(tail: str) -> tuple[str, str]:
    """A tail without the particles that end it, and the first of those."""
    taken = ""
    for _ in range(4):
        particle = next((one for one in _PARTICLES if tail.endswith(one) and len(tail) > len(one)), "")
        if not particle:
            break
        tail, taken = tail.removesuffix(particle), particle + taken
    return tail, taken


def _plain(core: str) -> tuple[float, int]:
    """How surely a tail ends in a plain predicate, and its length."""
    if _LIKE_POLITE.search(core):
        return (0.0, 0) if core.endswith("ますます") else (1.0, 3)
    if found := _WRITTEN.search(core):
        return 0.6, len(found[0])
    if found := _CASUAL.search(core):
        return 0.7, len(found[0])
    if found := _LET.search(core):
        return 0.8, len(found[0])
    if found := _COPULA.search(core):
        return 1.0, len(found[0])
    if (found := _ADJECTIVE.search(core)) and not _NOT_ADJECTIVE.search(core):
        return 1.0, len(found[0])
    if (found := _VERB.search(core) or _PAST.search(core)) and not _NOT_VERB.search(core):
        return 1.0, len(found[0])
    if (found := _REQUEST.search(core)) and not _NOT_REQUEST.search(core):
        return 0.6, len(found[0])
    return 0.0, 0
