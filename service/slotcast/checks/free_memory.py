"""How much memory a process that starts here may take: of the machine, and of its container.

What the kernel would give (`MemAvailable`) counts, not what nobody uses (`MemFree`): a cache of
files makes room. A container has a limit of its own (cgroup v2 or v1), and so may what it is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path("/")


class Free(NamedTuple):
    """Bytes, and where: "on this machine" or "in this container"."""

    left: int
    where: str


class Files(NamedTuple):
    """Where a version of cgroups says what is allowed, used, and a cache that makes room."""

    folder: str
    limit: str
    used: str
    cache: str


V2 = Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
V1 = Files(
    *("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    "total_inactive_file",
)


def free_memory(root: Path = HERE) -> Free | None:
    """What is left where least is; None where the system does not tell."""
    available = _field(root / "proc/meminfo", "MemAvailable:")
    left = [] if available is None else [Free(1024 * available, "on this machine")]
    left += [Free(one, "in this container") for one in _left_in_groups(root)]
    return min(left, default=None)


def _left_in_groups(root: Path) -> Iterator[int]:
    """What is left of each limit that holds here, this cgroup's and those above it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = V1 if controllers else V2
        top = root / files.folder
        group = top / path.lstrip("/")
        # Where a container sees only its own, the path may not be there: its files are at the top.
        for folder in (group, *group.parents):
            yield from _left_of(folder, files)
            if folder == top:
                break


def _left_of(folder: Path, files: Files) -> Iterator[int]:
    limit, used = (_text(folder / name).strip() for name in (files.limit, files.used))
    if limit.isdigit() and used.isdigit():  # else there is none, or it says "max"
        cache = _field(folder / "memory.stat", files.cache) or 0
        yield max(0, int(limit) - int(used) + cache)


def _field(path: Path, name: str) -> int | None:
    """The number behind this name, in a file of lines of names and numbers."""
    for line in _text(path).splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
