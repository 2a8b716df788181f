"""The rules of the registry port, run against every adapter, and what Redis adds to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.crc import key_slot

from slotcast.settings import StoreSettings
from slotcast.workers.memory import MemoryRegistry
from slotcast.workers.port import Entry, Registry, RegistryUnavailable
from slotcast.workers.presence import Presence
from slotcast.workers.redis import RedisRegistry
from tests.servers import RedisServer

Opener = Callable[[], Registry]
LONG_S = 60.0
A, B = Entry("worker-a", "http://a:1", [0, 2]), Entry("worker-b", "http://b:1", [1])


def redis_registry(url: str, prefix: str, *scope: str, timeout_s: float = 5) -> RedisRegistry:
    settings = StoreSettings(redis_url=url, prefix=prefix, timeout_s=timeout_s)
    return RedisRegistry(settings, *scope)


@pytest.fixture(params=["memory", "redis"])
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens registries that share what they list."""
    opened: list[Registry] = []
    shared = MemoryRegistry()
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        prefix = request.getfixturevalue("redis_prefix")

    def open_registry() -> Registry:
        redis_like = request.param == "redis"
        opened.append(
            redis_registry(url, prefix, "g", "t") if redis_like else MemoryRegistry(shared)
        )
        return opened[-1]

    yield open_registry
    for registry in opened:
        registry.close()


@pytest.fixture
def registry(opener: Opener) -> Registry:
    return opener()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nobody_is_there_at_first(registry: Registry) -> None:
    assert list(registry.workers()) == []


def test_workers_are_listed_by_name_for_everyone(opener: Opener) -> None:
    opener().announce(B, LONG_S)
    opener().announce(A, LONG_S)

    assert list(opener().workers()) == [A, B]


def test_what_was_announced_last_counts(registry: Registry) -> None:
    moved = Entry("worker-a", "http://a:2", [])
    registry.announce(A, LONG_S)
    registry.announce(moved, LONG_S)

    assert list(registry.workers()) == [moved]


def test_a_silent_worker_expires_and_others_stay(registry: Registry) -> None:
    registry.announce(A, 0.05)
    registry.announce(B, LONG_S)

    until(lambda: list(registry.workers()) == [B])

    registry.announce(A, LONG_S)
    assert list(registry.workers()) == [A, B]


def test_a_worker_that_leaves_is_gone(registry: Registry) -> None:
    registry.announce(A, LONG_S)
    registry.announce(B, LONG_S)
    registry.leave(A)
    registry.leave(A)

    assert list(registry.workers()) == [B]


def test_an_older_worker_of_the_same_name_does_not_take_the_younger_away(opener: Opener) -> None:
    old, young = opener(), opener()
    younger = Entry(A.worker, "http://elsewhere:1", [3])
    old.announce(A, LONG_S)
    young.announce(younger, LONG_S)

    old.leave(A)

    assert list(young.workers()) == [younger]


def test_any_thread_may_announce_and_list(registry: Registry) -> None:
    def announce(name: int) -> None:
        for _ in range(20):
            registry.announce(Entry(f"w{name}", "http://w", [name]), LONG_S)
            assert any(entry.worker == f"w{name}" for entry in registry.workers())

    threads = [threading.Thread(target=announce, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [entry.worker for entry in registry.workers()] == ["w0", "w1", "w2", "w3"]


def test_a_present_worker_is_kept_up_to_date_and_leaves_when_it_stops(opener: Opener) -> None:
    live = [0]
    presence = Presence(opener(), lambda: Entry("worker-a", "http://a:1", tuple(live)), 0.01)
    onlooker = opener()
    presence.start()
    until(lambda: [list(entry.partitions) for entry in onlooker.workers()] == [[0]])

    live.append(1)
    until(lambda: [list(entry.partitions) for entry in onlooker.workers()] == [[0, 1]])
    presence.stop()

    assert list(onlooker.workers()) == []


# Redis


def test_groups_and_topics_do_not_see_each_other(redis_url: str, redis_prefix: str) -> None:
    scopes = [("g1", "ticks"), ("g2", "ticks"), ("g1", "other")]
    registries = [redis_registry(redis_url, redis_prefix, *scope) for scope in scopes]
    registries[0].announce(A, LONG_S)

    assert [list(one.workers()) for one in registries] == [[A], [], []]
    for one in registries:
        one.close()


def test_its_keys_share_a_cluster_slot_and_none_is_left_behind(
    redis_url: str, redis_prefix: str
) -> None:
    registry = redis_registry(redis_url, redis_prefix, "g", "t")
    with redis.Redis.from_url(redis_url) as client:
        registry.announce(A, LONG_S)
        keys = list(client.scan_iter(match=f"{redis_prefix}*"))
        registry.leave(A)
        registry.workers()
        left = list(client.scan_iter(match=f"{redis_prefix}*"))
    registry.close()

    assert len(keys) == 2
    assert len({key_slot(key) for key in keys}) == 1
    assert left == []


def test_an_entry_that_is_none_is_named(redis_url: str, redis_prefix: str) -> None:
    registry = redis_registry(redis_url, redis_prefix, "g", "t")
    registry.announce(A, LONG_S)
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.keys(f"{redis_prefix}:*:worker:{A.worker}")
        client.set(key, "{")

    with pytest.raises(RegistryUnavailable, match="cannot list the workers"):
        registry.workers()
    registry.close()


def test_a_redis_that_is_away_is_named_and_found_again_by_the_same_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer() as server:
        registry = redis_registry(server.url, "p", "g", "t", timeout_s=1)
        presence = Presence(registry, lambda: A, 0.01)
        presence.start()
        until(lambda: list(registry.workers()) == [A])

        server.kill()
        with pytest.raises(RegistryUnavailable, match=rf"redis at 127\.0\.0\.1:{server.port}"):
            registry.workers()
        until(lambda: "other workers do not find this one" in caplog.text)
        server.start()
        until(lambda: list(registry.workers()) == [A])
        presence.stop()

    assert caplog.text.count("do not find this one") == 1
