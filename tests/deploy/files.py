"""The deploy files, read: compose, Dockerfile, broker properties."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
WORKERS = [name for name in SERVICES if name.startswith("worker-")]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (INSTRUCTION, arguments), continued lines joined, comments left out."""
    lines = (line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#")
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, arguments) for name, arguments in parts]


def properties(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def mounts(name: str) -> dict[str, str]:
    """Mounted path in the container -> file of the repository or name of a volume."""
    pairs = (volume.split(":") for volume in SERVICES[name].get("volumes", []))
    return {target: source for source, target, *_ in pairs}


def listener(key: str, name: str) -> tuple[str, str]:
    """Host and port of a listener of the broker; `key` is listeners or advertised.listeners."""
    every = properties(DEPLOY / "kafka/server.properties")[key].split(",")
    (found,) = [item for item in every if item.startswith(f"{name}://")]
    host, port = found.removeprefix(f"{name}://").rsplit(":", 1)
    return host, port


def accepted_by(tool: str, *arguments: str, given: str | None = None) -> None:
    """Assert that a tool of this environment or of the system accepts a file, or what it reads."""
    found = shutil.which(
        tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    assert found, f"{tool} is missing: run  make servers"
    command = [found, *arguments]
    answer = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stdout + answer.stderr
