"""What `slotcast doctor` takes for free memory: the kernel's word, and the container's limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast.checks import here
from slotcast.checks.free_memory import Free, free_memory
from slotcast.settings import WorkerSettings
from slotcast_models.bundle import Bundle
from slotcast_models.schema import TickSchema

MACHINE = "MemTotal:  16000 kB\nMemFree:  100 kB\nMemAvailable:  8000 kB\n"
NO_LIMIT_V1 = "9223372036854771712"


def system(root: Path, groups: str = "", **files: str) -> Path:
    """A file system with these below /proc and /sys/fs/cgroup (`__` for a slash)."""
    written = {"proc/meminfo": MACHINE, "proc/self/cgroup": groups}
    written |= {f"sys/fs/cgroup/{name.replace('__', '/')}": text for name, text in files.items()}
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group(path: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    """A cgroup of version 2."""
    files = {"memory.max": limit, "memory.current": str(used)}
    files["memory.stat"] = f"anon 5\ninactive_file {cache}\nactive_file 9\n"
    return {f"{path}{name}": text + "\n" for name, text in files.items()}


def group_v1(path: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": str(used)}
    files["memory.stat"] = f"inactive_file 1\ntotal_inactive_file {cache}\n"
    return {f"memory__{path}{name}": text + "\n" for name, text in files.items()}


def test_a_machine_gives_what_is_available_not_what_nobody_uses(tmp_path: Path) -> None:
    assert free_memory(system(tmp_path)) == Free(8000 * 1024, "on this machine")


def test_a_container_gives_what_its_limit_leaves_and_its_cache_makes_room(tmp_path: Path) -> None:
    files = group("", "1000000", used=700_000, cache=200_000)

    found = free_memory(system(tmp_path, "0::/\n", **files))

    assert found == Free(500_000, "in this container")


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    found = free_memory(system(tmp_path, "0::/\n", **group("", "max", used=700_000)))

    assert found == Free(8000 * 1024, "on this machine")


def test_a_limit_further_up_holds_too(tmp_path: Path) -> None:
    files = group("kube__pod__worker__", "900000", 100) | group("kube__pod__", "500000", 200)

    found = free_memory(system(tmp_path, "0::/kube/pod/worker\n", **files))

    assert found == Free(499_800, "in this container")


def test_a_container_of_version_1_is_read_where_it_sees_itself(tmp_path: Path) -> None:
    groups = "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n"
    files = group_v1("", "800000", used=500_000, cache=100_000)

    found = free_memory(system(tmp_path, groups, **files))

    assert found == Free(400_000, "in this container")


def test_version_1_says_no_limit_with_a_large_number(tmp_path: Path) -> None:
    found = free_memory(system(tmp_path, "4:memory:/\n", **group_v1("", NO_LIMIT_V1, used=5)))

    assert found == Free(8000 * 1024, "on this machine")


def test_who_has_taken_more_than_is_allowed_has_nothing_left(tmp_path: Path) -> None:
    found = free_memory(system(tmp_path, "0::/\n", **group("", "100", used=700)))

    assert found == Free(0, "in this container")


def test_a_system_that_tells_nothing_is_not_asked_further(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None


@pytest.mark.parametrize(
    ("free", "verdict", "told"),
    [
        (Free(2**40, "on this machine"), "OK", ", 1,048,576 MiB are free on this machine"),
        (Free(2**20, "in this container"), "FAIL", ", 1 MiB are free in this container"),
        (None, "OK", " rows"),
    ],
)
def test_doctor_compares_it_with_what_the_rows_need(
    monkeypatch: pytest.MonkeyPatch, free: Free | None, verdict: str, told: str
) -> None:
    monkeypatch.setattr(here, "free_memory", lambda: free)
    bundle = Bundle.load().bind(TickSchema.default())

    found = {one.check: one for one in here.bundle_findings(bundle, WorkerSettings())}

    assert found["memory"].verdict == verdict
    assert found["memory"].found.endswith(told)
