"""Finds credentials and personal data in text: keys, cards, e-mail addresses, phone numbers, IBANs, IP addresses.

Each detector is two steps. A *screen* over raw bytes, made of substring searches and one table look-up per byte, says
whether there can be anything at all; it reads hundreds of megabytes a second. Only then is text searched, each
candidate at the place of its marker, and checked by what the format itself promises: a Luhn sum (ISO/IEC 7812-1), the
ISO 7064 mod 97-10 remainder of an IBAN (ISO 13616), the ranges of the North American numbering plan, the country codes
of E.164.

Limits: a credential without a form of its own (a password, a random token without a prefix) cannot be told from other
text; name its field instead. Names of people and postal addresses are not looked for. National phone numbers are found
in the grouped forms of North America, Britain and France, and in any form behind a word such as "phone".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from watchkeeper.analysis.credentials import Probe, find_credentials, screen_credentials

Place = tuple[int, int]
Finder = Callable[[str, frozenset[Probe] | None], Iterable[Place]]
Screen = Callable[[bytes], Iterable[Probe]]


class Detector(NamedTuple):
    """One kind of sensitive value.

    `label` stands in what replaces it. `screen` names what the raw bytes may hold (empty: nothing); `find` gives the
    places in a text, told what the screen saw (None: anything is possible). `normal` is the form under which equal
    values count as equal. `digits` says that it looks for numbers, which ids must not be searched for.
    """

    label: str
    screen: Screen
    find: Finder
    normal: Callable[[str], str]
    digits: bool = False


_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


# E-mail addresses -----------------------------------------------------------------------------------------------------

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w-])")
_NOT_FIRST = ".!#$%&'*+/=?^`{|}~-"
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "md", "json"})


def _screen_emails(data: bytes) -> Iterator[Probe]:
    if b"@" in data:
        yield "@"


def _find_emails(text: str, probes: frozenset[Probe] | None = None) -> Iterator[Place]:
    at = text.find("@")
    while at >= 0:
        place = _email_around(text, at)
        if place is not None:
            yield place
        at = text.find("@", at + 1 if place is None else place[1])


def _email_around(text: str, at: int) -> Place | None:
    domain = _DOMAIN.match(text, at + 1)
    if domain is None or domain.group().rpartition(".")[2].lower() in _FILES:
        return None
    before = text[max(0, at - 64) : at]
    local = _LOCAL.search(before)
    if local is None:
        return None
    name = re.split(r"[=/?&{|]", local.group())[-1].lstrip(_NOT_FIRST)  # what stands before it in a query or a path
    if not name or name.endswith("."):
        return None
    return at - len(name), domain.end()


# What consists of digits ----------------------------------------------------------------------------------------------


def _shape_table() -> bytes:
    """Digits as 0, letters as a, separators of numbers as -, the rest as it is."""
    table = bytearray(range(256))
    for byte in range(256):
        character = chr(byte)
        if character in "0123456789":
            table[byte] = ord("0")
        elif character.isascii() and character.isalpha():
            table[byte] = ord("a")
        elif character in " -()/.":
            table[byte] = ord("-")
    return bytes(table)


_SHAPE = _shape_table()
_CARD_SHAPE = re.compile(rb"0000(?:0{9}|--?0000|--?000000)")
_IBAN_SHAPE = re.compile(rb"(?=aa00-?[0a]{4})")  # overlapping: the end of an escape may look like a beginning


def _screen_cards(data: bytes) -> Iterator[Probe]:
    if _CARD_SHAPE.search(data.translate(_SHAPE)):
        yield "card"


_CARD = re.compile(
    r"\d{4}(?P<s>[ -]{1,2})\d{4}(?P=s)\d{4}(?P=s)\d{2,4}(?:(?P=s)\d{3})?(?!\d)"
    r"|\d{4}[ -]\d{6}[ -]\d{4,5}(?!\d)|\d{14,16}(?!\d)"
)


def _find_cards(text: str, probes: frozenset[Probe] | None = None) -> Iterator[Place]:
    at = 0
    while match := _CARD.search(text, at):
        start, end = match.span()
        is_card = not _continues(text, start, end) and _is_card(match.group())
        at = end if is_card else start + 1
        if is_card:
            yield start, end


def _continues(text: str, start: int, end: int) -> bool:
    """Whether digits or letters go on before or behind, so that this is a part of something longer."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return (
        before[-1:].isalnum()
        or before[-1:] == "_"
        or after[:1].isalnum()
        or after[:1] == "_"
        or (before[-1:] in ".+-" and before[:1].isdigit())
        or (after[:1] in ".-" and after[1:2].isdigit())
    )


def _is_card(written: str) -> bool:
    digits = re.sub(r"\D", "", written)
    return _has_issuer(digits, grouped=len(digits) != len(written)) and luhn(digits) and len(set(digits)) > 1


