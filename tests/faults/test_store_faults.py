"""Redis is a cache: slow, silent, back in time, damaged or foreign, it never shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import redis

from slotcast.snapshots.snapshot import FORMAT
from tests.faults.group import Group, recoveries
from tests.faults.redis_proxy import RedisProxy
from tests.faults.report import Fault
from tests.faults.stored import Stored
from tests.servers import RedisServer

pytestmark = pytest.mark.one_client
SLOW_S = 0.5
PATIENCE = {"SLOTCAST_STORE__PATIENCE_S": "1", "SLOTCAST_STORE__TIMEOUT_S": "1"}


@pytest.fixture
def proxied(own_store: RedisServer) -> Iterator[RedisProxy]:
    """A second address of this test's Redis, to be slow or silent."""
    proxy = RedisProxy(own_store)
    yield proxy
    proxy.close()


DAMAGE: dict[str, Callable[[Stored], None]] = {
    "header damaged": Stored.spoil_header,
    "rows damaged": Stored.spoil_rows,
    "rows gone": Stored.lose_rows,
    "rows older than the index": Stored.age_rows,
    "old format": lambda stored: stored.retell(format=FORMAT - 1),
    "another topic": lambda stored: stored.retell(topic="quotes"),
    "another topic id": lambda stored: stored.retell(topic_id="AAAAAAAAAAAAAAAAAAAAAA"),
    "another group": lambda stored: stored.retell(group="others"),
    "another partition": lambda stored: stored.retell(partition=7),
    "another bundle": lambda stored: stored.retell(bundle="default-000000000000"),
    "another memory": lambda stored: stored.retell(fingerprint=1),
}
SHORT = ("rows damaged",)


@pytest.mark.fault("snapshot: {how}")
@pytest.mark.parametrize(
    "how", [how if how in SHORT else pytest.param(how, marks=pytest.mark.long) for how in DAMAGE]
)
def test_a_snapshot_that_is_not_whole_or_not_ours_is_refused(
    group: Callable[..., Group], own_store: RedisServer, fault: Fault, how: str
) -> None:
    """While nobody runs, and again under a running worker."""
    workers = group(partitions=1, redis=own_store.url)
    worker = workers.join_and_flow()
    stored = Stored(own_store, worker)
    workers.until(stored.is_sound, "there is no snapshot")
    worker.kill()

    DAMAGE[how](stored)
    fault.injected()
    worker.start()
    workers.flow_for(1)
    assert "replaying all of it" in worker.log_tail(200) or recoveries(worker, "SnapshotDamaged")
    workers.until(stored.is_sound, "there is no new snapshot")
    DAMAGE[how](stored)
    fault.injected()
    workers.flow_for(1)
    stored.close()

    workers.check()


@pytest.mark.long
@pytest.mark.fault("snapshot with another memory, and killed when it is found out")
def test_a_kill_between_distrust_and_the_replay_of_everything_does_not_show(
    group: Callable[..., Group], own_store: RedisServer, fault: Fault
) -> None:
    workers = group(partitions=1, redis=own_store.url)
    worker = workers.join_and_flow()
    stored = Stored(own_store, worker)
    workers.until(stored.is_sound, "there is no snapshot")
    worker.kill()

    DAMAGE["another memory"](stored)
    stored.close()
    worker.start(SLOTCAST_FAILPOINT="recovery-distrusted:1")
    workers.until_killed(worker)
    worker.start()
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.long
@pytest.mark.fault(f"Redis slow: {SLOW_S} s per answer")
def test_a_slow_redis_does_not_show(
    group: Callable[..., Group], proxied: RedisProxy, fault: Fault
) -> None:
    workers = group(partitions=2, redis=proxied.url)
    worker = workers.join_and_flow(SLOTCAST_WORKER__SLOTS="1000")

    begun_s = time.monotonic()
    proxied.delay_s = SLOW_S
    fault.injected()
    workers.flow_for(4)
    fault.still_s = workers.still_s({0, 1}, begun_s, time.monotonic())
    failed = recoveries(worker, "CommitFailed")
    worker.kill()
    worker.start()
    workers.flow_for(1)
    proxied.delay_s = 0.0
    workers.flow_for(1)

    assert failed == 0
    workers.check()


@pytest.mark.long
@pytest.mark.fault("Redis: the answer lost after the script has run")
def test_a_script_that_runs_twice_has_the_effect_of_one(
    group: Callable[..., Group], own_store: RedisServer, proxied: RedisProxy, fault: Fault
) -> None:
    workers = group(partitions=1, redis=proxied.url)
    worker = workers.join_and_flow()

    for _ in range(6):
        proxied.lose = 1
        workers.until(lambda: not proxied.lose, "nothing was written")
        fault.injected()
        workers.flow_for(0.2)
    stored = Stored(own_store, worker)
    before = stored.header().watermark
    workers.until(lambda: stored.header().watermark > before, "snapshots do not go on")
    stored.close()
    worker.kill()
    worker.start()
    workers.flow_for(0.5)

    assert "replaying all of it" not in worker.log_tail(500)
    workers.check()


@pytest.mark.fault("Redis back in time by a second")
def test_a_redis_that_lost_its_last_second_does_not_show(
    group: Callable[..., Group], own_store: RedisServer, fault: Fault
) -> None:
    """Under a running worker, and under the next one."""
    workers = group(partitions=1, redis=own_store.url)
    worker = workers.join_and_flow()

    for dies in (False, True, False):
        with redis.Redis.from_url(own_store.url) as client:
            client.save()
        workers.flow_for(1)
        if dies:
            worker.kill()
        own_store.kill()
        own_store.start()
        fault.injected()
        if dies:
            worker.start()
        workers.flow_for(1)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("Redis away for longer than our patience, then back empty")
def test_without_redis_partitions_are_recovered_from_the_log(
    group: Callable[..., Group], own_store: RedisServer, fault: Fault
) -> None:
    workers = group(partitions=2, redis=own_store.url)
    worker = workers.join_and_flow(**PATIENCE)

    begun_s = time.monotonic()
    own_store.kill()
    fault.injected()
    workers.flow_for(5)
    fault.takeover_s = workers.outage_s(begun_s)
    worker.kill()
    worker.start(**PATIENCE)
    workers.flow_for(1)
    assert "goes on without its store" in worker.log_tail(500)
    own_store.start()
    stored = Stored(own_store, worker)
    workers.until(
        lambda: stored.is_sound() and stored.header().watermark > 0,
        "snapshots do not catch up",
    )
    stored.close()
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("Redis frozen for longer than the poll interval")
def test_a_frozen_redis_does_not_cost_the_membership(
    group: Callable[..., Group], own_store: RedisServer, fault: Fault
) -> None:
    """Eight partitions would wait for it one after the other."""
    workers = group(partitions=8, redis=own_store.url, max_poll_interval_ms=5_000)
    worker = workers.join_and_flow(SLOTCAST_WORKER__SLOTS="1000")

    begun_s = time.monotonic()
    own_store.suspend()
    fault.injected()
    workers.flow_for(12)
    fault.still_s = workers.still_s(range(8), begun_s, time.monotonic())
    own_store.resume()
    workers.flow_for(0.5)

    assert recoveries(worker, "gained") == 8
    workers.check()
