"""A poll as columns: what goes into the fold, what comes out, and the verdict on each tick.

Columns are in offset order. Resets stand among the ticks, at their place in the log.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import APPLIED, NEVER, SEQUENCE, TIME, Memory
from slotcast_models.seasons import Seasons

TICK, RESET, FREE, IMPORT, FROZEN = range(5)
"""Kinds of column entries: a tick, an instrument's reset, a step of a free run (one step after the
last, learns nothing), an import, and a recorded tick that nothing is learnt from. Imports are no
business of the compiled loops: see imports.py."""

VALID, LATE, REPEAT, APPLIED_BEFORE = range(4)
"""Verdicts of `judge`."""


class Columns(NamedTuple):
    """Ticks (and resets) in offset order, as columns of length n."""

    slot: NDArray[np.int64]
    kind: NDArray[np.int8]
    time_ns: NDArray[np.int64]
    sequence: NDArray[np.int64]
    offset: NDArray[np.int64]
    value: NDArray[np.float64]  # [n, Q], targets first; NaN where a feature is missing
    step_ns: NDArray[np.int64]  # since the instrument's last tick, -1 for none; filled by `judge`


class Published(NamedTuple):
    """What the fold says of each column. Values are in the targets' own units.

    Only `point`, `lower`, `upper` and `extra` are the forecast; `readout` and `network` are what
    these two would have forecast alone, for comparisons. A network that corrects says nothing of
    the next value alone: NaN. `label` is for training: a scaled change, NaN where the tick is not
    learnt from.
    """

    point: NDArray[np.float64]  # [n, T]
    lower: NDArray[np.float64]  # [n, T, L]
    upper: NDArray[np.float64]  # [n, T, L]
    model: NDArray[np.bool_]  # [n, T]  False: persistence is published
    skill: NDArray[np.float64]  # [n, T]  NaN before there is an error of persistence
    ticks: NDArray[np.int64]  # [n]
    origin: NDArray[np.int64]  # [n]
    scored: NDArray[np.bool_]  # [n]  whether this tick is what the forecast before it was about
    readout: NDArray[np.float64]  # [n, T]
    network: NDArray[np.float64]  # [n, T]
    extra: NDArray[np.float64]  # [n, T, extras]  the head's quantiles or class probabilities
    label: NDArray[np.float64]  # [n, T]  what the network should have said at the tick before


class Plan(NamedTuple):
    """What the loops need of the bundle."""

    rules: NDArray[np.float64]
    levels: NDArray[np.float64]
    start: NDArray[np.float64]  # [2, L] trackers of a fresh row
    wider: NDArray[np.float64]  # [FEW_ERRORS, L] how much bounds are, while errors are few
    rates: NDArray[np.float64]  # [S] of the smoothers
    log: NDArray[np.bool_]  # [Q]
    gain: NDArray[np.float64]  # [R] scratch of the readout
    per_target: bool  # one network row per target with its own inputs, or one per instrument
    siblings: int  # quantities beside the target that its readout sees
    phases: int  # waves among the network's inputs
    seasons: Seasons
    corrects: bool  # the network is told what the readout says, and corrects it
    quantiles: bool  # the extra outputs are quantiles of the change, not probabilities


Entries = TypeVar("Entries", Columns, Published)


@compiled
def judge(memory: Memory, columns: Columns, verdicts: NDArray[np.int8]) -> None:
    """Verdicts in offset order; takes time, sequence and applied offset into memory.

    The sequence number is judged before the time; a reset forgets both.
    """
    for i in range(columns.slot.shape[0]):
        count = memory.counts[columns.slot[i]]
        verdicts[i] = VALID
        if columns.offset[i] <= count[APPLIED]:
            verdicts[i] = APPLIED_BEFORE
        elif columns.kind[i] == RESET:
            count[TIME], count[SEQUENCE] = NEVER, NEVER
            count[APPLIED] = columns.offset[i]
        elif columns.sequence[i] != NEVER and columns.sequence[i] <= count[SEQUENCE]:
            verdicts[i] = REPEAT
        elif columns.time_ns[i] < count[TIME]:
            verdicts[i] = LATE
        else:
            known = count[TIME] != NEVER
            columns.step_ns[i] = columns.time_ns[i] - count[TIME] if known else -1
            count[TIME], count[APPLIED] = columns.time_ns[i], columns.offset[i]
            if columns.sequence[i] != NEVER:
                count[SEQUENCE] = columns.sequence[i]


def allocate_published(n: int, targets: int, levels: int, extras: int = 0) -> Published:
    """Output columns for n ticks: zeros, and no label yet."""
    return Published(
        point=np.zeros((n, targets)),
        lower=np.zeros((n, targets, levels)),
        upper=np.zeros((n, targets, levels)),
        model=np.zeros((n, targets), dtype=np.bool_),
        skill=np.zeros((n, targets)),
        ticks=np.zeros(n, dtype=np.int64),
        origin=np.zeros(n, dtype=np.int64),
        scored=np.zeros(n, dtype=np.bool_),
        readout=np.zeros((n, targets)),
        network=np.zeros((n, targets)),
        extra=np.zeros((n, targets, extras)),
        label=np.full((n, targets), np.nan),
    )


def chosen(columns: Entries, entries: Any) -> Entries:
    """The same columns for these entries (indices or a slice)."""
    return type(columns)(*(column[entries] for column in columns))
