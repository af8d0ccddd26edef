"""Finds credentials that have a form of their own: provider keys, tokens, JWTs, private keys, passwords in URLs.

Nearly every such credential holds a run of at least 16 letters, digits, `_` and `-`. One table look-up turns bytes
into "in a run" or not; only runs that long are looked at, and only for the markers below. What has no such run (a PEM
header, a password in a URL, a bearer token) has a substring of its own.

Limits: the forms are those that providers publish or that their keys show. A key of a provider that is not listed is
found only behind `Bearer`, in a URL, or when its field is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Probe = str
"""What a screen saw: the marker of a form."""

RUN = 16
_IN_RUN = bytes(
    ord("a") if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_-") else 32 for byte in range(256)
)
_LONG = b"a" * RUN
_BEFORE = 8
"""How far before a run its marker may begin: `SG.` and what an escape such as `\\n` leaves in front of a word."""
_BLOBS_ABOVE_BYTES = 256 << 10
_IN_BLOB = bytes(
    ord("a") if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "+/") else 32 for byte in range(256)
)
_LONGEST_WORD = b"a" * 2000
_BLOB = re.compile(rb"[A-Za-z0-9+/]{2000,}={0,2}")


class _Form(NamedTuple):
    """A kind of credential: where it begins, its whole form from there, and what else must hold."""

    marker: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] | None = None
    group: int = 0
    bounded: bool = True


def _mixed(value: str) -> bool:
    """Whether it looks random rather than written: digits, letters, and a long part without a hyphen."""
    return (
        any(each.isdigit() for each in value)
        and any(each.isalpha() for each in value)
        and max(map(len, re.split(r"[-_]", value))) >= 10
    )


def _digits(value: str) -> bool:
    return any(each.isdigit() for each in value)


def _form(marker: str, pattern: str, holds: Callable[[str], bool] | None = None) -> _Form:
    return _Form(marker, re.compile(pattern), holds)


_RUNS: tuple[_Form, ...] = (
    _form("wk-", r"wk-[0-9a-f]{10}-[0-9a-f]{40,48}"),
    _form("wko-", r"wko-[A-Za-z0-9_-]{30,64}"),
    _form("sk-", r"sk-[A-Za-z0-9_-]{16,300}", _mixed),
    *(_form(f"{kind}_", rf"{kind}_[A-Za-z0-9]{{10,250}}") for kind in ("sk_live", "sk_test", "rk_live", "rk_test")),
    _form("whsec_", r"whsec_[A-Za-z0-9+/=]{20,100}"),
    *(_form(f"gh{kind}_", rf"gh{kind}_[A-Za-z0-9]{{30,255}}") for kind in "pousr"),
    _form("github_pat_", r"github_pat_[A-Za-z0-9_]{22,255}"),
    _form("glpat-", r"glpat-[A-Za-z0-9_-]{20,100}"),
    _form("AKIA", r"AKIA[A-Z0-9]{16}"),
    _form("ASIA", r"ASIA[A-Z0-9]{16}"),
    _form("AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _form("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{24,40}"),
    _form("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}", _digits),
    _form("xapp-", r"xapp-\d-[A-Za-z0-9-]{20,250}"),
    _form("hf_", r"hf_[A-Za-z0-9]{30,60}"),
    _form("gsk_", r"gsk_[A-Za-z0-9]{40,80}"),
    _form("xai-", r"xai-[A-Za-z0-9]{40,120}"),
    _form("pplx-", r"pplx-[A-Za-z0-9]{40,80}"),
    _form("r8_", r"r8_[A-Za-z0-9]{30,60}"),
    _form("npm_", r"npm_[A-Za-z0-9]{30,60}"),
    _form("pypi-", r"pypi-[A-Za-z0-9_-]{40,300}"),
    _form("dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    _form("dop_v1_", r"dop_v1_[0-9a-f]{64}"),
    _form("lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f_]{32,60}"),
    _form("pk-lf-", r"pk-lf-[0-9a-f-]{30,40}"),
    _form("nvapi-", r"nvapi-[A-Za-z0-9_-]{40,100}"),
    _form("eyJ", r"eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,16384}\.[A-Za-z0-9_-]{0,2048}"),
    _form("SG.", r"SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,80}"),
    _form("ya29.", r"ya29\.[A-Za-z0-9_-]{20,1024}"),
    _Form(":AA", re.compile(r":(AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])"), None, 1, False),
)
_RUN_MARKERS = re.compile("|".join(re.escape(each.marker) for each in _RUNS).encode())
_ASSIGNED = r"(?:_?[iI]d)?[\"'\\\s:=]{1,8}"
_IN_URL = re.compile(rb"://[^\s/:@\"'\\<>\[\]]{0,100}:[^\s/@\"'\\<>]{1,200}@")
_APART: tuple[_Form, ...] = (
    _Form(
        "-----BEGIN",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]{0,20000}(?:-----END [A-Z0-9 ]{0,60}-----)?"
        ),
        None,
        0,
        False,
    ),
    _Form("earer ", re.compile(r"earer {1,3}([A-Za-z0-9._~+/-]{16,4096}={0,2})"), _digits, 1, False),
    _Form("EARER ", re.compile(r"EARER {1,3}([A-Za-z0-9._~+/-]{16,4096}={0,2})"), _digits, 1, False),
    _Form("asic ", re.compile(r"asic {1,3}([A-Za-z0-9+/]{12,1024}={1,2}|[A-Za-z0-9+/]{16,1024})"), _digits, 1, False),
    _Form("://", re.compile(r"://[^\s/:@\"'\\<>\[\]]{0,100}:([^\s/@\"'\\<>]{1,200})@[^\s/@]"), None, 1, False),
    *(
        _Form(
            name,
            re.compile(rf"{name}(?:_?[iI]d)?[\"'\\\s:=]{{1,8}}([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+])"),
            _digits,
            1,
            False,
        )
        for name in ("ccess_key", "ccessKey", "CCESS_KEY")
    ),
    _Form("ervices/T", re.compile(r"ervices/(T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{16,40})"), None, 1, False),
)
_FORMS = (*_RUNS, *_APART)
_APART_BYTES = tuple((each.marker, each.marker.encode()) for each in _APART if each.marker != "://")


def screen_credentials(data: bytes) -> list[Probe]:
    """The markers of credentials that some bytes may hold."""
    if len(data) > _BLOBS_ABOVE_BYTES and _LONGEST_WORD in data.translate(_IN_BLOB):
        data = _BLOB.sub(b" ", data)  # images and other base64
    found = [marker for marker, raw in _APART_BYTES if raw in data]
    if b"@" in data and _IN_URL.search(data):
        found.append("://")
    shape = data.translate(_IN_RUN)
    at = shape.find(_LONG)
    if at < 0:
        return found
    runs: set[bytes] = set()  # a stream repeats its ids in every event
    while at >= 0:
        end = shape.find(b" ", at + RUN)
        if end < 0:
            end = len(shape)
        runs.add(data[max(0, at - _BEFORE) : end])
        at = shape.find(_LONG, end)
    found += {marker.decode() for marker in _RUN_MARKERS.findall(b" ".join(runs))}
    return found


def find_credentials(text: str, probes: frozenset[Probe] | None = None) -> Iterator[tuple[int, int]]:
    """The places of credentials in a text; `probes` are the markers that a screen saw, None for all."""
    for form in _FORMS:
        if probes is None or form.marker in probes:
            yield from _each(form, text)


def _each(form: _Form, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(form.marker)
    while at >= 0:
        match = form.pattern.match(text, at)
        if match is None or (form.bounded and _inside(text, at)):
            at = text.find(form.marker, at + 1)
            continue
        start, end = match.span(form.group)
        if form.holds is None or form.holds(text[start:end]):
            yield start, end
            at = text.find(form.marker, end)
        else:
            at = text.find(form.marker, at + 1)


def _inside(text: str, at: int) -> bool:
    """Whether a letter, digit or underscore stands right before, so that this is the middle of a word."""
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")
