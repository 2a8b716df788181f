"""The wheel: two packages with all their files, and a program that starts without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers import ROOT
from tests.tree import files

UV = Path(sys.executable).with_name("uv")


def _run(*command: object, cwd: Path = ROOT) -> str:
    """The output of a command that must succeed, away from this program's own packages."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{words} failed:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the locked build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs' folder of an environment with the locked runtime packages and the wheel."""
    folder = tmp_path_factory.mktemp("empty") / "environment"
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    install = (UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python")
    _run(*install, "--require-hashes", "-r", "requirements/serve.txt")
    _run(*install, "--no-deps", wheel)
    return folder / "bin"


def test_wheel_holds_the_two_packages_and_all_their_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(path.parts[0]).as_posix()
        for path in files("models/slotcast_models", "service/slotcast")
    }

    assert {name.partition("/")[0] for name in held} == {"slotcast", "slotcast_models"}
    assert held == wanted


def test_wheel_asks_for_what_the_lock_installs(installed: Path) -> None:
    _run(UV, "pip", "check", "--python", installed / "python")


def test_program_starts_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
    assert "demo" in _run(installed / "slotcast", "--help", cwd=tmp_path)


def test_packages_import_without_tensorflow(installed: Path, tmp_path: Path) -> None:
    script = """
import importlib.util, slotcast, slotcast_models
assert importlib.util.find_spec("tensorflow") is None
assert slotcast.__version__ == slotcast_models.__version__
"""
    _run(installed / "python", "-c", script, cwd=tmp_path)
