"""Redis as a worker finds it: memory policy, persistence, rights, clock.

Writes one key below the store's prefix, which expires after a minute, to see that it may.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from slotcast.checks.finding import Finding, fail, ok, skew, warn
from slotcast.redis_client import open_redis
from slotcast.settings import StoreSettings

FULL = 0.9
"""Of maxmemory: from here on there is little room."""
WRITE = "redis.call('SET', KEYS[1], '1', 'PX', 60000) return redis.call('DEL', KEYS[1])"


def redis_findings(settings: StoreSettings) -> Iterator[Finding]:
    """Look at everything. Raises RedisError where it does not answer."""
    client = open_redis(settings)
    try:
        client.ping()
        try:
            info: Any = client.info("everything")
        except NoPermissionError:
            info = {}
            yield warn("redis", "answers, but may not be asked", "allow +info, to see its set-up")
        if info:
            yield ok("redis", f"Redis {info.get('redis_version', '?')}")
            yield from _memory(info)
            yield from _persistence(client, info)
        yield from _rights(client, settings.prefix)
        yield from _clock(client)
    finally:
        client.close()


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    policy, most = info.get("maxmemory_policy", "?"), int(info.get("maxmemory") or 0)
    used = int(info.get("used_memory") or 0)
    told = f"{policy}, {used / 2**20:,.0f} MiB used{f' of {most / 2**20:,.0f}' if most else ''}"
    if policy != "noeviction":
        yield fail(
            "redis memory",
            f"maxmemory-policy is {policy}: rows would disappear",
            "CONFIG SET maxmemory-policy noeviction",
        )
    elif most and used > FULL * most:
        yield warn("redis memory", told, "raise maxmemory: without room there are no snapshots")
    else:
        yield ok("redis memory", told)


def _persistence(client: Any, info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("aof_enabled"):
        yield ok("redis persistence", "append-only file")
        return
    try:
        saved = client.config_get("save").get("save")
    except RedisError:  # managed ones do not say
        saved = ""
    if saved:
        yield ok("redis persistence", f"dumps (save {saved}); what they lack is replayed")
        return
    yield warn(
        "redis persistence",
        "neither append-only file nor dumps",
        "CONFIG SET appendonly yes: else a Redis that restarts means a long replay",
    )


def _rights(client: Any, prefix: str) -> Iterator[Finding]:
    key = f"{prefix}:doctor"
    try:
        client.eval(WRITE, 1, key)
    except (NoPermissionError, RedisError) as error:
        yield fail(
            "redis rights",
            f"cannot write {key} by a script: {error}",
            "give the user the ACL rule of SECURITY.md, and take a writable Redis",
        )
        return
    yield ok("redis rights", f"may write below {prefix}")


def _clock(client: Any) -> Iterator[Finding]:
    begun_ms = time.time() * 1e3
    try:
        seconds, micros = client.time()
    except NoPermissionError:
        return
    ended_ms = time.time() * 1e3
    theirs_ms = seconds * 1e3 + micros / 1e3
    doubt_ms = (ended_ms - begun_ms) / 2
    yield skew("redis clock", theirs_ms - (begun_ms + ended_ms) / 2, doubt_ms)
