"""Probes are built from the settings, and a wrong one is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from watchkeeper.compose.probing import prober_of
from watchkeeper.config import ConfigError, load
from watchkeeper.engines.monitoring.probes import Prober
from watchkeeper.engines.recorder.home import Home


def build(tmp_path: Path, toml: str) -> Prober:
    file = tmp_path / "watchkeeper.toml"
    file.write_text(toml)
    return prober_of(load(file), Home(tmp_path / "data"), lambda _: None, lambda: 0)


def test_a_prompt_is_one_message_and_a_file_a_list(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Colour?"}]
    (tmp_path / "colour.json").write_text(json.dumps(messages))
    toml = """
[[probes]]
name = "prompt"
model = "m"
prompt = "Colour?"
parameters = { temperature = 0 }

[[probes]]
name = "file"
model = "m"
messages = "colour.json"
"""
    one, other = build(tmp_path, toml).probes
    assert json.loads(one.messages) == [{"role": "user", "content": "Colour?"}]
    assert (one.samples, one.every_s, one.parameters) == (3, 3600, {"temperature": 0})
    assert json.loads(other.messages) == messages


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ('name = "a"\nmodel = "m"', "either `prompt`"),
        ('name = "a"\nmodel = "m"\nprompt = "x"\nmessages = "y.json"', "not both"),
        ('name = "a"\nmodel = "m"\nmessages = "nowhere.json"', "cannot be read"),
        ('name = "a"\nmodel = "m"\nprompt = "x"\n[[probes]]\nname = "a"\nmodel = "m"\nprompt = "y"', "twice"),
        ('name = "a"\nmodel = "m"\nprompt = "x"\nsamples = 0', "samples"),
    ],
)
def test_a_wrong_probe_is_told(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(tmp_path, f"[[probes]]\n{rows}\n")


def test_without_a_server_there_is_nobody_to_ask(tmp_path: Path) -> None:
    built = build(tmp_path, '[[probes]]\nname = "a"\nmodel = "m"\nprompt = "x"\n')
    assert built._ask() is None
