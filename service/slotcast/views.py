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
    """Forecasts of the next `steps` ticks on a copy of the memory, by target name."""

    instrument: str
    partition: int
    offset: int
    forecasts: dict[str, Sequence[float]]
    lower: dict[str, Sequence[float]]
    upper: dict[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One owned partition: lifecycle phase, positions, and how far the snapshot is behind."""

    partition: int
    phase: str
    committed: int
    end: int
    watermark: int
    instruments: int
    replay_done: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The service in one line, as of the last commit."""

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
    """Ready to serve, or the reasons why not, each naming the thing and the way out."""

    ready: bool
    reasons: Sequence[str] = ()


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


class Readings(Protocol):
    """Everything the API needs of the service. All methods may be called from any thread."""

    def readiness(self) -> Readiness: ...

    def summary(self) -> Summary: ...

    def instruments(self, search: str = "", offset: int = 0, limit: int = 100) -> Page:
        """Instruments whose name contains `search` (case-insensitive), in name order."""

    def instrument(self, name: str) -> InstrumentView | None: ...

    def free_run(self, name: str, steps: int) -> FreeRun | None: ...

    def reset(self, instruments: Sequence[str] | None, timeout_s: float) -> list[ResetReceipt]:
        """Reset these instruments, or all of them (None); waits until committed or timed out.

        Raises `ResetForbidden`, `LogUnavailable`.
        """

    def changed_since(self, version: int) -> tuple[int, list[InstrumentView]]:
        """Instruments that ticked after `version`, with the version to ask with next (0 = all)."""
