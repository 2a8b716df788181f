"""A snapshot as it stands in Redis, to be looked at and spoilt."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from slotcast.snapshots.snapshot import SnapshotDamaged, decode_header, encode_header
from tests.e2e.running import Serving
from tests.servers import RedisServer


class Stored:
    """The snapshot of a partition as it stands in Redis."""

    def __init__(self, server: RedisServer, worker: Serving, partition: int = 0) -> None:
        scope = f"{{{worker.kafka.group}:{worker.kafka.ticks}:{partition}}}"
        self._keys = f"{worker.settings.store.prefix}:{scope}"
        self.client: Any = redis.Redis.from_url(server.url)

    def header(self) -> Any:
        """The decoded header, or None."""
        data = self.client.get(f"{self._keys}:header")
        return None if data is None else decode_header(data)

    def is_sound(self) -> bool:
        """Whether there is a header that can be read."""
        try:
            return self.header() is not None
        except SnapshotDamaged:
            return False

    def retell(self, **changes: object) -> None:
        """Let the header say something else."""
        changed = msgspec.structs.replace(self.header(), **changes)
        self.client.set(f"{self._keys}:header", encode_header(changed))

    def covers(self, offset: int) -> bool:
        """Whether there is a snapshot that is complete up to this offset."""
        return self.is_sound() and bool(self.header().watermark >= offset)

    def spoil_header(self) -> None:
        """Another byte in the header."""
        self.client.setrange(f"{self._keys}:header", 12, b"#")

    def spoil_rows(self) -> None:
        """Another byte in every row."""
        key = f"{self._keys}:rows"
        for name, row in self.client.hgetall(key).items():
            self.client.hset(key, name, row[:-1] + bytes([row[-1] ^ 1]))

    def lose_rows(self) -> None:
        """Rows are gone that the index promises."""
        self.client.delete(f"{self._keys}:rows")

    def age_rows(self) -> None:
        """An index that promises more than the rows hold."""
        key = f"{self._keys}:index"
        for name, applied in self.client.hgetall(key).items():
            self.client.hset(key, name, int(applied) + 1)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
