"""S46: wrong answers are sorted by where they went wrong; a withdrawn document names the answers that rest on it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch

scenario = "S46"
promise = (
    "Five planted kinds of fault are sorted at a stated rate, a re-ingested corpus changes no stored lineage, and a "
    "withdrawn document lists exactly the answers that rest on it."
)

EACH = 30
SAMPLES = 20
LEAST_RATE = 0.9
MOST_LINKED = 50
"""So many traces a case file links; the list of answers has all."""
NAMES = """
Alder Birch Cedar Damson Elder Fennel Gorse Hazel Iris Juniper Kelp Larch Maple Nettle Osier Pine Quince Rowan Sorrel
Tansy Umber Vetch Willow Yarrow Zinnia Aster Bramble Clover Dogwood Elm
""".split()  # noqa: SIM905 - a list of words reads better as words
FACTS = (
    ("return", "days", "The {name} lamp can be returned within {n} days of delivery. Send it in the box it came in."),
    ("warranty", "months", "The warranty of the {name} lamp lasts {n} months. It covers the driver and the shade."),
    ("battery", "hours", "A full battery lets the {name} lamp shine for {n} hours. Charging takes one night."),
    ("weight", "grams", "Without its stand the {name} lamp weighs {n} grams. The stand is sold apart."),
)
QUESTIONS = {
    "return": "Within how many days of delivery can the {name} lamp be returned?",
    "warranty": "How many months does the warranty of the {name} lamp last?",
    "battery": "For how many hours does a full battery let the {name} lamp shine?",
    "weight": "How many grams does the {name} lamp weigh without its stand?",
}
HEAD = "The {name} lamp belongs to the garden range and comes with a shade of linen or paper."
STALE = "0"
KINDS = ("right", "ignored", "dropped", "not_retrieved", "not_in_corpus", "source_wrong")
SAYS = Rule(name="says what it is told to", when=When(last=r"\[\[say: (?P<say>.*)\]\]$"), answer="$say")
KNOWS = Rule(
    name="knows the lantern only from its context",
    when=When(system="The storm lantern burns for 9 hours", last_user="storm lantern"),
    answer="The storm lantern burns for 9 hours on one filling.",
)
KNOWS_NOT = Rule(name="does not know", when=When(last_user="storm lantern"), answer="I have no record of that.")


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of the invented corpus."""

    document: str
    name: str
    about: str
    n: int

    def text(self, n: int | None = None) -> str:
        """The chunk that states it, or states another number."""
        return next(text for about, _, text in FACTS if about == self.about).format(name=self.name, n=n or self.n)

    def sentence(self, n: int | None = None) -> str:
        """Its first sentence."""
        return self.text(n).split(". ", maxsplit=1)[0] + "."

    @property
    def question(self) -> str:
        """What asks for it."""
        return QUESTIONS[self.about].format(name=self.name)


class Asked(msgspec.Struct, kw_only=True):
    """One question as it was played: what was planted, the right answer, and what was told of its sources."""

    kind: str
    fact: Fact
    trace: str
    sources: list[dict[str, Any]]
    says: str
    body: bytes = b""


def run(stage: Stage) -> Result:
    """Play questions with planted faults, sort them, ingest the corpus anew, withdraw a document, leave chunks out."""
    notes = Notes()
    lab = stage.lab(KNOWS, KNOWS_NOT, SAYS)
    watch = stage.serve(lab)
    seed = time.time_ns() % 1_000_000
    chance = random.Random(seed)
    notes.measure(seed=seed)
    facts = [
        Fact(document=f"lamps/{name.lower()}.md", name=name, about=about, n=chance.randrange(11, 990))
        for name in NAMES
        for about, _, _ in FACTS
    ]
    stage.say(f"{EACH * len(KINDS)} questions are asked, {EACH} with each planted fault")
    played = list(_play(watch, facts, chance))
    watch.flush()
    stage.say("every source is looked for in the recorded requests")
    before = _evidence(watch, played, notes)
    stage.say("the wrong answers are sorted")
    _sort(watch, played, facts, notes)
    stage.say("the corpus is ingested anew and a document is withdrawn")
    _ingest_again(watch, facts)
    _unchanged(watch, before, notes)
    _withdraw(watch, played, chance, notes)
    stage.say("one chunk after the other is left out")
    _leave_out(watch, lab.base_url, notes)
    return notes.result()


def _play(watch: Watch, facts: list[Fact], chance: random.Random) -> Iterator[Asked]:
    """Facts that are missing or stated wrongly in the corpus are used for that fault and nothing else."""
    apart = dict(zip(("not_in_corpus", "source_wrong"), _split(chance.sample(facts, 2 * EACH)), strict=True))
    rest = [fact for fact in facts if not any(fact in each for each in apart.values())]
    for number in range(EACH):
        for kind in KINDS:
            fact = apart[kind][number] if kind in apart else chance.choice(rest)
            asked = _planted(kind, fact, [each for each in rest if each.name != fact.name], chance)
            _ask(watch, asked, number)
            yield asked


