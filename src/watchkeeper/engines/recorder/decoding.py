"""Reads and decodes journals in a process of its own, so that decoding and indexing have a processor each.

The process is asked for one batch after a mark and answers with its records; it keeps nothing that cannot be asked for
again, and writes nothing. So it may be ended at any time: what it did not answer is read anew, here or there, and the
index alone says how far a journal is in. Requests and answers are MessagePack behind their length, over pipes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import msgspec

from watchkeeper.engines.recorder.batches import BatchReader, Read
from watchkeeper.kinds.ports import Watermark
from watchkeeper.queries.tables import TABLE_OF
from watchkeeper.records.record import Record, pack, unpack

_TIDY_EVERY = 64
_LENGTH = struct.Struct("<Q")
_RECORDS: Mapping[str, type[Record]] = {kind.__name__: kind for kind in TABLE_OF}
_log = logging.getLogger("watchkeeper.ingest")


class Answer(Record):
    """A `Read` as it travels: its records by their type, in the order in which the types first came."""

    mark: Watermark
    frames: int
    erased: int
    at_ns: int
    full: bool
    damage: str | None
    parts: list[tuple[str, msgspec.Raw]]


class DecoderGone(OSError):
    """The process ended or did not understand; what it was asked for can be read without it."""


class DecodingProcess:
    """The one side: starts the process with the first request, and asks. One request at a time."""

    def __init__(self, command: Sequence[str], settings: bytes) -> None:
        """`settings` is the line that the process reads first."""
        self._command, self._settings = command, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._decoders = {name: msgspec.msgpack.Decoder(list[kind]) for name, kind in _RECORDS.items()}  # type: ignore[valid-type]
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    def read(self, mark: Watermark) -> Read:
        """The next batch of a writer after a mark; raises `DecoderGone`."""
        try:
            with self._turn:
                answer = unpack(Answer, self._asked(pack(mark)))
            records: list[Record] = []
            for name, packed in answer.parts:
                records += self._decoders[name].decode(packed)
        except (OSError, EOFError, KeyError, msgspec.MsgspecError) as error:
            raise DecoderGone(f"the process that decodes journals is gone: {error or type(error).__name__}") from error
        return Read(tuple(records), answer.mark, answer.frames, answer.erased, answer.at_ns, answer.full, answer.damage)

    def end(self) -> None:
        """End the process, if there is one, and wait for it."""
        with self._turn:
            self._end()

    def _asked(self, request: bytes) -> bytes:
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            _send(process.stdin, request)
            return _receive(process.stdout)
        except (OSError, EOFError):
            self._end()
            raise

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.starts += 1
            assert self._process.stdin is not None
            self._process.stdin.write(self._settings + b"\n")
            _log.info("decoding in a process of its own (%d) while the index is behind", self._process.pid)
        return self._process


def answer_requests(
    reader: BatchReader, requests: IO[bytes], answers: IO[bytes], refresh: Callable[[], None] | None = None
) -> None:
    """The other side: answer until no more is asked for, alone in its process; `refresh` goes before each batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; our end is the pipe's
    gc.freeze()
    gc.disable()
    asked = 0
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            mark = unpack(Watermark, _receive(requests))
            if refresh is not None:
                refresh()
            _send(answers, pack(_answer(reader.read(mark))))
            asked += 1
            if asked % _TIDY_EVERY == 0:
                gc.collect()


def _answer(read: Read) -> Answer:
    by_type: dict[str, list[Record]] = {}
    for record in read.records:
        by_type.setdefault(type(record).__name__, []).append(record)
    return Answer(
        mark=read.mark,
        frames=read.frames,
        erased=read.erased,
        at_ns=read.at_ns,
        full=read.full,
        damage=read.damage,
        parts=[(name, msgspec.Raw(pack(records))) for name, records in by_type.items()],
    )


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    size = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))[0]
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("the pipe was closed")
    return data
