"""Rules as they are written in the settings: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.compose.redacting import rules_of
from watchkeeper.config import ConfigError, load


def rules(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "watchkeeper.toml"
    file.write_text(text)
    return [rule.name for rule in rules_of(load(file), {})]


def test_without_settings_credentials_are_masked(tmp_path: Path) -> None:
    assert rules(tmp_path, "") == ["secret_keys"]
    assert rules(tmp_path, "[recording]\nredact_credentials = false\n") == []


def test_every_kind_of_rule_is_taken(tmp_path: Path) -> None:
    text = """
    [[redactions]]
    detect = "emails"
    action = "token"
    in = ["request", "tool_results"]
    [[redactions]]
    name = "staff"
    pattern = 'EMP-\\d{6}'
    [[redactions]]
    fields = ["password", "*.email"]
    action = "drop"
    """
    assert rules(tmp_path, text) == ["secret_keys", "emails", "staff", "fields"]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('detect = "names"', "there are secret_keys"),
        ("pattern = '(a+)+b'", "upper bound"),
        ('detect = "emails"\npattern = "x1"', "one of"),
        ('name = "x"', "none"),
        ('detect = "emails"\nin = ["everywhere"]', "it may hold request"),
        ('fields = ["a..b"]', "a..b"),
        ('fields = ["*"]', r"'\*'"),
        ('detect = "emails"\nname = "E-Mail"', "lower-case"),
        ('detect = "emails"\naction = "hash"', "hash"),
        ('detekt = "emails"', "detect"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_load(tmp_path: Path, rule: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        rules(tmp_path, f"[[redactions]]\n{rule}\n")
