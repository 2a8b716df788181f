"""Compiled loops are kept as pickles, so only where nobody else can put any."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slotcast import bootstrap
from slotcast.checks import here
from slotcast.cli import app
from slotcast.settings import Settings
from slotcast_models import cache_folder, compiled
from slotcast_models.cache_folder import NotPrivateError, private_folder
from tests.servers import ROOT
from tests.unit.test_no_code_from_data import Payload

LOOK = """
from slotcast_models.compiled import NOT_KEPT, copy_row
import numpy
copy_row(numpy.zeros(3), numpy.ones(3))
print(NOT_KEPT)
"""
"""What a program of its own says of the folder, once it has compiled or loaded a loop."""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_that_is_made_is_the_users_only_and_so_are_those_on_the_way(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "cache" / "slotcast" / "numba")
    finally:
        os.umask(before)

    assert [mode(one) for one in (folder, folder.parent, folder.parents[1])] == [0o700] * 3


@pytest.mark.parametrize("others", [0o777, 0o770, 0o1777])
def test_a_folder_to_which_others_may_write_is_not_used(tmp_path: Path, others: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(others)

    with pytest.raises(NotPrivateError, match=rf"others may write to .*cache .mode 0*{others:o}"):
        private_folder(tmp_path / "cache")


def test_a_folder_that_others_could_replace_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)

    with pytest.raises(NotPrivateError, match=r"others may write to .*shared"):
        private_folder(tmp_path / "shared" / "numba")


@pytest.mark.parametrize(("group", "is_used"), [(0, True), (1, False)])
def test_a_folder_in_one_of_the_users_own_group_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, is_used: bool
) -> None:
    """As ~/.cache is with a umask of 002; `group` is how far its number is from the user's."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o775)
    real = Path.stat

    def stat(path: Path, **how: bool) -> os.stat_result:
        found = real(path, **how)
        return os.stat_result([*found[:5], found.st_uid + group, *found[6:]])

    monkeypatch.setattr(Path, "stat", stat)

    with nullcontext() if is_used else pytest.raises(NotPrivateError, match="others may write"):
        private_folder(tmp_path / "cache" / "numba")


def test_a_folder_in_a_sticky_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)

    assert private_folder(tmp_path / "shared" / "numba").is_dir()


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    monkeypatch.setattr(cache_folder.os, "geteuid", lambda: user + 1)

    with pytest.raises(NotPrivateError, match=f"belongs to user {user}, this is user {user + 1}"):
        private_folder(tmp_path)


def test_a_link_leads_to_the_folder_that_is_looked_at_and_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")

    found = private_folder(tmp_path / "link" / "numba")

    assert found == tmp_path.resolve() / "real" / "numba"
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(NotPrivateError, match="real"):
        private_folder(tmp_path / "link" / "numba")


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotPrivateError, match="exists"):
        private_folder(tmp_path / "file")


def said_with(cache: Path) -> str:
    """What a program says whose loops would be kept here."""
    path = os.pathsep.join([str(ROOT / "service"), str(ROOT / "models")])
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env=environment | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_pickle_among_the_loops_is_not_run_where_others_may_write(tmp_path: Path) -> None:
    cache, ran = tmp_path / "cache", tmp_path / "ran"
    assert not said_with(cache)
    indices = list(cache.rglob("*.nbi"))
    for index in indices:
        index.write_bytes(pickle.dumps(Payload(ran)))
    (folder,) = (cache / "slotcast").iterdir()
    folder.chmod(0o777)

    said = said_with(cache)

    assert indices
    assert f"others may write to {folder.resolve()}" in said
    assert not ran.exists()
    folder.chmod(0o700)
    said_with(cache)
    assert ran.exists()  # so it would have run


def test_loops_that_are_not_kept_are_told_at_start_by_warm_and_by_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (compiled, bootstrap, here):
        monkeypatch.setattr(module, "NOT_KEPT", "others may write to /cache")

    bootstrap.prepare(Settings())
    warm = CliRunner().invoke(app, ["warm"])
    doctor = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path)])

    assert "every start compiles them: others may write to /cache" in caplog.text
    assert warm.exit_code == 1
    assert "nothing would be kept: others may write to /cache; set XDG_CACHE_HOME" in warm.output
    assert "WARN compiled loops: others may write to /cache" in doctor.output
