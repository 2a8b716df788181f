"""Prometheus metrics. One object owns them all, so a test or a second worker has its own registry.

Per-tick work is observed once per poll, in bulk: no label look-up on the hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
STEP_SECONDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5)


class BulkHistogram:
    """A Prometheus histogram that observes an array at a time."""

    def __init__(
        self, name: str, documentation: str, buckets: Iterable[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.asarray(list(buckets), dtype=np.float64)
        self._counts = np.zeros(len(self._bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count every value (seconds) in its bucket."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """The metric as Prometheus reads it: cumulative buckets, sum and count."""
        totals = np.cumsum(self._counts)
        bounds = [*(repr(float(b)) for b in self._bounds), "+Inf"]
        buckets = [(bound, float(total)) for bound, total in zip(bounds, totals, strict=True)]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=self._sum
        )


class Metrics:
    """All metrics of one worker."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = r = registry or CollectorRegistry()
        self.ticks = Counter("slotcast_ticks", "Valid ticks stepped and committed.", registry=r)
        self.forecasts = Counter("slotcast_forecasts", "Forecasts committed.", registry=r)
        self.rejects = Counter(
            "slotcast_rejects", "Records sent to the dead-letter topic.", ["reason"], registry=r
        )
        self.repeats = Counter(
            "slotcast_repeats", "Ticks dropped since their sequence number was seen.", registry=r
        )
        self.resets = Counter("slotcast_resets", "Instrument resets applied.", registry=r)
        self.imports = Counter("slotcast_imports", "Imports of memory applied.", registry=r)
        self.commits = Counter("slotcast_commits", "Commits that succeeded.", registry=r)
        self.commit_failures = Counter(
            "slotcast_commit_failures", "Commits that failed.", registry=r
        )
        self.recoveries = Counter(
            "slotcast_recoveries", "Partition recoveries begun.", ["cause"], registry=r
        )
        self.decisions = Counter(
            "slotcast_recovery_decisions",
            "Recoveries that were not simply exact, by what was decided and why.",
            ["policy", "cause"],
            registry=r,
        )
        self.partitions = Gauge(
            "slotcast_partitions", "Partitions that this worker owns.", ["phase"], registry=r
        )
        self.replayed = Counter("slotcast_replayed_ticks", "Ticks replayed silently.", registry=r)
        self.page_ins = Counter("slotcast_page_ins", "Rows read from the store.", registry=r)
        self.page_outs = Counter("slotcast_page_outs", "Rows paged out of their slots.", registry=r)
        self.step_seconds = BulkHistogram(
            "slotcast_step_seconds", "Seconds to parse and step one poll.", STEP_SECONDS, r
        )
        self.commit_seconds = Histogram(
            "slotcast_commit_seconds", "Seconds per commit.", buckets=SECONDS, registry=r
        )
        self.latency_seconds = BulkHistogram(
            "slotcast_tick_to_forecast_seconds",
            "Seconds from a tick's record timestamp to its forecast's commit.",
            SECONDS,
            r,
        )
        self.capacity = Gauge("slotcast_slots_capacity", "Configured slots.", registry=r)
        self.used = Gauge("slotcast_slots_used", "Slots that hold an instrument.", registry=r)
        self.free = Gauge("slotcast_slots_free", "Slots that are free.", registry=r)
        self.paged = Gauge(
            "slotcast_instruments_paged", "Instruments in the store only.", registry=r
        )
        self.lag = Gauge(
            "slotcast_lag_ticks",
            "Records between commit and end of log.",
            ["partition"],
            registry=r,
        )
        self.snapshot_age = Gauge(
            "slotcast_snapshot_age_seconds",
            "Seconds since the partition's watermark last moved up to the commit.",
            ["partition"],
            registry=r,
        )
        self.skill = Gauge(
            "slotcast_skill",
            "Median over instruments of 1 - squared error / that of persistence.",
            registry=r,
        )
        self.coverage = Gauge(
            "slotcast_coverage", "Share of ticks inside the interval.", ["level"], registry=r
        )
        self.ready = Gauge("slotcast_ready", "1 when ready to serve.", registry=r)
        self.info = Gauge(
            "slotcast_info", "Constant 1.", ["version", "bundle", "numerics"], registry=r
        )
