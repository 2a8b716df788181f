"""What a worker tells of itself: counters, gauges and the views of its partitions.

Written by the worker's thread: once per committed cycle, and about twice a second. Nothing here is
looked up per tick. Readers get `views`, which is replaced as a whole, and `counts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from slotcast.board.board import QUANTILES
from slotcast.board.sheet import Scores
from slotcast.board.views import PartitionView
from slotcast.damage import DECISIONS
from slotcast.delivery import Cycle
from slotcast.log.port import LogError
from slotcast.metrics import CONTESTANTS
from slotcast.partition import Partition, Phase
from slotcast.parts import Parts
from slotcast.records.ticks import REASONS

ENDS_INTERVAL_S = 1.0
ABORTS = (
    *("CommitFailed", "NotYet"),
    *("SnapshotDamaged", "StoreFenced", "StoreForgot"),
    *("StoreUnavailable", "StoreResting", "NoSlotLeft"),
)
"""What can keep a poll from its commit."""
CAUSES = ("gained", "LogUnavailable", "OffsetOutOfRange", *ABORTS)
"""Why partitions are recovered: assigned to this worker, or what went wrong."""


class Tally:
    """Counts and gauges of one worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.views: tuple[PartitionView, ...] = ()
        self.counts = {"ticks": 0, "forecasts": 0, "rejects": 0, "repeats": 0, "resets": 0}
        self._ends: dict[int, int] = {}
        self._ends_due, self._looked_at = 0.0, parts.clock()
        self._paged = (0, 0)
        metrics, levels = parts.metrics, [f"{level:g}" for level in parts.board.levels]
        self._covered = [metrics.covered.labels(level) for level in levels]
        self._coverage = [metrics.coverage.labels(level) for level in levels]
        for reason in REASONS:
            metrics.rejects.labels(reason)
        for cause in ABORTS:
            metrics.aborts.labels(cause)
        for cause in CAUSES:
            metrics.recoveries.labels(cause)
            metrics.recovery_seconds.labels(cause)
        for decision in DECISIONS:
            metrics.decisions.labels(*decision)
        metrics.turn_age.set_function(lambda: parts.clock() - self._looked_at)

    def observe(self, cycle: Cycle) -> None:
        """Count a committed cycle."""
        m, counts = self._parts.metrics, self.counts
        for stepped in cycle.stepped:
            counts["ticks"] += len(stepped.ticked)
            counts["repeats"] += stepped.repeats
            counts["resets"] += stepped.resets
            m.ticks.inc(len(stepped.ticked))
            m.repeats.inc(stepped.repeats)
            m.resets.inc(stepped.resets)
            m.imports.inc(stepped.imports)
        for letter in cycle.outbox.dead_letters:
            counts["rejects"] += 1
            m.rejects.labels(letter.reason).inc()
        m.commits.inc()
        m.step_seconds.observe(np.array([cycle.step_s]))
        m.commit_seconds.observe(cycle.commit_s)
        self._observe_latency(cycle)

    def _observe_latency(self, cycle: Cycle) -> None:
        m, now_ms = self._parts.metrics, self._parts.wall_ms()
        worked_s = cycle.step_s + cycle.commit_s
        for forecasts in cycle.outbox.forecasts:
            n = len(forecasts.offsets)
            self.counts["forecasts"] += n
            m.forecasts.inc(n)
            stamped = np.array(forecasts.timestamps_ms, np.float64)
            stamped = stamped[stamped >= 0]  # a producer need not say when
            took_s = np.maximum(now_ms - stamped, 0.0) / 1e3
            m.latency_seconds.observe(took_s)
            m.part_seconds.observe(np.maximum(took_s - worked_s, 0.0), "queue")
            m.part_seconds.observe(np.array([cycle.step_s]), "step", times=len(took_s))
            m.part_seconds.observe(np.array([cycle.commit_s]), "commit", times=len(took_s))

    def score(self, scores: Sequence[Scores]) -> None:
        """Count what the ticks of a cycle said of the forecasts before them."""
        m = self._parts.metrics
        for one in scores:
            m.scored.inc(one.scored)
            for counter, inside in zip(self._covered, one.covered.tolist(), strict=True):
                counter.inc(inside)
            for name, values in zip(CONTESTANTS, (one.errors, one.changes), strict=True):
                m.scaled_error.observe(values, name, times=one.ticks)

    def look(self, partitions: dict[int, Partition]) -> None:
        """Make the views anew, and set the gauges by them."""
        now, log = self._parts.clock(), self._parts.log
        self._looked_at = now
        if now >= self._ends_due:  # asks the broker
            self._ends_due = now + ENDS_INTERVAL_S
            with suppress(LogError):
                self._ends = {n: log.bounds(n)[1] for n in partitions}
        before, self.views = self.views, tuple(self._view(p) for p in partitions.values())
        self._set_partitions(partitions, {view.partition for view in before})
        self._set_slots()
        self._set_quality()

    def _view(self, partition: Partition) -> PartitionView:
        here = self._parts.engine.slots.of_partition(partition.number)
        known = len(partition.index) + sum(name not in partition.index for name in here)
        recovering = partition.phase is Phase.RECOVERING
        return PartitionView(
            partition=partition.number,
            phase=partition.phase.value,
            committed=partition.committed,
            end=max(self._ends.get(partition.number, 0), partition.committed),
            watermark=partition.watermark,
            instruments=known,
            replay_done=partition.replay_done if recovering else 1.0,
            snapshot_age_s=self._snapshot_age_s(partition),
            damage=partition.damage,
        )

    def _set_partitions(self, partitions: dict[int, Partition], before: set[int]) -> None:
        m = self._parts.metrics
        for phase in (Phase.RECOVERING, Phase.LIVE, Phase.STOPPED):
            count = sum(view.phase == phase.value for view in self.views)
            m.partitions.labels(phase.value).set(count)
        for view in self.views:
            partition, label = partitions[view.partition], str(view.partition)
            lag = view.end - view.committed
            m.lag.labels(label).set(lag)
            m.lag_seconds.labels(label).set(self._behind_s(partition) if lag else 0.0)
            age = view.snapshot_age_s
            m.snapshot_age.labels(label).set(math.nan if age is None else age)
        for number in before - partitions.keys():  # its new owner tells of it
            for gauge in (m.lag, m.lag_seconds, m.snapshot_age):
                gauge.remove(str(number))

    def _behind_s(self, partition: Partition) -> float:
        age = self._age_s(partition.stepped_ms)
        return math.nan if age is None else age

    def _age_s(self, stamped_ms: int | None) -> float | None:
        """Of a record with this timestamp; a producer need not say when."""
        if stamped_ms is None or stamped_ms < 0:
            return None
        return max(0.0, (self._parts.wall_ms() - stamped_ms) / 1e3)

    def _snapshot_age_s(self, partition: Partition) -> float | None:
        """Since the snapshot last held all that was committed.

        Of one that was there at the start, the first record that it lacks tells: its timestamp.
        """
        if partition.phase is Phase.LIVE and partition.watermark == partition.committed:
            return 0.0
        if partition.caught_up_at is None:
            return self._age_s(partition.lacks_ms)
        return max(0.0, self._looked_at - partition.caught_up_at)

    def _set_slots(self) -> None:
        m, residence, engine = self._parts.metrics, self._parts.residence, self._parts.engine
        used = engine.slots.used
        m.capacity.set(engine.kept)
        m.used.set(used)
        m.free.set(max(0, engine.kept - used))
        m.paged.set(max(0, sum(view.instruments for view in self.views) - used))
        m.page_ins.inc(residence.page_ins - self._paged[0])
        m.page_outs.inc(residence.page_outs - self._paged[1])
        self._paged = (residence.page_ins, residence.page_outs)

    def _set_quality(self) -> None:
        m, pooled = self._parts.metrics, self._parts.board.pooled()
        m.skill.set(pooled.skill)
        m.model_share.set(pooled.model)
        for gauge, coverage in zip(self._coverage, pooled.coverage, strict=True):
            gauge.set(coverage)
        for quantile, error, age in zip(QUANTILES, pooled.relative_error, pooled.ages, strict=True):
            percentile = f"{100 * quantile:g}"
            m.relative_error.labels(percentile).set(error)
            m.ages.labels(percentile).set(age)
