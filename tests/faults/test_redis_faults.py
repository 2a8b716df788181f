"""Redis is a cache: killed, wiped, frozen, full or read-only, it shows in nothing published."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from tests.faults.group import Group, recoveries
from tests.faults.report import Fault
from tests.faults.stored import Stored
from tests.servers import RedisServer

pytestmark = pytest.mark.one_client
FAULT_S = 1.5
CAUSES = ("StoreFenced", "StoreForgot", "StoreUnavailable", "StoreResting", "SnapshotDamaged")
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


@pytest.mark.fault("Redis {how}, all instruments resident")
@pytest.mark.parametrize(
    "how", ["wiped", *(pytest.param(how, marks=pytest.mark.long) for how in ("killed", *LATER))]
)
def test_residents_go_on_meanwhile_and_snapshots_catch_up(
    own_store: RedisServer, group: Callable[..., Group], fault: Fault, how: str
) -> None:
    break_it, mend_it = FAULTS[how]
    workers = group(partitions=1, redis=own_store.url)
    worker = workers.join_and_flow(SLOTCAST_WORKER__SLOTS="1000")
    stored = Stored(own_store, worker)
    workers.until(lambda: stored.covers(1), "there is no snapshot")

    begun_s = time.monotonic()
    break_it(own_store)
    fault.injected()
    workers.flow_for(FAULT_S)
    fault.still_s = workers.still_s({0}, begun_s, time.monotonic())
    mend_it(own_store)
    assert workers.feeder is not None
    fed = workers.feeder.fed[0]
    workers.until(lambda: stored.covers(fed), "snapshots do not catch up")

    assert [cause for cause in CAUSES if recoveries(worker, cause)] == []
    worker.kill()
    worker.start(SLOTCAST_WORKER__SLOTS="1000")
    workers.flow_for(0.5)
    assert "replaying all of it" not in worker.log_tail(500)
    stored.close()
    workers.check()
