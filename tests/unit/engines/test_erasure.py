"""Erasing: what is gone is gone, the chain holds, and an erasure that was interrupted is ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.engines.recorder import erasure as module
from watchkeeper.engines.recorder.erasure import Place, erase, pending, resume
from watchkeeper.engines.recorder.frames import Corrupt
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.vault import Erased, Vault
from watchkeeper.engines.recorder.verify import verify
from watchkeeper.records.body import Body
from watchkeeper.records.span import Origin, Span

KEY = bytes(range(32))


def span(number: int, **fields: object) -> Span:
    return Span(trace_id=f"{number:032x}", span_id=f"{number:016x}", start_ns=number, name="chat", **fields)  # type: ignore[arg-type]


def places(body: Body) -> list[Place]:
    return [Place(a.writer, a.segment, a.offset) for a in body.chunks]


def place(origin: Origin) -> Place:
    return Place(origin.writer, origin.segment, origin.offset)


def holds(folder: Path) -> bool:
    return all(result.holds for result in verify(folder))


def test_what_was_erased_is_in_no_file_and_the_journal_still_holds(tmp_path: Path) -> None:
    gateway, store = Journal(tmp_path, "gateway", KEY), Journal(tmp_path, "store", KEY)
    secret = gateway.put(b"PLANTED-SECRET", "reply")
    big = gateway.put(b"PLANTED-SECRET" + bytes(range(256)) * 400, "reply")
    other = gateway.put(b"somebody else's", "reply")
    done = erase(store, tmp_path, [*places(secret), *places(big)], reason="subject", actor="ada")
    assert done.frames == 2
    assert not any(b"PLANTED-SECRET" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    vault = Vault(tmp_path)
    with pytest.raises(Erased, match="was erased"):
        vault.body(secret)
    assert vault.body(other) == b"somebody else's"
    assert holds(tmp_path)
    assert [f.erased for f in read_frames(tmp_path / "gateway", erased=True)] == [True, True, False]
    assert len(list(read_frames(tmp_path / "gateway"))) == 1
    gateway.close(), store.close()


def test_erasing_again_changes_and_records_nothing(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b"secret", "reply")
    first = erase(writer, tmp_path, places(body), reason="subject", actor="ada")
    again = erase(writer, tmp_path, places(body), reason="subject", actor="ada")
    assert (first.frames, again.frames) == (1, 0)
    assert [r.frames for r in verify(tmp_path)] == [2]
    writer.close()


def test_a_writer_does_not_point_to_what_was_erased(tmp_path: Path) -> None:
    gateway, store = Journal(tmp_path, "gateway", KEY), Journal(tmp_path, "store", KEY)
    body = gateway.put(b"the same words", "reply")
    assert gateway.put(b"the same words", "reply") == body
    erase(store, tmp_path, places(body), reason="retention", actor="policy")
    again = gateway.put(b"the same words", "reply")
    assert again != body
    assert Vault(tmp_path).body(again) == b"the same words"
    gateway.close(), store.close()


def test_an_erased_frame_leads_to_what_was_kept_of_it(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    whole = writer.append(span(1, preview="secret " * 20))
    kept = writer.append(span(1))
    later = writer.append(span(1, status="ok"))
    erase(writer, tmp_path, [place(whole)], reason="subject", actor="a", moved={place(whole): place(kept)})
    assert Vault(tmp_path).span(whole) == span(1)
    assert holds(tmp_path)
    erase(writer, tmp_path, [place(kept)], reason="subject", actor="a", moved={place(kept): place(later)})
    assert Vault(tmp_path).span(whole) == span(1, status="ok")
    assert holds(tmp_path)
    writer.close()


def test_records_about_the_journal_itself_are_never_erased(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b"secret", "reply")
    erase(writer, tmp_path, places(body), reason="subject", actor="ada")
    frame = list(read_frames(tmp_path / "gateway"))[-1]
    with pytest.raises(ValueError, match="never erased"):
        erase(writer, tmp_path, [Place("gateway", frame.segment, frame.offset)], reason="subject", actor="ada")
    with pytest.raises(Corrupt, match="holds no frame"):
        erase(writer, tmp_path, [Place("gateway", 1, 99)], reason="subject", actor="ada")
    writer.close()


@pytest.mark.parametrize("step", range(12))
def test_an_erasure_that_was_interrupted_at_any_step_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    bodies = [writer.put(f"PLANTED-{n}".encode() * 20, "reply") for n in range(3)]
    taken = 0

    class Died(BaseException):
        pass

    def dying(real: object) -> object:
        def call(*arguments: object) -> object:
            nonlocal taken
            taken += 1
            if taken > step:
                raise Died
            return real(*arguments)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(module, "pwrite", dying(module.pwrite))
        for name in ("fdatasync", "fsync"):
            patch.setattr(module.os, name, dying(getattr(module.os, name)))
        try:
            erase(writer, tmp_path, [p for b in bodies for p in places(b)], reason="subject", actor="ada")
        except Died:
            pass
    writer.close()
    writer = Journal(tmp_path, "gateway", KEY)
    begun = len(pending(tmp_path))
    assert len(resume(writer, tmp_path)) == begun
    assert pending(tmp_path) == []
    gone = sum(b"PLANTED" not in f.read_bytes() for f in tmp_path.rglob("*.wkj"))
    if begun:
        assert gone == len(list(tmp_path.rglob("*.wkj")))
    assert holds(tmp_path)
    writer.close()
