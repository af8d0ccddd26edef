"""Credentials by their form: what is one, what only looks like one, and that the screen never misses what is found."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.credentials import find_credentials, screen_credentials

HEX = "0123456789abcdef" * 4
ALNUM = "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8bC0fL3xR5" * 3
ONES = [
    f"sk-{ALNUM[:40]}",
    f"sk-ant-api03-{ALNUM[:60]}",
    f"sk_live_{ALNUM[:24]}",
    f"ghp_{ALNUM[:36]}",
    f"github_pat_{ALNUM[:60]}",
    f"glpat-{ALNUM[:20]}",
    "AKIA" + "ABCDEFGHIJ234567",
    f"AIza{ALNUM[:35]}",
    f"xoxb-1234567890-{ALNUM[:24]}",
    f"hf_{ALNUM[:34]}",
    f"npm_{ALNUM[:36]}",
    f"dapi{HEX[:32]}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    f"SG.{ALNUM[:22]}.{ALNUM[:43]}",
    f"wk-{HEX[:10]}-{HEX[:48]}",
    f"wko-{ALNUM[:32]}",
]


@pytest.mark.parametrize("one", ONES)
@pytest.mark.parametrize("around", ["{}", "key={}", '"{}"', "see {}.", "({})", "a {} b", "\n{}\n"])
def test_a_key_is_found_whole_wherever_it_stands(one: str, around: str) -> None:
    text = around.format(one)
    assert [text[start:end] for start, end in find_credentials(text)] == [one]
    assert set(find_credentials(text, frozenset(screen_credentials(text.encode())))) == set(find_credentials(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Authorization: Bearer abcDEF123456789xyz", "abcDEF123456789xyz"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==", "dXNlcjpwYXNzd29yZDEyMw=="),
        ("postgres://bob:hunter2@db.example.com/x", "hunter2"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY1", None),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        ),
        (
            "https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnop1234",
            "T00000000/B00000000/abcdefghijklmnop1234",
        ),
        (f"bot 123456789:AA{ALNUM[:33]}", f"AA{ALNUM[:33]}"),
    ],
)
def test_what_has_no_run_of_its_own_is_found_by_its_surroundings(text: str, found: str | None) -> None:
    said = [text[start:end] for start, end in find_credentials(text)]
    if found is None:
        assert len(said) == (1 if text.startswith("AWS") else 0)
    else:
        assert said == [found]
    assert set(find_credentials(text, frozenset(screen_credentials(text.encode())))) == set(find_credentials(text))


@pytest.mark.parametrize(
    "text",
    [
        "a task-management-system-with-many-parts of 2024",
        "risk-assessment-framework-2024",
        "sk-fading-circle-animation",
        "the bearer of this letter",
        "injection_task_id_and_more_than_that",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "sha256 " + HEX,
        "https://example.com:8080/path@2x",
        "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
        "an AKIA word and AKIAshort",
    ],
)
def test_what_is_no_key_is_left_alone(text: str) -> None:
    assert list(find_credentials(text)) == []


def test_a_large_image_is_passed_over_and_a_key_behind_it_is_seen() -> None:
    data = b'"' + b"iVBORw0KGgo" * 40_000 + b'", "' + ONES[0].encode() + b'"'
    assert "sk-" in set(screen_credentials(data))
