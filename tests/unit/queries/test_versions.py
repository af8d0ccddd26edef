"""Words name versions of recorded traffic, or are refused with what was expected."""

import pytest

from watchkeeper.queries.versions import is_version, version_of

DIGESTS = ("0123456789abcdef", "01234567ffffffff", "aaaaaaaaaaaaaaaa")


@pytest.mark.parametrize(
    ("word", "filters"),
    [
        ("model:gpt-4o", {"model": "gpt-4o"}),
        ("model:a:b", {"model": "a:b"}),
        ("release:2.3", {"attribute": "service.version=2.3"}),
        ("attribute:tier>=2", {}),
        ("attribute:tier=pro", {"attribute": "tier=pro"}),
        ("manifest:aaaaaaaa", {"manifest": "aaaaaaaaaaaaaaaa"}),
        ("manifest:0123456789abcdef", {"manifest": "0123456789abcdef"}),
    ],
)
def test_each_form_is_read(word: str, filters: dict[str, str]) -> None:
    if filters:
        assert version_of(word, DIGESTS).filters == filters
    else:
        assert version_of(word).attribute == "tier>=2"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("gpt-4o", "names no version"),
        ("model:", "names no version"),
        ("attribute:tier", "KEY=VALUE"),
        ("manifest:01234567", "2 compositions begin"),
        ("manifest:aaaa", "no composition is recorded"),
        ("manifest:bbbbbbbbbb", "no composition is recorded"),
    ],
)
def test_what_cannot_be_meant_is_refused(word: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        version_of(word, DIGESTS)


def test_a_file_is_no_version() -> None:
    assert not is_version("old.jsonl") and not is_version("./model") and is_version("model:a")
