"""Everything goes through one place before it is written: what is taken out, said, counted, and given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from watchkeeper.engines.recorder import redaction
from watchkeeper.engines.recorder.capture import Capture, OnError, Private
from watchkeeper.engines.recorder.frames import RECORD_KINDS, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.ledger import DropLedger
from watchkeeper.engines.recorder.private_records import REDACTED
from watchkeeper.engines.recorder.redaction import RedactionFailed, Redactor
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, pack, unpack
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.span import Happening, Span

KEY = "sk-proj-Q7wErTyUiOpAs9dFgHjKl"
MAIL = "bob@example.org"
RULES = (
    RuleSpec(detect="secret_keys"),
    RuleSpec(detect="emails"),
    RuleSpec(detect="cards"),
    RuleSpec(fields=("password",)),
)
LARGE = 10**15 + 37


def capture_of(folder: Path, on_error: OnError = "closed") -> Capture:
    redactor = Redactor([Rule(spec) for spec in RULES], b"k" * 32)
    return Capture(Journal(folder, "gateway", b"k" * 32), Private(redactor, {}, on_error), DropLedger(), "test")


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[Capture]:
    made = capture_of(tmp_path)
    yield made
    made.close()


def records(folder: Path) -> list[Record]:
    found = [(FrameKind(frame.head.kind), frame.payload) for frame in read_frames(folder / "gateway")]
    return [unpack(RECORD_KINDS[kind], payload) for kind, payload in found if kind in RECORD_KINDS]


def span(**fields: object) -> Span:
    return msgspec.structs.replace(
        Span(trace_id="1" * 32, span_id="4111111111111111", start_ns=1, name="chat"), **fields
    )


def test_a_body_and_its_span_say_what_was_taken_out_and_by_which_rules(tmp_path: Path, capture: Capture) -> None:
    payloads = [
        (f'{{"a": "{KEY} {MAIL}"}}'.encode(), "request", "application/json", "t\x1fu"),
        (b"{}", "reply", "", "t"),
    ]
    request, reply = capture.write(payloads, lambda bodies: [span(bodies=bodies, preview=f"my {KEY}")])
    assert (request.redactions, request.redacted_by) == (2, ("emails", "secret_keys"))
    assert (reply.redactions, reply.redacted_by) == (0, ())
    assert Vault(tmp_path).body(request) == b'{"a": "[secret] [email]"}'
    (kept,) = records(tmp_path)
    assert isinstance(kept, Span) and kept.preview == "my [secret]"
    assert kept.attributes == {REDACTED: "emails, secret_keys"}
    assert kept.bodies[0].redactions == 2
    assert capture.counts == {"emails": 1, "secret_keys": 2}


def test_ids_stay_and_names_become_tokens_so_that_they_still_join(tmp_path: Path, capture: Capture) -> None:
    who = Identity(user=MAIL, session=f"s {MAIL}", tenant="default")
    capture.append(
        span(identity=who, attributes={"card": 4111111111111111, "user.id": MAIL, "n": LARGE, "password": True})
    )
    capture.append(
        Score(
            score_id="4111111111111111", subject_kind="session", subject_id=f"s {MAIL}", name="q", at_ns=1, event_ns=1
        )
    )
    capture.append(Session(session_id=f"s {MAIL}", at_ns=1, version=1, user=MAIL))
    one, score, session = records(tmp_path)
    assert isinstance(one, Span) and isinstance(score, Score) and isinstance(session, Session)
    assert one.span_id == score.score_id == "4111111111111111"
    assert one.identity.user == session.user == one.attributes["user.id"] == capture.identity(who).user
    assert one.identity.session == score.subject_id == session.session_id
    assert str(one.identity.user).startswith("[email:")
    assert (one.attributes["card"], one.attributes["n"]) == ("[card]", LARGE)


def test_events_and_error_messages_are_searched_too(tmp_path: Path, capture: Capture) -> None:
    happened = Happening(name=f"saw {KEY}", at_ns=1, attributes={"password": "x", "note": MAIL})
    capture.append(span(message=f"Incorrect API key provided: {KEY}", events=(happened,)))
    (one,) = records(tmp_path)
    assert isinstance(one, Span) and one.message == "Incorrect API key provided: [secret]"
    assert one.events[0].name == "saw [secret]" and one.events[0].attributes == {
        "password": "[field]",
        "note": "[email]",
    }


def test_a_redaction_that_fails_keeps_nothing_and_is_counted(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "SECONDS_AND_PER_MB", (-1.0, 0.0))
    with pytest.raises(RedactionFailed):
        capture.put(f'{{"a": "{KEY}"}}'.encode(), "request")
    monkeypatch.undo()
    capture.put(b"{}", "request")
    capture.close()
    assert KEY.encode() not in b"".join(path.read_bytes() for path in (tmp_path / "gateway").glob("*.wkj"))
    (drop,) = [each for each in records(tmp_path) if type(each).__name__ == "Drop"]
    assert pack(drop) and (drop.what, drop.reason, drop.count, drop.door) == ("body", "redaction_failed", 1, "test")  # type: ignore[attr-defined]


def test_an_owner_may_choose_to_keep_what_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "SECONDS_AND_PER_MB", (-1.0, 0.0))
    capture = capture_of(tmp_path, "open")
    body = capture.put(f'{{"a": "{KEY}"}}'.encode(), "request")
    capture.close()
    assert KEY.encode() in Vault(tmp_path).body(body)
    assert [each.reason for each in records(tmp_path)] == ["kept_unredacted"]  # type: ignore[attr-defined]


def test_a_foreign_frame_that_nobody_can_search_is_not_kept_when_it_may_hold_something(capture: Capture) -> None:
    with pytest.raises(RedactionFailed):
        capture.append_raw(FrameKind.OTLP, f"bytes with {KEY}".encode())
    assert capture.append_raw(FrameKind.OTLP, b"bytes without")
