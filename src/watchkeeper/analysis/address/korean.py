"""How Korean addresses a person: the polite levels (합쇼체, 해요체) against the plain ones (해체, 해라체).

Read from the last word of the sentence by its final syllables and the consonants that close them: 갑니다 is polite,
다니다 is not, 갈까 asks and 국가 does not. Nouns that end in the same syllable as a level (필요, 언니, 나라, 이미지)
are listed. Humble and honouring words (드리다, 께서, 저희) weigh a little wherever they stand.

Limits: -다 is plain, though impersonal writing uses it to nobody in particular, so it weighs less. -시- honours the
person spoken of and is not read as an address. A sentence that ends in a noun says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from watchkeeper.analysis.address.endings import Ending, endings
from watchkeeper.analysis.address.words import Evidence, listed

_TRAILING = frozenset(chr(code) for code in range(0x3131, 0x3164))
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"

_NOUN_YO = (
    "필요",
    "수요",
    "동요",
    "개요",
    "주요",
    "민요",
    "담요",
    "소요",
    "강요",
    "중요",
    "불요",
    "긴요",
    "대중가요",
    "인기가요",
)
_NOUN = re.compile(
    r"(?:바다|소다|판다|캐나다|수다|람다|베란다|르완다|우간다|혼다|린다|아젠다|어젠다|보다|마다|에다"
    r"|[국본영인단언용연문상속은일약원]어|[스아웨토디타이리니투도코조기바피커케]어|검색어|목적어"
    r"|분야|시야|평야|광야|심야|황야|제야|올해|새해|이해|오해|피해|손해|방해|[동서남]해|지난해|항해|견해|상해|재해|공해|화해|침해|저해|한해|분해|독해|도해|양해|자해|가해|유해|무해|박해|수해|심해|근해|지중해|흑해|홍해|북해|발해|위해|대해|통해|의해|인해|향해|관해|비해"
    r"|페이지|이미지|메시지|편지|돼지|아버지|강아지|송아지|가지|바지|반지|휴지|먼지|여지|의지|유지|단지|토지|기지|공지|금지|방지|정지|중지|폐지|감지|인지|지지|복지|잡지|표지|묘지"
    r"|[주적행발착광거양식]지|근거지|패키지|소시지|마사지|에너지|나머지|까지|스테이지|브리지|챌린지"
    r"|언니|어머니|할머니|아주머니|주머니|비키니|바구니|하모니|심포니|소니|동네|그네|나라|카메라|콜라|오페라|드라큘라|소라|신라|고릴라|빌라|테슬라|파라"
    r"|배려|고려|격려|염려|우려|참여|기여|부여|증여|수여|대여|오히려|파워|타워|샤워|팔로워|플라워|가게|무게|집게|지게|어떻게|이렇게|그렇게|미래|노래|아래|이래|본래|원래|거래|유래|장래|도래"
    r"|남자|여자|의자|사자|과자|모자|감자|피자|투자|숫자|글자|문자|한자|혼자|환자|상자|전자|기자|부자|[용비리험업작청술학]자|치킨까|대가|하나|누나|바나나|안드로이드)$"
)
_ONE_SYLLABLE = listed("해 가 와 봐 줘 돼 써 커 자 사 꺼 나") - {"자", "사", "나"}
_AND = re.compile(
    r"(?:봐|줘|돼|꿔|춰|둬|워|뭐야|거야|이야|아냐|잖아|구나|더라|거든|는걸|을걸|던데|는데|인데|은데|몰라|골라|빨라|달라|눌러|불러|들러|서둘러|나와|들어와|돌아와|다녀와|가져와|들어가|돌아가|나가)$"
)
_LET = re.compile(r"(?:해라|마라|거라|어라|아라|봐라|와라|줘라|가라|져라|써라|려라|지마|하지 마|말아)$")
_HORTATIVE = re.compile(r"(?:하자|가자|먹자|보자|말자|두자|놀자|만나자|쉬자|찾자|앉자|읽자|시작하자)$")
_YEO = re.compile(r"(?:려|셔|쳐|져|켜|펴|껴|여)$")
_PRONOUN = re.compile(r"(?<![가-힣])(?:너(?:는|를|도|의|랑|한테|만|희[가-힣]*)?|넌|네가|니가)(?![가-힣])")
_HUMBLE_I = re.compile(r"(?<![가-힣])(?:저는|제가|저도|저희[가-힣]*|저를|저에게)(?![가-힣])")
_HONORED = re.compile(r"드[리려립릴린렸]|께서|계[시신세셨]|여쭤|여쭙|뵙|뵐|말씀|고객님|선생님")
_INNER = re.compile(r"[가-힣]{0,6}(?:습니다|입니다|[어아해세네지]요|죠)(?=,)")
_INTERJECTION = {"응": 0.8, "그래": 0.6, "안녕": 0.5, "야": 0.6, "아니": 0.3, "어": 0.4}


def marks(text: str) -> Iterator[Evidence]:
    """The marks of address in a text."""
    for sentence in endings(text, _TRAILING):
        found = None if sentence.open else _ending(sentence)
        if found is not None:
            yield found
        for rule, pattern, side, weight in (
            ("polite clause", _INNER, "formal", 0.5),
            ("humble or honouring word", _HONORED, "formal", 0.35),
            ("humble I", _HUMBLE_I, "formal", 0.4),
            ("plain you", _PRONOUN, "informal", 1.0),
        ):
            for hit in pattern.finditer(sentence.text):
                yield sentence.mark_at(hit.start(), hit.end(), side, weight, rule)  # type: ignore[arg-type]


def _closed(syllable: str) -> str:
    """The consonant that closes a syllable, or a space."""
    return _FINALS[(ord(syllable) - 0xAC00) % 28] if "가" <= syllable <= "힣" else " "


def _ending(sentence: Ending) -> Evidence | None:
    """What the last word says."""
    tail = sentence.text[-16:]
    word = tail.split()[-1] if tail.split() else ""
    if not word or not "가" <= word[-1] <= "힣":
        return None
    weight, rule = _polite(word)
    if weight:
        return sentence.mark(min(len(word), 4), "formal", weight, rule)
    weight, rule = _plain(word, tail, sentence.question)
    return sentence.mark(min(len(word), 3), "informal", weight, rule) if weight else None


def _polite(word: str) -> tuple[float, str]:
    before = _closed(word[-3]) if len(word) > 2 else " "
    if word.endswith(("니다", "니까", "시다")) and before == "ㅂ":
        return 1.0, "합쇼체"
    if word.endswith(("십시오", "십시요", "십쇼")):
        return 1.0, "합쇼체"
    if word.endswith("시오"):
        return 0.7, "하오체"
    if word.endswith("죠") or (word.endswith("요") and not word.endswith(_NOUN_YO)):
        return 1.0, "해요체"
    return (0.3, "polite word") if word in ("네", "예") else (0.0, "")


def _plain(word: str, tail: str, question: bool) -> tuple[float, str]:
    if word in _INTERJECTION:
        return _INTERJECTION[word], "plain word"
    if _NOUN.search(word):
        return (0.5, "해체") if word == "어떻게" and question else (0.0, "")
    last, before = word[-1], word[-2] if len(word) > 1 else " "
    closed = _closed(before)
    if word in _ONE_SYLLABLE:
        return 1.0, "해체"
    if last == "다":
        return _da(before, closed)
    if _AND.search(word):
        return (0.7 if word.endswith("데") else 1.0), "해체"
    if _LET.search(tail):
        return 1.0, "해라체"
    if _HORTATIVE.search(word):
        return (0.5 if word == "하자" else 0.9), "해라체"
    return _open_syllables(last, before, closed, question, word)


def _da(before: str, closed: str) -> tuple[float, str]:
    """The plain declarative -다."""
    if closed == "ㅂ" or (closed == " " and before not in "이하되니크프쁘르지주나오가시서두"):
        return (0.8 if closed == "ㅂ" else 0.0), "해라체"
    return 0.8, "해라체"


def _open_syllables(last: str, before: str, closed: str, question: bool, word: str) -> tuple[float, str]:
    """Plain endings told by the consonant before them."""
    asked = {
        "어": closed in "ㅆㄱㄷㄹㅁㅂㅅㅄㅍㅎㄶㅀㄵㅈㅊㅌㄺㄼㄻ" and closed != " ",
        "아": closed in "ㅎㄶㅀㅈㅌㄷㄵㅁㅍㄹㄱㄲㅂㅅ"
        and closed != " "
        and not word.endswith(("육아", "발아", "월아")),
        "해": True,
        "지": (closed in "ㅆㅎㅈㅄㄶ" and closed != " ")
        or word.endswith(
            ("알지", "살지", "놀지", "힘들지", "하지", "이지", "되지", "르지", "가지", "오지", "쁘지", "크지", "프지")
        ),
        "야": not word.endswith(("해야", "어야", "아야", "여야", "려야", "와야", "가야")),
        "네": (closed in "ㅎㅆㅄㄱㅈㄹㅂ" and closed != " ") or before in "하이되가오크쁘프르지주나보시",
        "니": question,
        "냐": True,
        "나": question and closed in "ㅆㅄ" and closed != " ",
        "까": closed == "ㄹ",
        "게": closed == "ㄹ",
        "걸": closed == "ㄹ",
        "래": closed == "ㄹ" or word in ("그래", "할래"),
        "군": closed in "ㅆㅎㅄ" or before in "하이되크쁘",
    }
    if asked.get(last, False):
        return (0.8 if last in "지네" else 1.0), "해라체" if last in "니냐" else "해체"
    if _YEO.search(word) and len(word) > 1:
        return 0.8, "해체"
    return 0.0, ""
