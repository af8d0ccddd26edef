"""The journal: what is appended is read back exactly, survives a crash, and shows every kind of damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder.frames import HEAD, SEGMENT_HEAD, Corrupt, FrameKind, read_head
from watchkeeper.engines.recorder.journal import Journal, JournalFull, JournalLocked
from watchkeeper.engines.recorder.segments import heads, read_frames, segment_path, segments_of
from watchkeeper.engines.recorder.vault import Erased, Vault
from watchkeeper.engines.recorder.verify import Verified, verify
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.body import Address, Body
from watchkeeper.records.record import pack, unpack
from watchkeeper.records.score import Score
from watchkeeper.records.span import Origin, Span

KEY = bytes(range(32))


def span(number: int, **fields: object) -> Span:
    return Span(trace_id=f"{number:032x}", span_id=f"{number:016x}", start_ns=number, name="chat", **fields)  # type: ignore[arg-type]


def only(folder: Path) -> Verified:
    (result,) = verify(folder)
    return result


def chat(turns: int) -> bytes:
    messages = [{"role": "user", "content": f"turn {i} " + "x" * 3000 + str(i * 7919)} for i in range(turns)]
    return json.dumps({"messages": messages, "model": "m", "tools": [{"name": "t" * 2000}]}).encode()


def test_records_and_payloads_are_read_back_exactly(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b'{"a": 1}', "request")
    first = writer.append(span(1, bodies=(body,)))
    writer.append(Score(score_id="s", subject_kind="span", subject_id="x", name="n", at_ns=1, event_ns=1, value=1.0))
    writer.close()
    frames = list(read_frames(tmp_path / "gateway", check=True))
    assert [f.head.kind for f in frames] == [FrameKind.CHUNK, FrameKind.SPAN, FrameKind.SCORE]
    assert [f.head.seq for f in frames] == [1, 2, 3]
    vault = Vault(tmp_path)
    assert vault.span(first) == span(1, bodies=(body,))
    assert vault.body(body) == b'{"a": 1}'


def test_an_empty_payload_is_a_body_without_chunks(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b"", "reply")
    assert (body.size_bytes, body.chunks) == (0, ())
    assert Vault(tmp_path).body(body) == b""
    writer.close()


def test_a_five_megabyte_tool_result_survives(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    big = json.dumps({"messages": [{"role": "tool", "content": os.urandom(2_500_000).hex()}]}).encode()
    body = writer.put(big, "request")
    writer.close()
    assert Vault(tmp_path).body(body) == big


def test_a_history_sent_again_each_turn_costs_linear_storage(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    stored = []
    for turns in range(1, 61):
        body = writer.put(chat(turns), "request")
        assert Vault(tmp_path).body(body) == chat(turns)
        stored.append(writer.bytes_in_segment)
    writer.close()
    early, late = stored[20] - stored[10], stored[59] - stored[49]
    assert late < 1.5 * early, "the cost of a turn must not grow with the length of the history"


def test_bytes_of_one_owner_are_not_shared_with_another(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    mine = writer.put(b"same bytes", "reply", owner="a")
    again = writer.put(b"same bytes", "reply", owner="a")
    other = writer.put(b"same bytes", "reply", owner="b")
    writer.close()
    assert mine.chunks == again.chunks
    assert mine.chunks[0].digest != other.chunks[0].digest


def test_a_second_writer_of_the_same_journal_is_refused(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    with pytest.raises(JournalLocked, match="another process"):
        Journal(tmp_path, "gateway", KEY)
    writer.close()


def test_the_chain_goes_on_after_a_restart_and_over_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 2000)
    for start in (0, 50):
        writer = Journal(tmp_path, "gateway", KEY)
        for number in range(start, start + 50):
            writer.append(span(number + 1))
        writer.close()
    assert len(segments_of(tmp_path / "gateway")) > 3
    result = only(tmp_path)
    assert result.holds and result.frames == 100 and result.last_seq == 100


def test_reading_goes_on_from_a_place(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    for number in range(10):
        writer.append(span(number + 1))
    writer.close()
    frames = list(read_frames(tmp_path / "gateway"))
    rest = list(read_frames(tmp_path / "gateway", frames[4].segment, frames[4].next_offset))
    assert [f.head.seq for f in rest] == [6, 7, 8, 9, 10]


@pytest.mark.anyio
async def test_synced_returns_when_all_appended_so_far_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, really = [], os.fdatasync

    def noted(file: int) -> None:
        really(file)
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fdatasync", noted)
    writer = Journal(tmp_path, "gateway", KEY, sync_every_s=3600)
    for number in (1, 2):
        writer.append(span(number))
        (segment,) = (tmp_path / "gateway").glob("*.wkj")
        with anyio.fail_after(30):
            await writer.synced()
        assert synced[-1] == segment.stat().st_size
        times = len(synced)
        await writer.synced()
        assert len(synced) == times, "what is on the disk already is not put there again"
    writer.close()


CRASH = """
import sys
from pathlib import Path
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.span import Span
writer = Journal(Path(sys.argv[1]), "gateway", bytes(32))
for number in range(1, 100_000_000):
    body = writer.put(b"payload %d " % number * 20, "reply")
    ids = {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"}
    writer.append(Span(**ids, start_ns=number, name="chat", bodies=(body,)))
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
"""


@pytest.mark.parametrize("round_", range(3))
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path, round_: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", CRASH, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 200 + 37 * round_:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    acknowledged = int(rest[-1]) if rest and rest[-1].isdigit() else acknowledged
    process.wait()
    frames = read_frames(tmp_path / "gateway", check=True)
    spans = [unpack(Span, f.payload) for f in frames if f.head.kind == FrameKind.SPAN]
    assert [s.start_ns for s in spans][:acknowledged] == list(range(1, acknowledged + 1))
    vault = Vault(tmp_path)
    assert vault.body(spans[acknowledged - 1].bodies[0]) == b"payload %d " % acknowledged * 20
    assert only(tmp_path).holds


def written(tmp_path: Path, frames: int = 12) -> Path:
    writer = Journal(tmp_path, "gateway", KEY)
    for number in range(frames // 2):
        body = writer.put(b"body %d" % number * 30, "reply")
        writer.append(span(number + 1, bodies=(body,)))
    writer.close()
    return segment_path(tmp_path / "gateway", 1)


def test_every_single_flipped_byte_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, frames=4)
    whole = path.read_bytes()
    missed = []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        if only(tmp_path).holds:
            missed.append(position)
    assert missed == []


def test_a_flipped_payload_byte_is_named_with_its_frame_and_the_rest_still_holds(tmp_path: Path) -> None:
    path = written(tmp_path)
    offset, head = list(heads(path))[4]
    damaged = bytearray(path.read_bytes())
    damaged[offset + HEAD.size + 20] ^= 1
    path.write_bytes(damaged)
    problems = only(tmp_path).problems
    assert [(p.segment, p.offset, p.seq) for p in problems] == [(1, offset, head.seq)]


@pytest.mark.parametrize("victim", [1, 4, 7])
def test_a_removed_frame_is_found(tmp_path: Path, victim: int) -> None:
    path = written(tmp_path)
    offset, head = list(heads(path))[victim]
    data = path.read_bytes()
    path.write_bytes(data[:offset] + data[offset + head.size :])
    problems = only(tmp_path).problems
    assert any(p.offset == offset and "removed or reordered" in p.what for p in problems)


def test_reordered_frames_are_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    (a, first), (b, second) = list(heads(path))[2:4]
    data = path.read_bytes()
    path.write_bytes(data[:a] + data[b : b + second.size] + data[a : a + first.size] + data[b + second.size :])
    assert any("removed or reordered" in p.what for p in only(tmp_path).problems)


def test_a_forged_frame_with_right_checksums_breaks_the_chain(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = list(heads(path))
    offset, head = found[3]
    from watchkeeper.engines.recorder.frames import NOT_A_CHUNK, FrameCodec

    forged = FrameCodec().build(
        FrameKind.SPAN, (head.seq, head.at_ns, head.previous), pack(span(99)), bytes(16), NOT_A_CHUNK
    )
    data = path.read_bytes()
    path.write_bytes(data[:offset] + forged + data[offset + head.size :])
    assert any("was changed" in p.what for p in only(tmp_path).problems)


def test_a_tail_cut_away_after_it_was_indexed_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = list(heads(path))
    mark = Watermark(writer="gateway", segment=1, offset=path.stat().st_size, seq=found[-1][1].seq)
    os.truncate(path, found[-2][0])
    assert only(tmp_path).holds, "the chain alone cannot show a missing tail"
    (result,) = verify(tmp_path, {"gateway": mark})
    assert "not in the journal any more" in result.problems[0].what


def test_an_unfinished_last_frame_is_cut_at_the_next_start_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path)
    os.truncate(path, path.stat().st_size - 5)
    writer = Journal(tmp_path, "gateway", KEY)
    writer.append(span(50))
    writer.close()
    result = only(tmp_path)
    assert result.holds
    kinds = [FrameKind(f.head.kind) for f in read_frames(tmp_path / "gateway")]
    assert kinds[-2:] == [FrameKind.DROP, FrameKind.SPAN]


def test_damage_in_the_middle_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    path = written(tmp_path)
    size = path.stat().st_size
    damaged = bytearray(path.read_bytes())
    offset, _ = list(heads(path))[2]
    damaged[offset + HEAD.size + 20] ^= 1
    path.write_bytes(damaged)
    Journal(tmp_path, "gateway", KEY).close()
    assert path.stat().st_size == size
    assert not only(tmp_path).holds


def test_a_changed_chunk_is_never_served(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b"the exact words", "reply")
    writer.close()
    path = segment_path(tmp_path / "gateway", 1)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(Corrupt, match="checksum"):
        Vault(tmp_path).body(body)


@pytest.mark.parametrize(
    "address",
    [
        Address(digest="0" * 32, writer="gateway", segment=9, offset=0),
        Address(digest="0" * 32, writer="nobody", segment=1, offset=0),
        Address(digest="0" * 32, writer="../gateway", segment=1, offset=0),
    ],
)
def test_an_address_that_leads_nowhere_says_so(tmp_path: Path, address: Address) -> None:
    written(tmp_path)
    with pytest.raises(Erased):
        Vault(tmp_path).body(Body(name="reply", size_bytes=1, chunks=(address,)))


def test_an_address_into_the_middle_of_a_frame_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(Corrupt):
        Vault(tmp_path).span(Origin(writer="gateway", segment=1, offset=SEGMENT_HEAD.size + 7))


def test_a_full_disk_is_an_error_that_leaves_a_whole_journal(tmp_path: Path) -> None:
    """A file-size limit of the operating system stands in for the full disk: the same write fails half-way."""
    script = """
import resource, signal, sys
from pathlib import Path
from watchkeeper.engines.recorder.journal import Journal, JournalFull
from watchkeeper.records.span import Span
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = Journal(Path(sys.argv[1]), "gateway", bytes(32))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
kept = 0
for number in range(1, 1000):
    try:
        writer.append(Span(trace_id=f"{number:032x}", span_id=f"{number:016x}", start_ns=number, name="x"))
        kept += 1
    except JournalFull as error:
        assert "could not be written" in str(error), error
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append(Span(trace_id="f" * 32, span_id="f" * 16, start_ns=1, name="after"))
writer.close()
print(kept)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = only(tmp_path)
    assert result.holds and result.frames == int(done.stdout) + 1


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    writer.close()
    with pytest.raises(JournalFull, match="closed"):
        writer.append(span(1))


def test_a_newer_frame_version_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes()[SEGMENT_HEAD.size :])
    data[2] = 9
    with pytest.raises(Corrupt, match="newer than this program reads"):
        read_head(data)


