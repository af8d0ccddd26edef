"""What a call declares of itself is read from where it is declared, and from nothing that the model is told."""

from __future__ import annotations

import msgspec
import pytest

from watchkeeper.engines.gateway.features import HEADER, LONGEST, MOST, declared_features


def read(header: str | None = None, metadata: str | None = None, *wanted: str) -> dict[str, object]:
    headers = {} if header is None else {HEADER: header.encode("latin-1")}
    fields = {} if metadata is None else {"metadata": msgspec.Raw(metadata.encode())}
    return {name.rpartition(".")[2]: value for name, value in declared_features(headers, fields, wanted).items()}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("family=dates, difficulty=easy", {"family": "dates", "difficulty": "easy"}),
        ("family=Br%C3%BCche%2C%20rein", {"family": "Br\u00fcche, rein"}),
        ("family", {}),
        ("family=, =x, a=b", {"a": "b"}),
        ("a=1, a=2", {"a": "1"}),
        ("a=" + "x" * (LONGEST + 1), {}),
        ("a=x%0Ay", {}),
    ],
)
def test_the_header_declares_features(header: str, found: dict[str, str]) -> None:
    assert read(header) == found


def test_metadata_counts_where_a_policy_reads_it_and_the_header_says_nothing() -> None:
    assert read(None, '{"family": "dates", "difficulty": 2, "user_id": "u"}', "family", "difficulty") == {
        "family": "dates",
        "difficulty": "2",
    }
    assert read("family=sums", '{"family": "dates"}', "family") == {"family": "sums"}
    assert read(None, '{"family": "dates"}') == {}


@pytest.mark.parametrize(
    "metadata", ["[1]", "null", "{", '{"family": {"a": 1}}', '{"family": ["x"]}', '{"family": null}']
)
def test_metadata_that_is_none_declares_nothing(metadata: str) -> None:
    assert read(None, metadata, "family") == {}


def test_only_so_many_are_read() -> None:
    assert len(read(", ".join(f"f{n}=x" for n in range(100)))) == MOST
