"""Redis is a cache: killed, wiped, frozen, full or read-only, it shows in nothing published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.e2e.running import PRICE, Serving, by_identity, market_ticks, reference, schema_of
from tests.servers import Broker, RedisServer

FAULT_S = 1.5
Change = Callable[[RedisServer], object]


def configured(name: str, value: str) -> Change:
    def change(server: RedisServer) -> None:
        with redis.Redis.from_url(server.url) as client:
            client.config_set(name, value)

    return change


def wipe(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


FAULTS: dict[str, tuple[Change, Change]] = {
    "killed": (RedisServer.kill, RedisServer.restart),
    "wiped": (wipe, lambda _server: None),
    "frozen": (RedisServer.suspend, RedisServer.resume),
    "read-only": (
        configured("min-replicas-to-write", "1"),
        configured("min-replicas-to-write", "0"),
    ),
    "full": (configured("maxmemory", "1mb"), configured("maxmemory", "0")),
}


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A Redis of this test's own, to be broken."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def worker(
    kafka: Broker, store: RedisServer, redis_prefix: str, tmp_path: Path
) -> Iterator[Serving]:
    worker = Serving(tmp_path, kafka.bootstrap, store.url, redis_prefix, PRICE, 1)
    worker.start()
    yield worker
    worker.kill()
    worker.topics.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_redis_that_fails_does_not_show(worker: Serving, store: RedisServer, fault: str) -> None:
    ticks = market_ticks(4_000, 1)[0]
    expected, _ = reference(schema_of(PRICE), [ticks])
    break_it, mend_it = FAULTS[fault]

    worker.topics.feed(0, ticks[:1_500])
    worker.wait_committed([1_500])
    break_it(store)
    worker.topics.feed(0, ticks[1_500:2_500])
    time.sleep(FAULT_S)
    mend_it(store)
    worker.topics.feed(0, ticks[2_500:3_500])
    worker.wait_committed([3_500])
    worker.kill()
    worker.start()
    worker.topics.feed(0, ticks[3_500:])
    worker.wait_committed([len(ticks)])

    records = worker.forecasts(0)
    found = by_identity(records)
    assert len(records) == len(found) == len(ticks)
    assert [found[f.offset] for f in expected[0]] == [(f.key, f.value) for f in expected[0]]
