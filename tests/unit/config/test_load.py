"""Settings are read in one order, and a mistake is answered with file, key, value and fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.config import ConfigError, load

WHOLE = """
[server]
listen = "127.0.0.1:9000"
data = "elsewhere"

[[upstreams]]
name = "lab"
base_url = "http://127.0.0.1:9999/v1"
credential = "none"
models = ["lab-*"]
aliases = { fast = "lab-small" }

[[policies]]
use = "budget"
mode = "shadow"
with = { per = "session", usd = 0.5 }

[[prices]]
model = "lab-*"
input_usd_per_million = 1.0
output_usd_per_million = 2.0
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "watchkeeper.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    config = load(write(tmp_path, WHOLE), environ={})
    assert config.server.port == 9000 and config.server.on_loopback
    assert config.upstreams[0].aliases == {"fast": "lab-small"}
    assert config.policies[0].parameters == {"per": "session", "usd": 0.5}
    assert config.data == tmp_path / "elsewhere"


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    environ = {"WATCHKEEPER_LISTEN": "127.0.0.1:9001", "WATCHKEEPER_DATA": "/somewhere"}
    assert load(path, environ=environ).server.listen == "127.0.0.1:9001"
    assert load(path, listen="127.0.0.1:9002", environ=environ).server.listen == "127.0.0.1:9002"
    assert load(path, environ=environ).server.data == "/somewhere"


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(environ={})
    assert (config.server.listen, config.server.data, config.file) == ("127.0.0.1:8787", ".watchkeeper", None)


MISTAKES = [
    ("[server]\nlisen = '127.0.0.1:1'", ["server.lisen", "did you mean `listen`"]),
    ("[sever]\nlisten = '127.0.0.1:1'", ["sever", "did you mean `server`"]),
    ("[server]\nlisten = 8787", ["server.listen", "8787", "expected `str`"]),
    ("[server]\nlisten = 'localhost'", ["server.listen", "'localhost'", "host:port"]),
    ("[server]\nlisten = 'localhost:99999'", ["server.listen", "host:port"]),
    ("server = 3", ["`server` must be a table"]),
    ("[[upstreams]]\nname='x'\nbase_url='http://a/v1'", ["upstreams[0].credential", "missing", "env:NAME"]),
    (
        "[[upstreams]]\nname='x'\nbase_url='api.openai.com'\ncredential='none'",
        ["base_url", "api.openai.com", "https://"],
    ),
    ("[[upstreams]]\nname='x'\nbase_url='http://a'\ncredential='none'\ntimeout_s=-1", ["timeout_s", "-1", "> 0"]),
    ("[[policies]]\nuse='budget'\nmode='watch'", ["policies[0].mode", "'watch'", "shadow"]),
    ("[[policies]]\nuse='budget'\n[[policies]]\nuse='budget'", ["'budget'", "another `name`"]),
    ("[server\nlisten = 1", ["not valid TOML"]),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_is_named_with_its_fix(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_secret_written_as_credential_is_not_echoed(tmp_path: Path) -> None:
    text = "[[upstreams]]\nname='x'\nbase_url='http://a/v1'\ncredential='sk-very-secret'"
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), environ={})
    assert "very-secret" not in str(caught.value)


def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    ("listen", "here"),
    [
        ("127.0.0.1:0", True),
        ("127.9.9.9:0", True),
        ("localhost:0", True),
        ("[::1]:0", True),
        ("0.0.0.0:0", False),
        ("[::]:0", False),
        ("192.0.2.1:0", False),
        ("127.0.0.1.example.org:0", False),
    ],
)
def test_only_loopback_addresses_stay_on_this_machine(tmp_path: Path, listen: str, here: bool) -> None:
    assert load(write(tmp_path, ""), listen=listen, environ={}).server.on_loopback is here
