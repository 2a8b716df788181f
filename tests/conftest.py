"""What every test may ask for: a real Kafka, a real Redis, the shared data sets.

The servers start at the first test that needs one, once per process of the run. A missing one is an
error that names the way out, never a skip. `KAFKA_BOOTSTRAP_SERVERS` and `REDIS_URL` name others.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

from tests.faults.report import tell
from tests.servers import MOST_PROCESSES, ROOT, Broker, KafkaServer, RedisServer

# The machine's speed proves nothing, and the same code gives the same result: examples are drawn
# anew with `--hypothesis-profile=fresh` only, where one that fails is printed to be pasted back.
hypothesis.settings.register_profile("slotcast", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fresh", deadline=None, print_blob=True)
hypothesis.settings.load_profile("slotcast")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait for a broker."""
    return min(len(os.sched_getaffinity(0)) + 1, MOST_PROCESSES)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of faults; the process that prints a parallel run reads no other conftest."""
    tell(terminalreporter)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A broker: `kafka.bootstrap`, and `kafka.fresh_topic(partitions)` for a topic of one's own."""
    running = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if running:
        yield Broker(running)
        return
    with KafkaServer() as server:
        yield Broker(server.bootstrap)


@pytest.fixture(scope="session")
def _redis_url() -> Iterator[str]:
    running = os.environ.get("REDIS_URL")
    if running:
        yield running
        return
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix of this test alone."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def redis_url(_redis_url: str, redis_prefix: str) -> Iterator[str]:
    """A Redis for this test: empty if it is ours, else without keys under `redis_prefix`."""
    ours = "REDIS_URL" not in os.environ
    with redis.Redis.from_url(_redis_url) as client:
        if ours:
            client.flushall()
        yield _redis_url
        for key in [] if ours else client.scan_iter(match=f"{redis_prefix}*"):
            client.delete(key)


@pytest.fixture(autouse=True, scope="module")
def no_client_stays() -> Iterator[None]:
    """A module closes its Kafka clients: one whose broker is gone never stops asking for it.

    Such a thread uses the `random` module again and again, which property tests take for a strategy
    that is not one.
    """
    before = set(threading.enumerate())
    yield
    left = [one for one in set(threading.enumerate()) - before if one.name.startswith("kafka-")]
    for one in left:
        one.join(5.0)
    assert not [one for one in left if one.is_alive()]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: beside the repository, or where `SLOTCAST_DATA` says."""
    folder = Path(os.environ.get("SLOTCAST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SLOTCAST_DATA to a folder that has it")
    return folder
