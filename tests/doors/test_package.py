"""The wheel: built, installed alone into a clean environment, complete, within its budget, and runnable."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "watchkeeper"
# Megabytes (10^6 bytes) of files as unpacked, without the byte code that Python writes later. DuckDB's own library
# is most of the whole and is counted apart; what was measured is in docs/decisions/0002-core-dependencies.md.
DUCKDB_LIMIT_MB = 70
REST_LIMIT_MB = 68

pytestmark = [pytest.mark.slow, pytest.mark.door]


@dataclass(frozen=True)
class Installed:
    """The wheel, and a clean environment into which nothing but it and its dependencies went."""

    wheel: Path
    home: Path

    @property
    def packages(self) -> Path:
        """The environment's site-packages."""
        return next((self.home / "lib").glob("python3.*")) / "site-packages"

    def run(self, program: str, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, away from the sources and from the caller's Python."""
        return subprocess.run(
            [self.home / "bin" / program, *arguments],
            cwd=self.home,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it with its dependencies."""
    folder = tmp_path_factory.mktemp("package")
    dist = str(folder / "dist")
    _do(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, str(REPOSITORY))
    wheel = next((folder / "dist").glob("watchkeeper-*.whl"))
    home = folder / "clean"
    venv.create(home, with_pip=False)
    _do(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home / "bin" / "python"),
        "install",
        "--quiet",
        str(wheel),
    )
    return Installed(wheel, home)


def _do(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_the_wheel_carries_every_file_of_the_package_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert names == expected


def test_the_command_tells_its_version(installed: Installed) -> None:
    done = installed.run("watchkeeper", "--version")
    assert done.returncode == 0, done.stderr
    assert "0.1.0" in done.stdout


def test_the_command_tells_what_it_can_do(installed: Installed) -> None:
    done = installed.run("watchkeeper", "--help")
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    assert "demo" in done.stdout


def test_the_demo_plays_with_the_core_alone(installed: Installed) -> None:
    done = installed.run("watchkeeper", "demo", "--once", timeout_s=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_the_package_is_imported_without_a_warning(installed: Installed) -> None:
    done = installed.run("python", "-W", "error", "-c", "import watchkeeper; print(watchkeeper.__version__)")
    assert (done.stdout, done.stderr) == ("0.1.0\n", "")


def test_every_module_is_importable_with_the_core_alone(installed: Installed) -> None:
    script = (
        "import importlib, pkgutil, watchkeeper\n"
        "names = [each.name for each in pkgutil.walk_packages(watchkeeper.__path__, 'watchkeeper.')]\n"
        "for name in names:\n"
        "    if not name.endswith(('__main__', '.pytest_plugin')):\n"  # the plugin is loaded by pytest alone
        "        importlib.import_module(name)\n"
    )
    done = installed.run("python", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_core_install_stays_within_its_budget(installed: Installed) -> None:
    duckdb, rest = 0, 0
    for path in installed.packages.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            if "duckdb" in path.relative_to(installed.packages).parts[0]:
                duckdb += path.stat().st_size
            else:
                rest += path.stat().st_size
    print(f"core install: DuckDB {duckdb / 1e6:.1f} MB, everything else {rest / 1e6:.1f} MB")
    assert 0 < duckdb / 1e6 <= DUCKDB_LIMIT_MB
    assert 0 < rest / 1e6 <= REST_LIMIT_MB


def test_no_dependency_binds_its_users_to_the_gpl(installed: Installed) -> None:
    script = (
        "import importlib.metadata as m, json\n"
        "rows = [[d.name, d.metadata.get('License-Expression') or '', d.metadata.get('License') or '',"
        " *(c for c in d.metadata.get_all('Classifier') or () if c.startswith('License'))]"
        " for d in m.distributions()]\n"
        "print(json.dumps(rows))\n"
    )
    rows = json.loads(installed.run("python", "-c", script).stdout)
    assert len(rows) > 10
    texts = {row[0]: [text[:200] for text in row[1:]] for row in rows}
    bound = [name for name, each in texts.items() if any("GPL" in text and "LGPL" not in text for text in each)]
    assert bound == []


def test_a_package_of_somebody_else_adds_a_policy(installed: Installed) -> None:
    """The example is installed as it is, and its policy is there beside ours, with nothing told to either."""
    _do(
        sys.executable, "-m", "pip", "--python", str(installed.home / "bin" / "python"), "install", "--quiet",
        "--no-deps", str(PACKAGE.parents[1] / "examples" / "plugin"),
    )  # fmt: skip
    done = installed.run("watchkeeper", "policy", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert {row["id"] for row in json.loads(done.stdout)} >= {"banned_tool", "budget", "loop"}
