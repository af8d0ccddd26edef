"""Looks for a planted secret in every byte of a data directory, compressed frames included."""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def found_in(folder: Path, *secrets: str) -> list[str]:
    """The files that hold one of some secrets, as they are or in a compressed frame, each with what was found."""
    wanted = [form for secret in secrets for form in (secret.encode(), secret.encode("utf-16-le"))]
    hits = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            hits += [
                f"{path.name}: {form!r}" for form in wanted if any(form in each for each in (data, *_opened(data)))
            ]
    return hits


def _opened(data: bytes) -> list[bytes]:
    """Every Zstandard frame and gzip member in some bytes, decompressed as far as it goes."""
    opened = []
    at = data.find(ZSTD_MAGIC)
    while at >= 0:
        try:
            opened.append(zstd.ZstdDecompressor().decompress(data[at:]))
        except (zstd.ZstdError, EOFError):
            pass  # four bytes that look like the beginning of a frame
        at = data.find(ZSTD_MAGIC, at + 1)
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        try:
            opened.append(gzip.decompress(data[at:]))
        except (OSError, EOFError, zlib.error):
            pass  # likewise
        at = data.find(b"\x1f\x8b\x08", at + 1)
    return opened
