"""What readers see: immutable views of the service as of its last commit.

REST, the live page and the metrics read these and nothing else; they never touch memory. Writers
(resets) append a record to the log through the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target of one instrument. Values are in the target's own unit.

    `forecast`, `lower` and `upper` (90 % interval) are for the *next* tick. `skill` is
    1 - (sum of squared errors / that of persistence), None before there is an error to compare.
    `source` is "model" or "persistence". `recent` are the last values, oldest first. `expected` is
    what had been forecast for `value`, None for the first tick.
    """

    name: str
    value: float
    forecast: float
    lower: float
    upper: float
    naive: float
    source: str
    skill: float | None
    coverage: float | None
    recent: Sequence[float] = ()
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class InstrumentView:
    """One instrument. `slot` is None while it is paged out; `ts` is in the schema's time unit.

    `offset` is that of its last tick; `as_of` is the committed offset of its partition that the
    view is from.
    """

    instrument: str
    partition: int
    slot: int | None
    ticks: int
    ts: int | float | str
    offset: int
    origin: int
    targets: Sequence[TargetView]
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page of instruments in name order, with the number that match in all."""

    instruments: Sequence[InstrumentView]
    total: int


@dataclass(frozen=True, slots=True)
class FreeRun:
    """Forecasts of the next `steps` ticks on a copy of the memory, by target name.

    `offset` and `as_of` are those of an `InstrumentView`.
    """

    instrument: str
    partition: int
    offset: int
    forecasts: dict[str, Sequence[float]]
    lower: dict[str, Sequence[float]]
    upper: dict[str, Sequence[float]]
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One owned partition: lifecycle phase, positions, and how far the snapshot is behind.

    `damage` says why exact recovery was impossible and what the policy decided; else it is empty.
    """

    partition: int
    phase: str
    committed: int
    end: int
    watermark: int
    instruments: int
    replay_done: float
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """One worker in one line, as of its last commit."""

    worker: str
    ticks: int
    forecasts: int
    rejects: int
    repeats: int
    slots: int
    slots_used: int
    instruments: int
    lag_ticks: int
    skill: float | None
    coverage: float | None
    bundle: str
    partitions: Sequence[PartitionView] = ()


@dataclass(frozen=True, slots=True)
class Readiness:
    """Ready to serve, or the reasons why not, each naming the thing and the way out.

    `notes` are what should be known although it keeps nobody from serving.
    """

    ready: bool
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ResetReceipt:
    """A reset in the log. `committed` is False when the wait for its commit timed out."""

    instrument: str | None
    partition: int
    offset: int
    committed: bool


class ResetForbidden(Exception):
    """The service may not write to the tick topic; the message gives the broker's reason."""


class LogUnavailable(Exception):
    """The log did not take the record in time; the reset may or may not be in the log."""


class UnknownPartition(Exception):
    """The tick topic has no such partition; the message lists those that it has."""


class MemoryUnavailable(Exception):
    """Nobody who may hold the instrument can be asked now; the message says why."""


class Readings(Protocol):
    """Everything the API needs of one worker. All methods may be called from any thread.

    Reading covers the partitions that this worker has live; resets cover all.
    """

    @property
    def worker(self) -> str:
        """The worker's name among its peers."""

    def live(self) -> frozenset[int]:
        """The partitions that this worker has live now."""

    def readiness(self) -> Readiness: ...

    def summary(self) -> Summary: ...

    def instruments(self, search: str = "", offset: int = 0, limit: int = 100) -> Page:
        """Instruments whose name contains `search` (case-insensitive), in name order."""

    def instrument(self, name: str) -> InstrumentView | None:
        """None if this worker does not have it. Raises `MemoryUnavailable`."""

    def free_run(self, name: str, steps: int) -> FreeRun | None:
        """None if this worker does not have it. Raises `MemoryUnavailable`."""

    def reset(self, instruments: Sequence[str], timeout_s: float) -> list[ResetReceipt]:
        """Reset these instruments; waits until committed or timed out.

        Raises `ResetForbidden`, `LogUnavailable`.
        """

    def reset_all(self, partitions: Sequence[int] | None, timeout_s: float) -> list[ResetReceipt]:
        """Reset all instruments of these partitions, or of all (None).

        Raises `ResetForbidden`, `LogUnavailable`, `UnknownPartition`.
        """

    def changed_since(self, version: int) -> tuple[int, list[InstrumentView]]:
        """Instruments that ticked after `version`, with the version to ask with next (0 = all)."""
