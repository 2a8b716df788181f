"""What the Redis store promises beyond the port: fenced batches, loud settings, bounded waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest
import redis
from redis.crc import key_slot

from slotcast.settings import StoreSettings
from slotcast.store.port import Claim, StoredRow, StoreError, StoreFenced, StoreUnavailable
from slotcast.store.redis import BATCH_ROWS, RedisStore
from tests.servers import RedisServer


def open_store(url: str, prefix: str, timeout_s: float = 5.0) -> RedisStore:
    settings = StoreSettings(redis_url=url, prefix=prefix, timeout_s=timeout_s)
    return RedisStore(settings, "group", "ticks")


@pytest.fixture
def store(redis_url: str, redis_prefix: str) -> Iterator[RedisStore]:
    store = open_store(redis_url, redis_prefix)
    yield store
    store.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of one's own, to be frozen, killed and set up wrongly."""
    with RedisServer() as server:
        yield server


def rows(count: int, size: int = 10) -> dict[str, StoredRow]:
    return {f"i{i}": StoredRow(i, b"x" * size) for i in range(count)}


def test_all_keys_of_a_partition_share_a_cluster_slot(
    store: RedisStore, client: redis.Redis, redis_prefix: str
) -> None:
    store.write(7, store.claim(7, "t"), rows(1), b"h")
    keys = list(client.scan_iter(match=f"{redis_prefix}*"))

    assert len(keys) == 4
    assert len({key_slot(key) for key in keys}) == 1


def test_nothing_expires(store: RedisStore, client: redis.Redis, redis_prefix: str) -> None:
    store.write(0, store.claim(0, "t"), rows(1), b"h")

    assert {client.ttl(key) for key in client.scan_iter(match=f"{redis_prefix}*")} == {-1}


def test_groups_and_topics_do_not_see_each_other(redis_url: str, redis_prefix: str) -> None:
    scopes = [("g1", "ticks"), ("g2", "ticks"), ("g1", "other")]
    settings = StoreSettings(redis_url=redis_url, prefix=redis_prefix)
    stores = [RedisStore(settings, *scope) for scope in scopes]
    stores[0].write(0, stores[0].claim(0, "t"), rows(1), b"h")

    assert [store.header(0) for store in stores] == [b"h", None, None]
    for store in stores:
        store.close()


