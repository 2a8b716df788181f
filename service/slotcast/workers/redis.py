"""The registry in Redis: one key per worker, which expires, and a set of their names.

Names whose key has expired are taken out of the set by whoever lists. All keys of a group and topic
share one cluster slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.exceptions import RedisError

from slotcast.redis_client import explained, open_redis, place_of
from slotcast.settings import StoreSettings
from slotcast.workers.port import Entry, RegistryUnavailable

# Key of the entry; argument: the address. Deletes the entry if it is of this address.
LEAVE = """
local entry = redis.call('GET', KEYS[1])
if entry and cjson.decode(entry)['url'] == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


class RedisRegistry:
    """Workers of one group and tick topic. Does not need Redis to be there to be made."""

    def __init__(self, settings: StoreSettings, group: str, topic: str) -> None:
        self._settings, self._key = settings, f"{settings.prefix}:{{{group}:{topic}}}"
        self._client = open_redis(settings)
        self._where = place_of(self._client)
        self._leave = self._client.register_script(LEAVE)

    def announce(self, entry: Entry, lifetime_s: float) -> None:
        """List this worker."""
        with self._errors("announce in"), self._client.pipeline(transaction=True) as both:
            both.sadd(f"{self._key}:workers", entry.worker)
            both.set(
                self._of(entry.worker), msgspec.json.encode(entry), px=round(lifetime_s * 1_000)
            )
            both.execute()

    def leave(self, entry: Entry) -> None:
        """Take the worker off the list."""
        with self._errors("leave"):
            self._leave(keys=[self._of(entry.worker)], args=[entry.url])

    def workers(self) -> Sequence[Entry]:
        """All workers whose key is there."""
        with self._errors("list the workers in"):
            found: Any = self._client.smembers(f"{self._key}:workers")
            names = sorted(name.decode() for name in found)
            entries: Any = self._client.mget([self._of(name) for name in names]) if names else []
            gone = [name for name, entry in zip(names, entries, strict=True) if entry is None]
            if gone:
                self._client.srem(f"{self._key}:workers", *gone)
            return [
                msgspec.json.decode(entry, type=Entry) for entry in entries if entry is not None
            ]

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _of(self, worker: str) -> str:
        return f"{self._key}:worker:{worker}"

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, msgspec.MsgspecError) as error:
            why = explained(error, self._settings)
            raise RegistryUnavailable(f"cannot {doing} {self._where}: {why}") from error
