"""Which recorded calls are of a version: a composition, a model, a release, or any attribute."""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.queries.operations import Manifests
from watchkeeper.queries.question import Reader
from watchkeeper.records.record import Record

FORMS = "manifest:DIGEST, model:NAME, release:VERSION or attribute:KEY=VALUE"
FEWEST_DIGITS = 8
RELEASE = "service.version"


class Version(Record):
    """A version in words, and the parameters of a question about calls that keep to it: one of the three is known."""

    word: str
    manifest: str | None = None
    model: str | None = None
    attribute: str | None = None

    @property
    def filters(self) -> dict[str, str]:
        """The parameters of `spans`, `uses` and other questions."""
        known = {"manifest": self.manifest, "model": self.model, "attribute": self.attribute}
        return {name: value for name, value in known.items() if value is not None}


def is_version(word: str) -> bool:
    """Whether a word names a version of recorded traffic."""
    kind, colon, value = word.partition(":")
    return bool(colon and value) and kind in ("manifest", "model", "release", "attribute")


def version_of(word: str, digests: Iterable[str] = ()) -> Version:
    """The version that a word names; a composition may be named by the first 8 or more digits of one of `digests`.

    Raises `ValueError` saying what was expected.
    """
    kind, _, value = word.partition(":")
    if not is_version(word):
        raise ValueError(f"{word[:80]!r} names no version of recorded traffic; write {FORMS}")
    if kind == "manifest":
        return Version(word=word, manifest=_whole(value, set(digests)))
    if kind == "model":
        return Version(word=word, model=value)
    attribute = f"{RELEASE}={value}" if kind == "release" else value
    if "=" not in attribute:
        raise ValueError(f"{word[:80]!r} is no attribute; write attribute:KEY=VALUE")
    return Version(word=word, attribute=attribute)


async def find_version(reader: Reader, word: str) -> Version:
    """The version that a word names, with the compositions on record; raises `ValueError`."""
    known = (await reader.ask(Manifests(limit=100_000))).items if word.startswith("manifest:") else ()
    return version_of(word, (str(each["digest"]) for each in known))


def _whole(value: str, digests: set[str]) -> str:
    if value in digests:
        return value
    found = sorted(each for each in digests if each.startswith(value)) if len(value) >= FEWEST_DIGITS else []
    if len(found) == 1:
        return found[0]
    said = f"{len(found)} compositions begin with" if found else "no composition is recorded under"
    raise ValueError(f"{said} {value[:64]!r}; list them: watchkeeper ask serving")