def _has_issuer(digits: str, grouped: bool) -> bool:
    """Whether a network issues numbers that begin so and are so long."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return size == 16 or (size == 19 and grouped)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in (34, 37):
        return size == 15
    if two in (36, 38, 39) or 3000 <= four <= 3059:
        return size in (14, 16)
    if 3528 <= four <= 3589 or four == 6011 or two == 65 or 6440 <= four <= 6499 or two == 62:
        return size == 16 or (size == 19 and grouped)
    return size in (16, 19) and four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


_LABELS = (b"phone", b"mobile", b"tel", b"fax", b"cell", b"whatsapp", b"sms", b"handy")
_NATIONAL = {
    "north america": (b"-000-0000",),
    "britain": (b"0000-0000", b"000-0000", b"00000-000000", b"0000--000000", b"000--000-0000", b"000-000-000"),
    "france": (b"00-00-00-00-00",),
}


def _screen_phones(data: bytes) -> Iterator[Probe]:
    shape = data.translate(_SHAPE)
    if b"+0" in shape or b"+-0" in shape:
        yield "international"
    for name, groups in _NATIONAL.items():
        if any(group in shape for group in groups):
            yield name
    if b"000" in shape and _number_follows(data.lower(), shape):
        yield "labelled"


def _number_follows(lower: bytes, shape: bytes) -> bool:
    """Whether digits follow a word for a telephone."""
    for label in _LABELS:
        at = lower.find(label)
        while at >= 0:
            if b"000" in shape[at : at + 40]:
                return True
            at = lower.find(label, at + 3)
    return False


_S = r"[ .\u00a0-]?"
_PHONES: Mapping[Probe, re.Pattern[str]] = {
    "international": re.compile(rf"\+ ?\(?\d{{1,3}}\)?{_S}(?:\(0?\d{{0,4}}\){_S})?\d(?:{_S}\d){{4,13}}"),
    "north america": re.compile(r"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[ .-]\d{4}(?!\d)"),
    "britain": re.compile(
        r"\(?0(?:20\)? \d{4} \d{4}|1\d{3}\)? \d{6}|1\d1\)? \d{3} \d{4}|7\d{3}\)? \d{6}|7\d{3} \d{3} \d{3})(?!\d)"
    ),
    "france": re.compile(r"0[1-79](?:[ .-]\d\d){4}(?!\d)"),
    "labelled": re.compile(
        r"(?<![A-Za-z])(?:(?:tele)?phone|mobile|tel|fax|cell|whatsapp|sms|handy|t[ée]l[ée]phone)(?: ?(?:number|no|nr))?"
        r"\.?\W{0,4}(?:is |to |at )?(\+?[(]?\d(?:[ ./()-]{0,2}\d){6,13})",
        re.IGNORECASE,
    ),
}
# E.164: the country codes that are assigned, by their first digits; a plus before anything else is arithmetic.
_COUNTRY = re.compile(
    r"1|7|2[07]|21[1-368]|2[2-6]\d|29[01789]|3[0-469]|3[578]\d|4[013-9]|42[013]|5[1-8]|50\d|59\d|6[0-6]|6[7-9]\d"
    r"|8[1246]|8[058]\d|9[0-58]|9[679]\d"
)
_TAIL = re.compile(r"[ ./()\u00a0-]+\d+\Z")


def _find_phones(text: str, probes: frozenset[Probe] | None = None) -> Iterator[Place]:
    for name, pattern in _PHONES.items():
        if probes is not None and name not in probes:
            continue
        for match in pattern.finditer(text):
            start, end = _trimmed(text, *match.span(pattern.groups))
            if end and not _continues(text, start, end) and _plausible(text[start:end]):
                yield start, end


def _trimmed(text: str, start: int, end: int) -> Place:
    """A number without the groups behind it that belong to something else, as many as it takes to be plausible."""
    written = text[start:end]
    while _continues(text, start, start + len(written)) or not _plausible(written):
        tail = _TAIL.search(written)
        if tail is None:
            return start, end
        written = written[: tail.start()]
    return start, start + len(written)


def _plausible(written: str) -> bool:
    digits = re.sub(r"\D", "", written)
    if not written.startswith("+"):
        return len(set(digits)) > 2 and not _is_date(written)
    return 8 <= len(digits) <= 15 and _COUNTRY.match(digits) is not None and len(set(digits)) > 2


_DATE = re.compile(r"(?:19|20)\d\d[-./ ][01]?\d[-./ ]|[0-3]?\d[-./ ][01]?\d[-./ ](?:19|20)\d\d(?!\d)")


def _is_date(written: str) -> bool:
    return (
        re.match(r"(?:19|20)\d\d[-./ ][01]?\d[-./ ]|[0-3]?\d[-./ ][01]?\d[-./ ](?:19|20)\d\d(?!\d)", written)
        is not None
    )


def _screen_ibans(data: bytes) -> Iterator[Probe]:
    for match in _IBAN_SHAPE.finditer(data.translate(_SHAPE)):
        start = match.start()
        before = data[max(0, start - 6) : start]
        begins = not before[-1:].isalnum() or b"\\" in before  # what an escape leaves right before a word
        if begins and data[start : start + 2].upper() in _IBAN_COUNTRIES:
            yield "iban"
            return


_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
# ISO 13616: how long each country's numbers are (the registry's entries, by length).
_IBAN_LENGTHS: Mapping[str, int] = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM TL SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM BI DJ",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


_IBAN_COUNTRIES = frozenset(country.encode() for country in _IBAN_LENGTHS)


def _find_ibans(text: str, probes: frozenset[Probe] | None = None) -> Iterator[Place]:
    at = 0
    while match := _IBAN.search(text, at):
        end = _iban_end(text, match)
        at = end or match.start() + 1
        if end is not None:
            yield match.start(), end


def _iban_end(text: str, match: re.Match[str]) -> int | None:
    """Where the number that begins here ends by its country's length, None when its check digits do not hold."""
    start = match.start()
    length = _IBAN_LENGTHS.get(match.group()[:2].upper())
    if length is None or (start and text[start - 1].isalnum()):
        return None
    plain: list[str] = []
    at = start
    while at < match.end() and len(plain) < length:
        if text[at].isalnum():
            plain.append(text[at])
        at += 1
    if len(plain) < length or text[at : at + 1].isalnum() or not iban_holds("".join(plain)):
        return None
    return at


