"""Prometheus metrics. One object owns them all, so a test or a second worker has its own registry.

Per-tick work is observed once per poll, in bulk: no label look-up on the hot path. `tally.py`
writes them; a label that is known beforehand is there from the start: rates see its first event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric

from slotcast.instrument_series import InstrumentSeries
from slotcast.store.port import StoreError, StoreFenced, StoreUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
STEP_SECONDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5)
RECOVERY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
SCALED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
PARTS = ("queue", "step", "commit")
"""Of the time from a tick to its forecast: until its poll is begun, and then that poll's."""
CONTESTANTS = ("forecast", "persistence")


class BulkHistogram:
    """A Prometheus histogram that observes an array at a time, with one label at most."""

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Iterable[float],
        registry: CollectorRegistry,
        label: str | None = None,
        values: Sequence[str] = (),
    ) -> None:
        """With a label, these are all of its values."""
        self._name, self._documentation = name, documentation
        self._labelnames = (label,) if label else ()
        self._bounds = np.asarray(list(buckets), dtype=np.float64)
        kinds: list[tuple[str, ...]] = [(value,) for value in values] if label else [()]
        self._counts = {kind: np.zeros(len(self._bounds) + 1, dtype=np.int64) for kind in kinds}
        self._sums = dict.fromkeys(kinds, 0.0)
        registry.register(self)

    def observe(
        self, values: NDArray[np.float64], *labels: str, times: NDArray[np.int64] | int = 1
    ) -> None:
        """Count every value in its bucket, each so many times."""
        weights = np.broadcast_to(times, values.shape)
        places = np.searchsorted(self._bounds, values, side="left")
        added = np.bincount(places, weights, minlength=len(self._bounds) + 1)
        self._counts[labels] += added.astype(np.int64)
        self._sums[labels] += float((values * weights).sum())

    def collect(self) -> Iterator[Metric]:
        """The metric as Prometheus reads it: cumulative buckets, sum and count."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        bounds = [*(repr(float(b)) for b in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            totals = [float(total) for total in np.cumsum(counts)]
            buckets = list(zip(bounds, totals, strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family


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
        self.aborts = Counter(
            "slotcast_aborts",
            "Polls that were not committed, by what went wrong.",
            ["cause"],
            registry=r,
        )
        self.recoveries = Counter(
            "slotcast_recoveries", "Partition recoveries begun.", ["cause"], registry=r
        )
        self.recovery_seconds = Histogram(
            "slotcast_recovery_seconds",
            "Seconds until a partition is live again; gained: a takeover, or a start.",
            ["cause"],
            buckets=RECOVERY_SECONDS,
            registry=r,
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
        self.fences = Counter(
            "slotcast_fences",
            "Writes that the store refused: somebody else has claimed the partition.",
            registry=r,
        )
        self.store_failures = Counter(
            "slotcast_store_failures", "Calls that the store did not answer.", registry=r
        )
        self.store_up = Gauge(
            "slotcast_store_up", "1 if the store answered the last call.", registry=r
        )
        self.snapshot_seconds = Histogram(
            "slotcast_snapshot_seconds",
            "Seconds per snapshot, from its beginning to its watermark.",
            buckets=SECONDS,
            registry=r,
        )
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
        self.part_seconds = BulkHistogram(
            "slotcast_tick_to_forecast_part_seconds",
            "The same by part: wait for its poll to begin, that poll's step, and its commit.",
            SECONDS,
            r,
            "part",
            PARTS,
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
        self.lag_seconds = Gauge(
            "slotcast_lag_seconds",
            "Age of the last record stepped while more records wait, else 0.",
            ["partition"],
            registry=r,
        )
        self.snapshot_age = Gauge(
            "slotcast_snapshot_age_seconds",
            "Seconds since the partition's snapshot last held all that was committed.",
            ["partition"],
            registry=r,
        )
        self.ages = Gauge(
            "slotcast_memory_age_ticks",
            "Ticks that memories hold: percentiles over instruments.",
            ["percentile"],
            registry=r,
        )
        self._define_quality(r)
        self.turn_age = Gauge(
            "slotcast_turn_age_seconds",
            "Seconds since the worker's thread last came by.",
            registry=r,
        )
        self.ready = Gauge("slotcast_ready", "1 when ready to serve.", registry=r)
        self.info = Gauge(
            "slotcast_info", "Constant 1.", ["version", "bundle", "numerics"], registry=r
        )
        self.instruments = InstrumentSeries(r)
        ProcessCollector(registry=r)

    def _define_quality(self, r: CollectorRegistry) -> None:
        """What the forecasts are worth: over whole memories (gauges), and since the start."""
        self.skill = Gauge(
            "slotcast_skill",
            "Median over instruments of 1 - squared error / that of persistence.",
            registry=r,
        )
        self.relative_error = Gauge(
            "slotcast_relative_error",
            "Root mean squared error / that of persistence: percentiles over instruments.",
            ["percentile"],
            registry=r,
        )
        self.coverage = Gauge(
            "slotcast_coverage", "Share of ticks inside the interval.", ["level"], registry=r
        )
        self.model_share = Gauge(
            "slotcast_model_share", "Share of present forecasts that are the model's.", registry=r
        )
        self.scored = Counter(
            "slotcast_scored_forecasts", "Forecasts whose tick has come, per target.", registry=r
        )
        self.covered = Counter(
            "slotcast_covered_forecasts",
            "Of these, those whose tick fell into the interval.",
            ["level"],
            registry=r,
        )
        self.scaled_error = BulkHistogram(
            "slotcast_scaled_error",
            "Absolute error / the instrument's mean absolute change, of forecast and persistence.",
            SCALED,
            r,
            "of",
            CONTESTANTS,
        )

    def tell_store(self, error: StoreError | None) -> None:
        """What came of a call to the store."""
        self.store_up.set(not isinstance(error, StoreUnavailable))
        if isinstance(error, StoreUnavailable):
            self.store_failures.inc()
        elif isinstance(error, StoreFenced):
            self.fences.inc()
