"""A whole service to look at in a browser: real workers over a log in memory, fed by hand."""

from __future__ import annotations

import time
from typing import Any, Self
from zlib import crc32

from slotcast.bootstrap import Service, prepare
from slotcast.feeds.simulator import Market, encode
from slotcast.log.memory.log import MemoryBroker, MemoryLog
from slotcast.log.port import Poll
from slotcast.run_settings import market_settings
from slotcast.settings import HttpSettings
from slotcast.store.memory import MemoryStore
from slotcast.workers.memory import MemoryRegistry

SETTLE_S = 90.0
IDLE_S = 0.005


class PatientLog(MemoryLog):
    """A log in memory that waits a moment where there is nothing, as a broker does."""

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Records of live partitions, else nothing after a moment."""
        found = super().poll(timeout_ms, max_ticks)
        if not (found.batches or found.gained or found.lost):
            time.sleep(IDLE_S)
        return found


class Stage:
    """Workers of one group over a simulated market; the first one has the partitions at first."""

    def __init__(
        self,
        instruments: int = 40,
        *,
        partitions: int = 2,
        slots: int = 64,
        workers: int = 1,
        **http: Any,
    ) -> None:
        base = market_settings(0, slots)
        prepare(base)  # else the first ticks may wait for the compiler
        self.broker = MemoryBroker(partitions)
        self.market = Market(instruments)
        self._store, self._registry = MemoryStore(), MemoryRegistry()
        served = HttpSettings(host="127.0.0.1", port=0, **http)
        worker = base.worker.model_copy(update={"lag_ready_ticks": 10**9})
        self._settings = base.model_copy(update={"http": served, "worker": worker})
        self.services = [self._service(number) for number in range(workers)]

    def _service(self, number: int) -> Service:
        kafka = self._settings.kafka.model_copy(update={"instance_id": f"worker-{number}"})
        own = self._settings.model_copy(update={"kafka": kafka})
        log: Any = PatientLog(len(self.broker.ticks), self.broker)
        return Service(own, log, MemoryStore(self._store), self._registry)

    def __enter__(self) -> Self:
        for service in self.services:
            service.start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.stop()

    def restart(self) -> None:
        """Stop the first worker, which writes its last snapshot, and start another in its place."""
        self.services[0].stop()
        self.broker.assign(None, *self.broker.owners)
        self.services[0] = self._service(0)
        self.services[0].start()

    @property
    def url(self) -> str:
        """Where the first worker serves its page."""
        return self.services[0].api.url

    def feed(self, key: bytes, value: bytes, timestamp_ms: int = 0) -> None:
        """One record, to the partition that its key says."""
        partitions = len(self.broker.ticks)
        self.broker.feed(crc32(key) % partitions, key, value, timestamp_ms)

    def tick(self, count: int) -> None:
        """So many ticks of the market, committed when this returns."""
        ticks = self.market.next(count)
        keys, values = encode(ticks, self.market.names)
        for key, value, stamp in zip(keys, values, ticks.ts_ms.tolist(), strict=True):
            self.feed(key, value, stamp)
        self.settle()

    def settle(self) -> None:
        """Wait until everything that was fed is committed."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            at = {p: committed.offset for p, committed in self.broker.offsets.items()}
            if all(at.get(p, 0) == end for p, end in enumerate(self.broker.end)):
                return
            time.sleep(IDLE_S)
        raise TimeoutError(f"committed {at} of {self.broker.end} after {SETTLE_S} s")
