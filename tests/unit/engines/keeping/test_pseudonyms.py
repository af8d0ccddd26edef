"""A pseudonym is the same for the same name and says nothing without the key; names within words stay."""

from __future__ import annotations

import pytest

from watchkeeper.engines.keeping.pseudonyms import Pseudonyms
from watchkeeper.records.decision import Decision
from watchkeeper.records.identity import Identity
from watchkeeper.records.incident import Entry, Incident
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.span import Happening, Span

NAMES = Pseudonyms(b"k" * 32)
ANN = NAMES.of("ann@example.org")


def span(user: str | None, **fields: object) -> Span:
    return Span(trace_id="t", span_id="s", start_ns=1, name="chat", identity=Identity(user=user), **fields)  # type: ignore[arg-type]


def test_a_pseudonym_is_stable_keyed_and_its_own_pseudonym() -> None:
    assert NAMES.of("ann@example.org") == ANN == NAMES.of(ANN)
    assert Pseudonyms(b"x" * 32).of("ann@example.org") != ANN
    assert NAMES.of("bob") != ANN


def test_a_record_loses_the_name_wherever_it_stands_by_itself() -> None:
    new = NAMES.record(
        span(
            "ann@example.org", preview="ann@example.org writes; joann@example.org does not", attributes={"n": 1},
            events=(Happening(name="note", at_ns=1, attributes={"by": "ann@example.org"}),),
        )
    )  # fmt: skip
    assert isinstance(new, Span)
    assert new.identity.user == ANN and new.events[0].attributes == {"by": ANN} and new.attributes == {"n": 1}
    assert new.preview == f"{ANN} writes; joann@example.org does not"


def test_a_short_name_goes_where_it_is_the_whole_value_and_stays_within_texts() -> None:
    new = NAMES.record(span("7", preview="7 of 77", attributes={"by": "7"}))
    assert isinstance(new, Span)
    assert (new.preview, new.attributes["by"], new.identity.user) == ("7 of 77", NAMES.of("7"), NAMES.of("7"))


@pytest.mark.parametrize("record", [span(None), span(ANN), Session(session_id=NAMES.of("s"), at_ns=1)])
def test_a_record_that_names_nobody_stays(record: Span) -> None:
    assert NAMES.record(record) is None


def test_only_the_fields_that_are_meant_go() -> None:
    users = Pseudonyms(b"k" * 32, ("user",))
    assert users.record(Session(session_id="s1", at_ns=1)) is None
    score = Score(score_id="1", subject_kind="session", subject_id="s1", name="n", at_ns=1, event_ns=1, session="s1")
    assert users.record(score) is None
    new = NAMES.record(score)
    assert isinstance(new, Score) and new.subject_id == new.session == NAMES.of("s1")


def test_records_of_nobody_are_searched_for_names_that_are_known() -> None:
    incident = Incident(
        incident_id="i", title="Spend of ann@example.org.", subject="spend:ann@example.org", severity="page",
        status="open", opened_ns=1, at_ns=1, timeline=(Entry(at_ns=1, kind="note", text="not bob@example.org"),),
    )  # fmt: skip
    new = NAMES.record(incident, {ANN})
    assert isinstance(new, Incident)
    assert (new.title, new.subject) == (f"Spend of {ANN}.", f"spend:{ANN}") and new.timeline == incident.timeline
    assert NAMES.record(incident) is None


def test_a_policys_sentence_names_the_pseudonym() -> None:
    decision = Decision(
        verdict="deny", reason="budget", sentence="The cap of ann@example.org is reached.", decision_id="d", at_ns=1,
        identity=Identity(user="ann@example.org"),
    )  # fmt: skip
    new = NAMES.record(decision)
    assert isinstance(new, Decision) and new.sentence == f"The cap of {ANN} is reached."
    assert NAMES.identity(Identity(user="ann@example.org", session=None)) == Identity(user=ANN)


def test_texts_are_searched_by_names_and_by_what_is_known() -> None:
    assert NAMES.names(span("ann@example.org")) == {"ann@example.org": ANN}
    assert NAMES.sub({"ann@example.org": ANN})("to ann@example.org!") == f"to {ANN}!"
    assert NAMES.mentions({ANN})("(ann@example.org)?") == f"({ANN})?"
