"""A settings file to begin with is written once, works as it stands, and a mistake in one is told with its fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.compose.gateway import links_of
from watchkeeper.compose.store import monitors_of
from watchkeeper.config import load


def wk(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("WATCHKEEPER_CONFIG", "WATCHKEEPER_DATA", "WATCHKEEPER_LISTEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_file_to_begin_with_can_be_used_as_it_is(folder: Path) -> None:
    assert wk("init").exit_code == 0
    settings = load()
    assert [link.instance for link in links_of(settings)] == ["key_limits", "loop", "session-money"]
    assert len(monitors_of(settings)) == 1
    assert {use.mode for use in settings.policies} == {"shadow"}


def test_an_existing_file_is_left_alone(folder: Path) -> None:
    file = folder / "watchkeeper.toml"
    file.write_text("# mine\n")
    done = wk("init", "--json")
    assert done.exit_code == 2
    assert file.read_text() == "# mine\n"
    assert "exists and was left as it is" in done.stderr
    assert "exists" in json.loads(done.stdout)["error"]["message"]
    assert json.loads(wk("init", "--file", "other.toml", "--json").stdout) == {"file": "other.toml"}


MISTAKES = [
    ('[server]\nlisen = "127.0.0.1:1"', ["`server.lisen`", "did you mean `listen`?"]),
    ('[[policies]]\nuse = "lop"', ["'lop'", "known are: budget, frontier, key_limits, loop"]),
    ('[[policies]]\nuse = "loop"\nwith = { repeats = 1 }', ["`with.repeats` is 1", ">= 2"]),
    ('[[notifiers]]\nuse = "pigeon"', ["`notifiers[0].use` is 'pigeon'", "webhook"]),
    ('[[monitors]]\nuse = "slo"\nwith = { objective = 0.9, every_s = "1m" }', ["`with.every_s` is '1m'", "seconds"]),
    ("[server]\nlisten = 8787", ["`server.listen` is 8787", "host:port"]),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_in_the_settings_names_file_key_value_and_fix(folder: Path, text: str, words: list[str]) -> None:
    (folder / "mine.toml").write_text(text)
    done = wk("doctor", "--config", "mine.toml")
    assert done.exit_code == 1
    assert all(word in done.stdout for word in ["mine.toml", *words]), done.stdout


@pytest.mark.parametrize("command", [("ask", "traces"), ("serve",), ("key", "list"), ("verify",)])
def test_a_command_with_wrong_settings_ends_with_two_and_says_it_to_programs_too(
    folder: Path, command: tuple[str, ...]
) -> None:
    (folder / "watchkeeper.toml").write_text("[server]\nlisten = 8787")
    done = wk(*command, "--json")
    assert done.exit_code == 2
    told = json.loads(done.stdout)["error"]
    assert told["code"] == "config"
    for text in (told["message"], done.stderr):
        assert "watchkeeper.toml: `server.listen` is 8787" in text


def test_doctor_says_what_is_not_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wk("init")
    assert wk("doctor").exit_code == 0
    with (folder / "watchkeeper.toml").open("a") as file:
        file.write(
            '[[upstreams]]\nname = "second"\nbase_url = "http://127.0.0.1:9/v1"\ncredential = "env:SECOND_KEY"\n'
            '[[notifiers]]\nuse = "webhook"\nurl = "env:HOOK_URL"\n'
        )
    checks = {each["name"]: each for each in json.loads(wk("doctor", "--json").stdout)}
    assert checks["upstream second"]["ok"] is False
    assert "SECOND_KEY is not set" in checks["upstream second"]["found"]
    assert "HOOK_URL is not set" in checks["notifier webhook"]["found"]
    assert checks["data"]["ok"] is None
    monkeypatch.setenv("SECOND_KEY", "sk-quiet")
    monkeypatch.setenv("HOOK_URL", "https://hooks.example/quiet")
    done = wk("doctor")
    assert done.exit_code == 0
    assert "quiet" not in done.output


def test_doctor_finds_data_of_a_newer_format(folder: Path) -> None:
    (folder / ".watchkeeper").mkdir()
    (folder / ".watchkeeper" / "format.json").write_text('{"format": 999}')
    done = wk("doctor")
    assert done.exit_code == 1
    assert "BAD data: the data directory" in done.stdout
