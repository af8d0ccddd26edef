"""Importing Watchkeeper does nothing to the world and loads nothing heavy."""

from pathlib import Path

import pytest

import watchkeeper
from tests.house.ladder import HEAVY
from tests.house.purity import watch_import
from tests.house.tree import REPOSITORY, plant, read

SOURCE = REPOSITORY / "src"
LIGHT = ("watchkeeper", "watchkeeper.records", "watchkeeper.kinds", "watchkeeper.queries", "watchkeeper.cli")


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_import_does_nothing_and_loads_nothing_heavy(name: str) -> None:
    traces = watch_import(SOURCE, name)
    assert traces.deeds == []
    assert traces.heavy(HEAVY) == []


def test_every_module_of_the_light_rooms_loads_nothing_heavy() -> None:
    names = [each.name for each in read(REPOSITORY) if each.room in ("records", "kinds", "queries", "analysis")]
    traces = watch_import(SOURCE, *names)
    assert traces.deeds == []
    assert traces.heavy(HEAVY) == []


def test_no_module_does_anything_to_the_world_when_it_is_imported() -> None:
    names = [each.name for each in read(REPOSITORY) if not each.name.endswith("__main__")]
    assert watch_import(SOURCE, *names).deeds == []


@pytest.mark.parametrize(
    "deed",
    [
        "open('left.txt', 'w').close()",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
        "import pathlib; pathlib.Path('left').mkdir()",
    ],
)
def test_a_planted_deed_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    monkeypatch.chdir(tmp_path)
    root = plant(tmp_path, {"__init__.py": deed + "\n"})
    assert watch_import(root / "src", "watchkeeper").deeds


def test_a_planted_heavy_import_is_caught(tmp_path: Path) -> None:
    root = plant(tmp_path, {"__init__.py": "import numpy\n"})
    assert watch_import(root / "src", "watchkeeper").heavy(HEAVY) == ["numpy"]


def test_the_public_names_are_sorted() -> None:
    assert list(watchkeeper.__all__) == sorted(watchkeeper.__all__)


def test_the_public_names_are_what_the_package_shows() -> None:
    assert sorted(dir(watchkeeper)) == sorted(watchkeeper.__all__)


@pytest.mark.parametrize("name", watchkeeper.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(watchkeeper, name) is not None


def test_a_name_that_is_not_public_is_refused_with_the_names_that_are() -> None:
    with pytest.raises(AttributeError, match="public names are Denied, EffectUnknown, agent"):
        watchkeeper.no_such_name  # noqa: B018
