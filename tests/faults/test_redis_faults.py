"""Redis is a cache: killed, wiped, frozen, full or read-only, it shows in nothing published."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from tests.faults.group import Group
from tests.faults.report import Fault
from tests.servers import RedisServer

pytestmark = pytest.mark.one_client
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


LATER = ("frozen", "read-only", "full")


@pytest.mark.fault("Redis {how}")
@pytest.mark.parametrize(
    "how",
    ["killed", "wiped", *(pytest.param(how, marks=pytest.mark.long) for how in LATER)],
)
def test_a_redis_that_fails_does_not_show(
    own_store: RedisServer, group: Callable[..., Group], fault: Fault, how: str
) -> None:
    break_it, mend_it = FAULTS[how]
    workers = group(partitions=1, redis=own_store.url)
    worker = workers.join_and_flow()

    begun_s = time.monotonic()
    break_it(own_store)
    fault.injected()
    time.sleep(FAULT_S)
    mend_it(own_store)
    fault.takeover_s = workers.outage_s(begun_s)
    worker.kill()
    worker.start()
    workers.flow_for(0.5)

    workers.check()
