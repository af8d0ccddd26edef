"""Sentences of our own in several languages, code and JSON: something to count, never something to learn from."""

from __future__ import annotations

import json
from random import Random

BANKS: dict[str, tuple[str, ...]] = {
    "english prose": (
        "The delivery was promised for Tuesday and has not arrived yet.",
        "Please tell me which of the two invoices I should pay first.",
        "Our customer in the north asks whether the warranty covers water damage.",
        "She read the report twice before she noticed the missing page.",
        "Every morning the lights in the harbour are switched off at seven.",
        "If nobody objects by the end of the week, the plan is accepted.",
        "He wrote down the number, but the ink had already run in the rain.",
        "The engineer explained why the second pump had to be replaced.",
    ),
    "german prose": (
        "Die Lieferung war für Dienstag zugesagt und ist noch nicht angekommen.",
        "Bitte sagen Sie mir, welche der beiden Rechnungen zuerst fällig wird.",
        "Unsere Kundin fragt, ob die Gewährleistung auch Wasserschäden umfasst.",
        "Sie las den Bericht zweimal, bevor ihr die fehlende Seite auffiel.",
        "Jeden Morgen werden die Lichter im Hafen um sieben Uhr gelöscht.",
        "Die Straßenbahn hält seit gestern nicht mehr vor dem Rathaus.",
    ),
    "russian prose": (
        "Доставка была обещана на вторник, но посылка ещё не пришла.",
        "Скажите, пожалуйста, какой из двух счетов нужно оплатить сначала.",
        "Наш клиент спрашивает, покрывает ли гарантия повреждение водой.",
        "Она дважды прочитала отчёт, прежде чем заметила пропущенную страницу.",
        "Каждое утро огни в порту гаснут в семь часов.",
        "Инженер объяснил, почему пришлось заменить второй насос.",
    ),
    "japanese prose": (
        "火曜日に届く予定の荷物がまだ届いていません。",
        "二枚の請求書のうち、どちらを先に支払えばよいでしょうか。",
        "お客様から、水による故障も保証の対象になるかと聞かれています。",
        "彼女は報告書を二回読んでから、ページが抜けていることに気づきました。",
        "港の明かりは毎朝七時に消えます。",
        "週末までに反対がなければ、この計画は承認されます。",
    ),
    "chinese prose": (
        "原定星期二送达的包裹到现在还没有收到。",
        "请告诉我这两张发票应该先付哪一张。",
        "北方的客户询问保修是否包括进水造成的损坏。",
        "她把报告读了两遍才发现少了一页。",
        "港口的灯每天早上七点熄灭。",
        "如果周末之前没有人反对，计划就算通过。",
    ),
    "arabic prose": (
        "كان من المقرر أن يصل الطرد يوم الثلاثاء ولم يصل بعد.",
        "من فضلك أخبرني أي الفاتورتين يجب أن أدفع أولا.",
        "يسأل العميل هل يشمل الضمان الأضرار الناتجة عن الماء.",
        "قرأت التقرير مرتين قبل أن تلاحظ الصفحة الناقصة.",
        "تطفأ أضواء الميناء كل صباح في الساعة السابعة.",
    ),
    "code": (
        "def total(rows):\n    return sum(row.price * row.count for row in rows)\n",
        "for name, value in sorted(table.items()):\n    print(f'{name}: {value:>8.2f}')\n",
        "class Meter:\n    def __init__(self, unit):\n        self.unit = unit\n        self.count = 0\n",
        "if not path.exists():\n    raise FileNotFoundError(path)\n",
        "while queue:\n    node = queue.pop()\n    queue.extend(node.children)\n",
        "return [line.strip() for line in text.splitlines() if line]\n",
    ),
}
"""Sentences by what they are."""

KINDS = (*BANKS, "json")


def text_of(kind: str, chance: Random, pieces: int) -> str:
    """A text of one kind, made of so many pieces drawn by chance; the same chance draws the same text."""
    if kind == "json":
        rows = [
            {"id": chance.randrange(10**6), "unit": chance.choice(("kg", "m", "pcs")), "price": chance.random() * 100}
            for _ in range(pieces)
        ]
        return json.dumps(rows)
    joined = "" if kind == "code" else " "
    return joined.join(chance.choice(BANKS[kind]) for _ in range(pieces))
