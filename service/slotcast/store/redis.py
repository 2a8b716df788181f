"""The store on Redis: one hash of rows and one of applied offsets per partition.

A write is one Lua script that checks token and counter first; a large write is several, each
fenced, with the header last and alone. So a write that fails half way leaves some whole rows of
it, each with its own applied offset, and never the header. Nothing here expires; Redis must run
with `maxmemory-policy noeviction`. All keys of a partition share one cluster slot.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from slotcast.redis_client import explained, open_redis, place_of
from slotcast.settings import StoreSettings
from slotcast.store.digest import digest_of
from slotcast.store.port import (
    Claim,
    StoredRow,
    StoreError,
    StoreFenced,
    StoreForgot,
    StoreUnavailable,
)

BATCH_BYTES = 1_000_000
BATCH_ROWS = 1_000
READ_ROWS = 500

# Keys: claim, index, rows, header. Arguments: token, counter, id of this batch, id of the whole
# write, "1" if this is its last batch, "1" if there is a header, the header, and then name,
# applied offset and row of each row.
WRITE = """
local claim = redis.call('HMGET', KEYS[1], 'token', 'counter', 'batch', 'write')
if claim[1] ~= ARGV[1] then
  return {'fenced', claim[1] or '', claim[2] or ''}
end
if claim[4] == ARGV[4] then
  return {'done', claim[1], claim[2]}
end
if claim[2] ~= ARGV[2] then
  if tonumber(claim[2]) == ARGV[2] + 1 and claim[3] == ARGV[3] then
    return {'written', claim[1], claim[2]}
  end
  return {'fenced', claim[1], claim[2]}
end
for i = 8, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
end
if ARGV[6] == '1' then
  redis.call('SET', KEYS[4], ARGV[7])
end
redis.call('HSET', KEYS[1], 'counter', ARGV[2] + 1, 'batch', ARGV[3])
if ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'write', ARGV[4])
end
return {'written', ARGV[1], ARGV[2] + 1}
"""

logger = logging.getLogger(__name__)

Batch = tuple[Mapping[str, StoredRow], bytes | None]
"""Rows, or a header."""


class RedisStore:
    """Snapshots of one group and one tick topic. Does not need Redis to be there to be made."""

    def __init__(self, settings: StoreSettings, group: str, topic: str) -> None:
        self._settings, self._scope = settings, (settings.prefix, group, topic)
        self._client = open_redis(settings)
        self._where = place_of(self._client)
        self._script = self._client.register_script(WRITE)
        self._may_ask = True
        try:
            self._check_policy()
        except StoreUnavailable as error:
            logger.warning("%s: going on without snapshots until it answers", error)

    def header(self, partition: int) -> bytes | None:
        """The partition's header, or None."""
        with self._errors("read from"):
            found: Any = self._client.get(self._key(partition, "header"))
        return found  # type: ignore[no-any-return]

    def index(self, partition: int) -> dict[str, int]:
        """Instrument -> applied offset."""
        with self._errors("read from"):
            found: Any = self._client.hgetall(self._key(partition, "index"))
        return {name.decode(): int(applied) for name, applied in found.items()}

    def known(self, partition: int, instruments: Sequence[str]) -> set[str]:
        """Those of these instruments that are in the index."""
        if not instruments:
            return set()
        with self._errors("read from"):
            found: Any = self._client.hmget(self._key(partition, "index"), list(instruments))
        return {name for name, applied in zip(instruments, found, strict=True) if applied}

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        """The rows of these instruments, in their order."""
        key = self._key(partition, "rows")
        found: list[bytes | None] = []
        for start in range(0, len(instruments), READ_ROWS):
            names = [name.encode() for name in instruments[start : start + READ_ROWS]]
            with self._errors("read from"):
                some: Any = self._client.hmget(key, names)
            found += some
        return found

    def claim(self, partition: int, token: str) -> Claim:
        """Become the only writer; use a fresh token for every claim."""
        self._check_policy()
        key = self._key(partition, "claim")
        with self._errors("claim in"), self._client.pipeline(transaction=True) as both:
            both.delete(key)
            both.hset(key, mapping={"token": token, "counter": 0})
            both.execute()
        return Claim(token, 0)

    def write(
        self, partition: int, claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None
    ) -> Claim:
        """Write rows and header in fenced batches; one that was written before is not again.

        After `StoreUnavailable` some of the rows may be written: repeat the same write, or claim
        again and write everything.
        """
        batches = list(_batches(rows, header))
        ids = [
            digest_of(Claim(claim.token, claim.counter + place), *batch)
            for place, batch in enumerate(batches)
        ]
        whole = blake2b(b"".join(ids), digest_size=16).digest()
        for place, (batch, batch_id) in enumerate(zip(batches, ids, strict=True)):
            is_last = place == len(batches) - 1
            verdict, claim = self._run(partition, claim, [batch_id, whole, int(is_last)], *batch)
            if verdict == b"done":
                break
        return claim

    def clear(self, partition: int) -> None:
        """Delete everything stored for the partition."""
        with self._errors("clear"):
            self._client.unlink(*self._keys(partition))

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _key(self, partition: int, what: str) -> str:
        prefix, group, topic = self._scope
        return f"{prefix}:{{{group}:{topic}:{partition}}}:{what}"

    def _keys(self, partition: int) -> list[str]:
        return [self._key(partition, what) for what in ("claim", "index", "rows", "header")]

    def _run(
        self,
        partition: int,
        claim: Claim,
        identity: list[bytes | int],
        rows: Mapping[str, StoredRow],
        header: bytes | None,
    ) -> tuple[bytes, Claim]:
        arguments: list[Any] = [claim.token, claim.counter, *identity]
        arguments += [int(header is not None), header or b""]
        for name, row in rows.items():
            arguments += (name.encode(), int(row.applied), row.row)
        with self._errors("write to"):
            answer: Any = self._script(keys=self._keys(partition), args=arguments)
        verdict, token, counter = answer
        if verdict == b"fenced":
            refused = StoreForgot if token.decode() in ("", claim.token) else StoreFenced
            raise refused(
                f"partition {partition} in {self._where} is claimed by"
                f" {token.decode() or 'nobody'} at write {int(counter or 0)}, not by"
                f" {claim.token} at write {claim.counter}: claim it again"
            )
        return verdict, Claim(claim.token, int(counter))

    def _check_policy(self) -> None:
        """Refuse a Redis that may evict. Raises `StoreError`, `StoreUnavailable`.

        Asked for at every claim: it may be another Redis than before, or have been set anew.
        """
        if not self._may_ask:
            return
        try:
            with self._errors("ask"):
                memory: Any = self._client.info("memory")
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, NoPermissionError | ResponseError):
                raise
            logger.warning("%s; make sure that maxmemory-policy is noeviction", error)
            self._may_ask = False
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreError(
                f"{self._where} has maxmemory-policy {policy} and would delete memory when full:"
                " set it to noeviction"
            )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            why = explained(error, self._settings)
            raise StoreUnavailable(f"cannot {doing} {self._where}: {why}") from error


def _batches(rows: Mapping[str, StoredRow], header: bytes | None) -> Iterator[Batch]:
    batch: dict[str, StoredRow] = {}
    size = 0
    for name, row in rows.items():
        if batch and (size + len(row.row) > BATCH_BYTES or len(batch) == BATCH_ROWS):
            yield batch, None
            batch, size = {}, 0
        batch[name] = row
        size += len(row.row)
    if batch or header is None:
        yield batch, None
    if header is not None:
        yield {}, header
