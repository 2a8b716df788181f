"""The smallest runs of benchmarks on real servers: each ends, prints its table, writes its JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import ROOT, Broker

SMALLEST = {
    "restart": "--instruments 10 --behind 20 --rounds 1",
    "growth": "--instruments 10 --partitions 2 --ticks 500 --soak-ticks 0",
}


def smallest_run(name: str, folder: Path, kafka: Broker, redis_url: str) -> tuple[str, Any]:
    """What the benchmark printed, and the results it wrote."""
    servers = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "REDIS_URL": redis_url}
    found_at = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *SMALLEST[name].split()],
        env={**os.environ, **servers, "PYTHONPATH": found_at},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    written = json.loads((folder / "build" / "bench" / f"{name}.json").read_text())
    return ran.stdout, written["results"]


def test_restarts_are_timed_after_every_ending(
    tmp_path: Path, kafka: Broker, redis_url: str
) -> None:
    printed, found = smallest_run("restart", tmp_path, kafka, redis_url)

    assert list(found["slotcast_s"]["10"]) == ["clean stop", "kill -9, 20 ticks behind"]
    assert list(found["echo_s"]) == ["clean stop", "kill -9, 0 ticks behind"]
    assert "echo" in printed


def test_growth_counts_memory_and_ticks(tmp_path: Path, kafka: Broker, redis_url: str) -> None:
    printed, found = smallest_run("growth", tmp_path, kafka, redis_url)

    assert found["resident"]["10"]["mb"] > 50
    assert list(found["partitions"]) == ["2"]
    assert "by instruments" in printed
