"""Presence: a thread that tells the registry, about once a second, what this worker has live.

A registry that is away is waited for; nothing else waits. A worker that stops leaves; one that dies
is no longer listed when its last entry is `LIFETIME_S` old.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from slotcast.workers.port import Entry, Registry, RegistryUnavailable

BEAT_S = 1.0
LIFETIME_S = 5.0

log = logging.getLogger("slotcast.workers")


class Presence:
    """Announces what `entry` says, from `start` to `stop`."""

    def __init__(
        self, registry: Registry, entry: Callable[[], Entry], beat_s: float = BEAT_S
    ) -> None:
        self._registry, self._entry, self._beat_s = registry, entry, beat_s
        self._stop = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the registry; it is closed too. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._tell(lambda: self._registry.leave(self._entry()))
        self._registry.close()

    def _run(self) -> None:
        self._tell(self._announce)
        while not self._stop.wait(self._beat_s):
            self._tell(self._announce)

    def _announce(self) -> None:
        self._registry.announce(self._entry(), LIFETIME_S)

    def _tell(self, telling: Callable[[], None]) -> None:
        try:
            telling()
        except RegistryUnavailable as error:
            if not self._away:
                log.warning("other workers do not find this one meanwhile: %s", error)
            self._away = True
        else:
            if self._away:
                log.info("other workers find this one again")
            self._away = False