def _split(facts: list[Fact]) -> tuple[list[Fact], list[Fact]]:
    return facts[:EACH], facts[EACH:]


def _planted(kind: str, fact: Fact, others: list[Fact], chance: random.Random) -> Asked:
    """The sources and the answer of one planted fault."""
    wrong = fact.n + chance.randrange(1, 9)
    beside = [_source(each, "entered") for each in chance.sample(others, 3)]
    own: list[dict[str, Any]] = []
    if kind in ("right", "ignored"):
        own = [_source(fact, "entered")]
    elif kind == "dropped" and chance.random() < 0.5:
        own = [_source(fact, "dropped", reason="over_budget")]
    elif kind == "dropped":
        head = HEAD.format(name=fact.name)
        own = [_source(fact, "truncated", reason="over_budget", text=f"{head} {fact.text()}", kept_chars=len(head))]
    elif kind == "source_wrong":
        own = [_source(fact, "entered", text=fact.text(wrong), version=STALE)]
    says = fact.sentence(fact.n if kind == "right" else wrong)
    if kind in ("dropped", "not_retrieved", "not_in_corpus") and chance.random() < 0.5:
        says = f"I could not find anything about the {fact.name} lamp."
    sources = own + beside
    chance.shuffle(sources)
    return Asked(kind=kind, fact=fact, trace=f"{chance.getrandbits(128) | 1:032x}", sources=sources, says=says)


def _source(fact: Fact, status: str, **fields: Any) -> dict[str, Any]:
    text = str(fields.pop("text", None) or fact.text())
    return {
        "document": fact.document,
        "version": "1",
        "chunk": fact.about,
        "text": text,
        "status": status,
        "index_version": "2026-11-20",
        **fields,
    }


def _ask(watch: Watch, asked: Asked, number: int) -> None:
    """Tell of the sources as an assembler would, then make the call."""
    told = [
        {**each, "trace_id": asked.trace, "rank": rank, "query": asked.fact.question, "score": 1 / rank}
        for rank, each in enumerate(asked.sources, 1)
    ]
    for each in told:
        each["identity"] = {"user": f"user-{number % 7}", "session": f"session-{number}"}
    watch.post("/api/v1/sources", told)
    context = "\n\n".join(_in_prompt(each) for each in asked.sources if each["status"] in ("entered", "truncated"))
    asked.body = _chat(f"Answer from these notes:\n\n{context}", f"{asked.fact.question} [[say: {asked.says}]]")
    _call(watch, asked.body, asked.trace)


def _in_prompt(source: dict[str, Any]) -> str:
    return str(source["text"])[: source.get("kept_chars")]


def _chat(system: str, user: str) -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return json.dumps({"model": "lab-small", "messages": messages}, ensure_ascii=False).encode()


def _call(watch: Watch, body: bytes, trace: str) -> None:
    headers = {"traceparent": f"00-{trace}-{'1' * 16}-01"}
    done = watch.http("POST", "/v1/chat/completions", body, headers=headers)
    if done.status != 200:
        raise ConnectionError(f"A call was answered with {done.status}: {done.body[:200]!r}")


def _evidence(watch: Watch, played: list[Asked], notes: Notes) -> dict[str, Any]:
    """Whether what entered was found at its very bytes, and what did not enter was not."""
    right = wrong = 0
    found: dict[str, Any] = {}
    for asked in played:
        found[asked.trace] = watch.get(f"/api/v1/lineage/{asked.trace}")
        for each in found[asked.trace]["sources"]:
            part = json.dumps(each["text"][: each["kept_chars"]], ensure_ascii=False)[1:-1].encode()
            at = asked.body[each["seen_start"] : each["seen_end"]] if each["seen_start"] is not None else b""
            entered = each["status"] in ("entered", "truncated")
            right += at == part if entered else each["seen"] in ("pending", "declared")
            wrong += at != part if entered else each["seen"] not in ("pending", "declared")
    notes.measure(sources=right + wrong, found_as_planted=right)
    notes.check("every chunk that entered was found at its bytes, and no other one", wrong == 0 and right > 0)
    return found