def test_payloads_and_the_records_made_of_them_are_one_write(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    payloads = [(b"question", "request", "text/plain", "a"), (b"question", "sent", "text/plain", "a")]
    bodies = writer.write(payloads, lambda bodies: (span(1, bodies=bodies), span(2)))
    writer.close()
    assert [f.head.kind for f in read_frames(tmp_path / "gateway", check=True)] == [
        FrameKind.CHUNK,
        FrameKind.SPAN,
        FrameKind.SPAN,
    ]
    assert only(tmp_path).holds
    vault = Vault(tmp_path)
    assert [vault.body(body) for body in bodies] == [b"question"] * 2


def test_records_that_cannot_be_made_leave_nothing_and_their_payload_is_not_taken_for_kept(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    with pytest.raises(ZeroDivisionError):
        writer.write([(b"words", "reply", "text/plain", "a")], lambda bodies: [span(1 // 0)])
    assert list(read_frames(tmp_path / "gateway")) == []
    body = writer.put(b"words", "reply", "text/plain", "a")
    writer.close()
    assert Vault(tmp_path).body(body) == b"words" and only(tmp_path).holds


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 2048, 2049, 40_000])
def test_a_payload_of_any_size_comes_back(tmp_path: Path, size: int) -> None:
    writer = Journal(tmp_path, "gateway", KEY)
    body = writer.put(b"a" * size, "reply")
    origin = writer.append(span(1, preview="p" * size))
    writer.close()
    vault = Vault(tmp_path)
    assert vault.body(body) == b"a" * size and vault.span(origin).preview == "p" * size
    assert only(tmp_path).holds
