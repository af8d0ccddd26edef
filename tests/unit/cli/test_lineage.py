"""Lineage from the command line: what stands behind an answer, what rests on a document, and taking it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.reading import S
from watchkeeper.cli import main
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.identity import Identity
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

NOW = 1_700_000_000 * S
RIGHT = "The Alder lamp can be returned within 30 days of delivery. Send it in the box it came in."
ELSE = "The shade of the Alder lamp is made of linen. It can be washed by hand."
BESIDE = "A full battery lets the Birch lamp shine for 9 hours. Charging takes one night."
TRACE = "a" * 32
CALL = "b" * 16


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A call whose context held two chunks, of which a third was dropped, and an answer that passed them over."""
    home = Home(tmp_path / "data")
    journal = Journal(home.journal, "gateway", home.secret("chunks"))
    asked = {"model": "m", "messages": [{"role": "system", "content": f"Notes: {RIGHT}\n{BESIDE}\n{ELSE}"}]}
    said = {"choices": [{"message": {"role": "assistant", "content": "It can be returned within 14 days. Have fun."}}]}
    bodies = (journal.put(json.dumps(asked).encode(), "request"), journal.put(json.dumps(said).encode(), "reply"))
    journal.append(
        Span(
            trace_id=TRACE, span_id=CALL, start_ns=NOW + S, end_ns=NOW + 2 * S, name="chat", operation="chat",
            status="ok", bodies=bodies, revision=1,
        )
    )  # fmt: skip
    for name, text, status in (("right.md", RIGHT, "entered"), ("beside.md", BESIDE, "entered"), ("no.md", ELSE, "")):
        body = journal.put(text.encode(), "source", "text/plain; charset=utf-8")
        made: dict[str, Any] = {"status": status} if status else {"status": "dropped", "reason": "duplicate"}
        who = Identity(user="mia", session="s-1")
        journal.append(
            Source(
                source_id=name, trace_id=TRACE, document=name, version="1", at_ns=NOW, content=body, chars=len(text),
                query="Within how many days can the Alder lamp be returned?", identity=who, **made,
            )
        )  # fmt: skip
    journal.close()
    return home.path


def wk(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], catch_exceptions=False)


def answer(data: Path, *words: str) -> Any:
    done = wk(data, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [TRACE, CALL])
def test_an_answer_is_traced_to_its_sources(data: Path, name: str) -> None:
    found = answer(data, "lineage", name)
    became = {each["document"]: (each["entered"], each["seen"]) for each in found["sources"]}
    assert became["right.md"] == became["beside.md"] == (True, "exact")
    (said,) = found["answers"]
    assert [each["verdict"] for each in said["sentences"]][1] == "unsupported"
    assert said["sentences"][0]["missing"] == ["14"]


def test_a_chunk_that_is_there_though_said_to_be_dropped_counts(data: Path) -> None:
    found = answer(data, "lineage", TRACE)
    (dropped,) = [each for each in found["sources"] if each["document"] == "no.md"]
    assert (dropped["status"], dropped["seen"], dropped["entered"]) == ("dropped", "exact", True)


def test_what_was_found_is_on_record_and_stays(data: Path) -> None:
    first = answer(data, "lineage", TRACE)
    rows = answer(data, "ask", "sources", f"trace_id={TRACE}")["items"]
    assert {each["revision"] for each in rows} == {1}
    assert answer(data, "lineage", TRACE) == first


def test_where_the_answer_went_wrong_is_told(data: Path) -> None:
    found = answer(data, "lineage", TRACE, "--expected", "The Alder lamp can be returned within 30 days of delivery.")
    assert found["origin"]["label"] == "ignored"


def test_many_answers_are_sorted_at_once(data: Path, tmp_path: Path) -> None:
    cases, corpus = tmp_path / "cases.jsonl", tmp_path / "corpus.txt"
    rows = [{"trace": TRACE, "expected": "The tent has room for two people."}, {"trace": "c" * 32, "expected": "x"}]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus.write_text(f"{RIGHT}\n\n{BESIDE}")
    items = answer(data, "lineage", "--cases", str(cases), "--corpus", str(corpus))["items"]
    assert [each["label"] for each in items] == ["not_in_corpus", "unknown"]


def test_a_document_is_taken_back_with_its_answers(data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "answers.jsonl"
    before = answer(data, "lineage", TRACE)
    found = answer(
        data, "lineage", "--document", "right.md", "--withdraw", "--reason", "wrong", "--export", str(listed)
    )
    assert (found["count"], found["users"], found["answers"][0]["user"]) == (1, 1, "mia")
    assert [json.loads(line)["trace_id"] for line in listed.read_text().splitlines()] == [TRACE]
    (act,) = answer(data, "ask", "audits", "act=document.withdrawn")["items"]
    assert (act["subject"], json.loads(act["detail"])["reason"]) == ("document:right.md", "wrong")
    case_file = answer(data, "incident", "show", found["incident"])["incident"]
    assert (case_file["subject"], case_file["traces"]) == ("document:right.md", [TRACE])
    after = answer(data, "lineage", TRACE)
    assert [each["withdrawn"] != [] for each in after["sources"] if each["document"] == "right.md"] == [True]
    for each in (*before["sources"], *after["sources"]):
        each.pop("withdrawn")
    assert before == after
    assert "document.withdrawn by" in wk(data, "lineage", "--document", "right.md").output


def test_only_its_own_version_is_taken_back(data: Path) -> None:
    found = answer(data, "lineage", "--document", "right.md", "--version", "2", "--withdraw", "--kind", "consent")
    assert (found["count"], found["incident"], found["act"]) == (0, None, "document.consent_revoked")
    sources = answer(data, "lineage", TRACE)["sources"]
    assert [each["withdrawn"] for each in sources] == [[], [], []]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Give one of"),
        ((TRACE, "--document", "x"), "Give one of"),
        (("c" * 32,), "no trace"),
        (("nonsense",), "is no id"),
        (("--document", "x", "--expected", "y"), "about one answer"),
        ((TRACE, "--expected", "y", "--corpus", "/nowhere/at/all"), "corpus cannot be read"),
        (("--cases", "/nowhere/at/all"), "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_an_error_in_words(data: Path, words: tuple[str, ...], says: str) -> None:
    done = wk(data, "lineage", *words)
    assert done.exit_code == 2
    assert says in done.output


def test_a_person_reads_it_in_tables(data: Path) -> None:
    done = wk(data, "lineage", TRACE).output
    assert "right.md" in done
    assert "unsupported" in done
    assert "1 answers rest on right.md" in wk(data, "lineage", "--document", "right.md").output
