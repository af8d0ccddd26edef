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


def conversation(*texts: str) -> bytes:
    """A chat request of messages that are long enough to be chunks of their own."""
    messages = [{"role": "user", "content": f"{text} {'and so on ' * 300}"} for text in texts]
    return msgspec.json.encode({"model": "m", "messages": messages})


def plain(folder: Path, *specs: RuleSpec) -> Capture:
    redactor = Redactor([Rule(spec) for spec in specs], b"k" * 32)
    return Capture(Journal(folder, "gateway", b"k" * 32), Private(redactor), DropLedger(), "test")


def kept(folder: Path) -> bytes:
    return b"".join(frame.payload for frame in read_frames(folder / "gateway"))


def test_a_secret_in_a_new_message_is_taken_out_though_the_history_is_known(tmp_path: Path) -> None:
    made = plain(tmp_path, RuleSpec(detect="secret_keys"))
    assert not made.put(conversation("one", "two"), "request").redactions
    assert not made.put(conversation("one", "two", "three"), "request").redactions
    assert made.put(conversation("one", "two", "three", f"my key is {KEY}"), "request").redactions == 1
    assert made.put(conversation("one", f"my key is {KEY}", "three"), "request").redactions == 1
    made.close()
    assert KEY.encode() not in kept(tmp_path) and b"[secret" in kept(tmp_path)


def test_a_secret_that_was_taken_out_once_is_taken_out_each_time(tmp_path: Path) -> None:
    made = plain(tmp_path, RuleSpec(detect="secret_keys"))
    for count in range(2, 5):
        texts = [f"turn {each}" for each in range(count)]
        assert made.put(conversation(f"my key is {KEY}", *texts), "request").redactions == 1
    made.close()
    assert KEY.encode() not in kept(tmp_path)


def test_a_rule_for_requests_is_asked_though_the_same_words_were_a_reply(tmp_path: Path) -> None:
    made = plain(tmp_path, RuleSpec(detect="emails", places=("request",)))
    body = conversation("one", f"write to {MAIL}")
    assert not made.put(body, "reply").redactions
    assert made.put(body, "request").redactions == 1
    made.close()


def test_a_pattern_is_looked_for_across_messages_each_time(tmp_path: Path) -> None:
    made = plain(tmp_path, RuleSpec(pattern=r"first and so on|second and so on"))
    for _ in range(2):
        assert made.put(conversation("first", "second"), "request").redactions == 2
    made.close()


def test_a_known_history_is_the_same_bytes_when_it_is_read_again(tmp_path: Path) -> None:
    made = plain(tmp_path, RuleSpec(detect="secret_keys"))
    vault = Vault(tmp_path)
    for texts in (("one", "two"), ("one", "two", "three"), ("one", "two", "three", "four")):
        body = made.put(conversation(*texts), "request")
        assert vault.body(body) == conversation(*texts)
    made.close()