def _sort(watch: Watch, played: list[Asked], facts: list[Fact], notes: Notes) -> None:
    apart = {asked.fact for asked in played if asked.kind in ("not_in_corpus", "source_wrong")}
    texts = [fact.text() for fact in facts if fact not in apart]
    texts += [each["text"] for asked in played for each in asked.sources if each["version"] == STALE]
    (watch.folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    cases = [
        {"trace": asked.trace, "expected": asked.fact.sentence(), "question": asked.fact.question} for asked in played
    ]
    (watch.folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    sorted_as = watch.cli("lineage", "--cases", "cases.jsonl", "--corpus", "corpus.jsonl")["items"]
    blind = watch.cli("lineage", "--cases", "cases.jsonl")["items"]
    hits: Counter[str] = Counter()
    for asked, item in zip(played, sorted_as, strict=True):
        hits[asked.kind] += item["label"] == asked.kind
    for kind in KINDS[1:]:
        notes.measure(**{f"{kind}_sorted": f"{hits[kind]} of {EACH}"})
    faults = sum(hits[kind] for kind in KINDS[1:])
    rate = wilson(faults, EACH * (len(KINDS) - 1))
    notes.measure(sorted_rate=rate.value, sorted_low=rate.low, sorted_high=rate.high, right_as_right=hits["right"])
    notes.tell(
        f"{faults} of {rate.n} planted faults sorted right ({rate.low:.0%} to {rate.high:.0%}, simulated corpus)"
    )
    notes.check(f"the rate of faults sorted right is surely above {LEAST_RATE:.0%}", rate.low > LEAST_RATE)
    notes.check("right answers are called right", hits["right"] == EACH)
    told = Counter(item["label"] for asked, item in zip(played, blind, strict=True) if asked.kind.startswith("not_"))
    guessed = told["not_retrieved"] + told["not_in_corpus"]
    notes.measure(unknown_without_corpus=f"{told['unknown']} of {2 * EACH}")
    notes.check("without a corpus it says unknown rather than guess", told["unknown"] > 0 and guessed == 0)


def _ingest_again(watch: Watch, facts: list[Fact]) -> None:
    """Version 2 of every document under the same names, with other numbers, retrieved for one more question."""
    told = [
        {**_source(fact, "candidate", text=fact.text(fact.n + 1000), version="2"), "trace_id": "2" * 32}
        for fact in facts
    ]
    watch.post("/api/v1/sources", told)
    watch.flush()


def _unchanged(watch: Watch, before: dict[str, Any], notes: Notes) -> None:
    settled = [trace for trace, found in before.items() if all(each["seen"] != "pending" for each in found["sources"])]
    changed = [trace for trace in settled if watch.get(f"/api/v1/lineage/{trace}") != before[trace]]
    notes.measure(lineages_compared=len(settled))
    notes.check("a corpus that is ingested anew changes no stored lineage", bool(settled) and not changed)


def _withdraw(watch: Watch, played: list[Asked], chance: random.Random, notes: Notes) -> None:
    document = chance.choice([asked for asked in played if asked.kind == "right"]).fact.document
    rested = {
        asked.trace
        for asked in played
        for each in asked.sources
        if each["document"] == document and each["status"] in ("entered", "truncated")
    }
    retrieved = {asked.trace for asked in played for each in asked.sources if each["document"] == document}
    done = watch.cli("lineage", "--document", document, "--withdraw", "--reason", "The numbers are wrong.")
    listed = {each["trace_id"] for each in done["answers"]}
    acts = watch.cli("ask", "audits", "act=document.withdrawn")["items"]
    case_file = watch.cli("incident", "show", done["incident"])
    notes.measure(answers_resting=len(rested), answers_retrieved_only=len(retrieved - rested), listed=len(listed))
    notes.tell(f"a withdrawn document named its {len(listed)} answers, no more and no less")
    notes.check("withdrawing lists exactly the answers that rest on it", listed == rested)
    notes.check("the act is audited", [act["subject"] for act in acts] == [f"document:{document}"])
    linked = set(case_file["incident"]["traces"])
    notes.check("a case file lists the answers", linked <= rested and len(linked) == min(MOST_LINKED, len(rested)))


def _leave_out(watch: Watch, lab_url: str, notes: Notes) -> None:
    """A model that knows it from its context alone, and a chunk that has nothing to do with it."""
    trace = f"{'3' * 32}"
    texts = {
        "lantern.md": "The storm lantern burns for 9 hours on one filling.",
        "tent.md": "The tent has room for two people and a dog.",
    }
    told = [
        {"document": name, "text": text, "status": "entered", "trace_id": trace, "rank": rank}
        for rank, (name, text) in enumerate(texts.items(), 1)
    ]
    watch.post("/api/v1/sources", told)
    _call(watch, _chat("Notes:\n\n" + "\n\n".join(texts.values()), "How long does the storm lantern burn?"), trace)
    found = watch.cli("lineage", trace, "--influence", lab_url, "--samples", str(SAMPLES))
    rates = {each["document"]: each for each in found["influence"]}
    own, other = rates["lantern.md"], rates["tent.md"]
    low, high = own["difference"]["low"], own["difference"]["high"]
    notes.measure(influence=own["difference"]["value"], influence_low=low, influence_high=high, samples=SAMPLES)
    notes.tell(f"without its chunk the answer changed in {own['difference']['value']:.0%} ({low:.0%} to {high:.0%})")
    notes.check("leaving the chunk out changes the answer", own["verdict"] == "the answer rests on it")
    notes.check("leaving another one out is not resolved", other["verdict"] == "not resolved")
