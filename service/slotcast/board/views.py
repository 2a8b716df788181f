"""What readers see: immutable views of the service as of its last commit.

REST, the live page and the metrics read these and nothing else; they never touch memory. Writers
(resets) append a record to the log through the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target of one instrument. Values are in the target's own unit.

    `forecast`, `lower` and `upper` (90 % interval) are for the *next* tick. `skill` is
    1 - (sum of squared errors / that of persistence), None before there is an error to compare.
    `source` is "model" or "persistence". `expected` is what had been forecast for `value`, None for
    the first tick. `recent` are the last values, oldest first, one per commit; beside them stand
    what had been forecast for each and its interval, NaN where nothing had been.
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
    recent_expected: Sequence[float] = ()
    recent_lower: Sequence[float] = ()
    recent_upper: Sequence[float] = ()


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


Sort = Literal["name", "value", "forecast", "width", "skill", "coverage", "ticks", "slot"]
"""What a list of instruments may be sorted by; of several targets the first counts."""
Measure = Literal["skill", "coverage"]
"""What a slot map may show."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which instruments to list, in which order, and which part of the list.

    Those whose name contains `search` in any case, and that hold `slot` if it is given. What has no
    value for `sort` comes last either way.
    """

    search: str = ""
    slot: int | None = None
    sort: Sort = "name"
    descending: bool = False
    offset: int = 0
    limit: int = 100


FIRST = Window()
"""The first hundred in name order."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of instruments, with the number that match in all."""

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
class SlotMap:
    """One character per slot: `.` nobody, `?` nothing to show yet, else a level from A to Y.

    M is `middle`, Y is `middle` + `reach` and above, A is `middle` - `reach` and below.
    """

    measure: Measure
    middle: float
    reach: float
    cells: str


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One owned partition: lifecycle phase, positions, and how far the snapshot is behind.

    `snapshot_age_s` is the time since the snapshot last held all that was committed, None where it
    never did, or nobody knows. `damage` says why exact recovery was impossible and what the policy
    decided; else it is empty.
    """

    partition: int
    phase: str
    committed: int
    end: int
    watermark: int
    instruments: int
    replay_done: float
    snapshot_age_s: float | None = None
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

    def instruments(self, window: Window = FIRST) -> Page:
        """The instruments that the window asks for."""

    def slot_map(self, measure: Measure) -> SlotMap:
        """The slots as a picture."""

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
