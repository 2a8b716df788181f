"""A registry in memory: for tests, and for the embedded service, which is alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock

from slotcast.workers.port import Entry


class MemoryRegistry:
    """Entries in a dictionary. Registries made with `shared` are one to their callers."""

    def __init__(
        self, shared: MemoryRegistry | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock: Lock = shared._lock if shared else Lock()
        self._entries: dict[str, tuple[Entry, float]] = shared._entries if shared else {}

    def announce(self, entry: Entry, lifetime_s: float) -> None:
        """List this worker."""
        with self._lock:
            self._entries[entry.worker] = entry, self._clock() + lifetime_s

    def leave(self, entry: Entry) -> None:
        """Take the worker off the list."""
        with self._lock:
            found = self._entries.get(entry.worker)
            if found and found[0].url == entry.url:
                del self._entries[entry.worker]

    def workers(self) -> Sequence[Entry]:
        """All workers whose time is not over."""
        with self._lock:
            now = self._clock()
            found = [entry for entry, end in self._entries.values() if now < end]
        return sorted(found, key=lambda entry: entry.worker)

    def close(self) -> None:
        """Nothing to give back."""
