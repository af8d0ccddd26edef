"""Routes in the settings: each error names file, key and value; what is right is read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.config import Config, ConfigError, load

HEAD = '[[upstreams]]\nname = "a"\nbase_url = "http://127.0.0.1:1/v1"\ncredential = "none"\n'


def read(folder: Path, text: str) -> Config:
    file = folder / "watchkeeper.toml"
    file.write_text(HEAD + text)
    return load(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[[routes]]\nname = "r"\ntargets = [{ upstream = "b" }]\n',
            r"routes\[0\].targets\[0\].upstream` is 'b'.*there are: a",
        ),
        ('[[routes]]\nname = "r"\ntargets = []\n', "targets"),
        ('[[routes]]\nname = "r"\ntargets = [{ upstream = "a" }]\n' * 2, "'r' twice"),
        (
            '[[routes]]\nname = "r"\nstrategy = "weighted"\ntargets = [{ upstream = "a", weight = 0 }]\n',
            "all have the weight 0",
        ),
        ('[[routes]]\nname = "r"\ntargets = [{ upstream = "a" }]\nretrys = 1\n', "did you mean `retries`"),
        ('[[routes]]\nname = "r"\ntargets = [{ upstream = "a" }]\nretries = 99\n', "retries"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path, text)


def test_limits_and_breakers_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, "limits = { max_concurrency = 3 }\nbreaker = { failures = 2 }\n")
    (upstream,) = config.upstreams
    assert (upstream.limits.max_concurrency, upstream.breaker.failures) == (3, 2)