def test_a_large_write_is_fenced_batch_by_batch(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = store.claim(0, "old")
    run = store._script
    calls = 0

    def claim_after_one_batch(**arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            store.claim(0, "new")
        return run(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_script", claim_after_one_batch)

    with pytest.raises(StoreFenced, match="claimed by new at write 0, not by old at write 1"):
        store.write(0, claim, rows(3 * BATCH_ROWS), b"header")

    assert len(store.index(0)) == BATCH_ROWS
    assert store.header(0) is None


def test_every_batch_may_be_executed_twice(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store._script

    def run_twice(**arguments: object) -> object:
        first = run(**arguments)  # type: ignore[arg-type]
        again = run(**arguments)  # type: ignore[arg-type]
        assert int(again[2]) == int(first[2])
        return again

    monkeypatch.setattr(store, "_script", run_twice)
    claim = store.write(0, store.claim(0, "t"), rows(2 * BATCH_ROWS), b"h")

    assert store.write(0, claim, {"i0": StoredRow(99, b"later")}, None).counter > claim.counter
    assert store.index(0)["i0"] == 99


def test_a_write_whose_reply_was_lost_half_way_is_fenced_or_repeated(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = store.claim(0, "t")
    run = store._script
    calls = 0

    def lose_the_second_reply(**arguments: object) -> object:
        nonlocal calls
        calls += 1
        answer = run(**arguments)  # type: ignore[arg-type]
        if calls == 2:
            raise redis.TimeoutError("lost")
        return answer

    monkeypatch.setattr(store, "_script", lose_the_second_reply)
    with pytest.raises(StoreUnavailable, match="lost"):
        store.write(0, claim, rows(3 * BATCH_ROWS), b"h")

    with pytest.raises(StoreFenced):
        store.write(0, claim, rows(3 * BATCH_ROWS), b"h")
    assert store.header(0) is None
    store.write(0, store.claim(0, "u"), rows(3 * BATCH_ROWS), b"h")
    assert (len(store.index(0)), store.header(0)) == (3 * BATCH_ROWS, b"h")


def test_a_forgotten_script_is_sent_again(store: RedisStore, client: redis.Redis) -> None:
    claim = store.write(0, store.claim(0, "t"), rows(1), None)
    client.script_flush()

    store.write(0, claim, rows(2), b"h")

    assert store.header(0) == b"h"


def test_a_store_that_went_back_in_time_fences_the_writer(
    store: RedisStore, client: redis.Redis, redis_prefix: str
) -> None:
    claim = store.write(0, store.claim(0, "t"), rows(1), b"h")
    (key,) = client.scan_iter(match=f"{redis_prefix}*claim")
    client.hset(key, "counter", 0)
    client.hdel(key, "batch", "write")

    with pytest.raises(StoreFenced, match="at write 0, not by t at write"):
        store.write(0, claim, rows(2), b"h2")


def test_a_redis_that_evicts_is_refused_with_the_way_out(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(StoreError, match=r"maxmemory-policy allkeys-lru .* set it to noeviction"):
        open_store(server.url, "p")


def test_a_redis_that_tells_nothing_is_warned_about(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser(
            "quiet", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"]
        )
    url = server.url.replace("redis://", "redis://quiet:x@")

    with caplog.at_level(logging.WARNING):
        store = open_store(url, "p")

    assert "make sure that maxmemory-policy is noeviction" in caplog.text
    store.write(0, store.claim(0, "t"), rows(1), b"h")
    store.close()


def test_a_password_is_never_in_a_message(server: RedisServer) -> None:
    url = server.url.replace("redis://", "redis://user:secret@")
    store = open_store(url, "p")

    with pytest.raises(StoreUnavailable) as error:
        store.header(0)

    assert "secret" not in str(error.value)
    store.close()


def test_a_full_redis_takes_no_part_of_a_batch(server: RedisServer) -> None:
    store = open_store(server.url, "p")
    claim = store.claim(0, "t")
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)

    with pytest.raises(StoreUnavailable, match="maxmemory"):
        store.write(0, claim, rows(10), b"h")

    assert (store.index(0), store.header(0)) == ({}, None)
    store.close()


def test_a_frozen_redis_is_unavailable_in_time_and_usable_again(server: RedisServer) -> None:
    store = open_store(server.url, "p", timeout_s=1.0)
    claim = store.claim(0, "t")
    server.suspend()
    started = time.monotonic()

    for ask in (store.header, store.index, lambda p: store.rows(p, ["a"]), store.clear):
        with pytest.raises(StoreUnavailable):
            ask(0)
    with pytest.raises(StoreUnavailable):
        store.write(0, claim, rows(1), b"h")
    assert time.monotonic() - started < 15
    server.resume()

    # Redis may still execute what it was sent: only a new claim is safe.
    store.write(0, store.claim(0, "u"), rows(1), b"h")
    assert store.header(0) == b"h"
    store.close()


def test_a_redis_that_is_away_at_the_start_is_checked_later(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    with caplog.at_level(logging.WARNING):
        store = open_store(server.url, "p", timeout_s=0.5)
    assert "going on without snapshots" in caplog.text
    with pytest.raises(StoreUnavailable, match=r"redis at 127\.0\.0\.1"):
        store.claim(0, "t")

    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(StoreError, match="noeviction"):
        store.claim(0, "t")
    store.close()


def test_a_wiped_redis_fences_the_writer(server: RedisServer) -> None:
    store = open_store(server.url, "p")
    claim = store.write(0, store.claim(0, "t"), rows(1), b"h")
    server.kill()
    server.start()

    assert store.header(0) is None
    with pytest.raises(StoreFenced, match="claimed by nobody"):
        store.write(0, claim, rows(1), b"h")
    with pytest.raises(StoreFenced):
        store.write(0, Claim("t", 0), rows(1), b"h")
    store.close()