def iban_holds(plain: str) -> bool:
    """Whether the check digits of an IBAN hold: the rearranged number leaves 1 when divided by 97 (ISO 7064)."""
    turned = plain[4:] + plain[:4]
    if not turned.isascii() or not turned.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


# IP addresses ---------------------------------------------------------------------------------------------------------

_V4_BYTES = re.compile(rb"\.0{1,3}\.0{1,3}\.0")
_V6_BYTES = re.compile(rb":[0a]{0,4}:[0a]{1,4}(?::|%|/|\b)")
_V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_V6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:]|\.\d)")
_VERSION = re.compile(r"(?:\bv|version|release|build)[ :=]{0,2}\Z", re.IGNORECASE)


def _address_table() -> bytes:
    table = bytearray(_SHAPE)
    for character in " -()/.":
        table[ord(character)] = ord(character)
    return bytes(table)


_ADDRESS = _address_table()


def _screen_addresses(data: bytes) -> Iterator[Probe]:
    shape = data.translate(_ADDRESS)
    if _V4_BYTES.search(shape):
        yield "v4"
    if b"::" in data or _V6_BYTES.search(shape):
        yield "v6"


def _find_addresses(text: str, probes: frozenset[Probe] | None = None) -> Iterator[Place]:
    for pattern in (_V4, _V6):
        for match in pattern.finditer(text):
            if len(match.group()) > 2 and _is_address(match.group(), text[max(0, match.start() - 10) : match.start()]):
                yield match.span()


def _is_address(written: str, before: str) -> bool:
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    nobody = address.is_loopback or address.is_unspecified or address.is_multicast or str(address).startswith("255.")
    return not nobody and _VERSION.search(before) is None


# The list of them -----------------------------------------------------------------------------------------------------


def _plain(value: str) -> str:
    return value


def _alphanumeric(value: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", value).upper()


DETECTORS: Mapping[str, Detector] = {
    "secret_keys": Detector("secret", screen_credentials, find_credentials, _plain),
    "cards": Detector("card", _screen_cards, _find_cards, _alphanumeric, digits=True),
    "emails": Detector("email", _screen_emails, _find_emails, str.lower),
    "phones": Detector("phone", _screen_phones, _find_phones, _alphanumeric, digits=True),
    "ibans": Detector("iban", _screen_ibans, _find_ibans, _alphanumeric),
    "ip_addresses": Detector("ip", _screen_addresses, _find_addresses, str.lower, digits=True),
}
"""The detectors by the name under which settings ask for them."""


def find(name: str, text: str) -> list[Place]:
    """The places of one kind of sensitive value in a text, in order and without overlaps."""
    kept: list[Place] = []
    for start, end in sorted(DETECTORS[name].find(text, None), key=lambda place: (place[0], -place[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def masked(text: str, names: Iterable[str]) -> tuple[str, int]:
    """A text with every value of these kinds replaced by its label in brackets, and how many there were."""
    count = 0
    data = text.encode("utf-8", "surrogatepass")
    for name in names:
        if not any(True for _ in DETECTORS[name].screen(data)):
            continue
        label = f"[{DETECTORS[name].label}]"
        for start, end in reversed(find(name, text)):
            text = text[:start] + label + text[end:]
            count += 1
    return text, count
