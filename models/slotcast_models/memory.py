"""Memory: all that a slot carries between ticks, as one row of fixed layout.

Rows are a numpy structured array, so a row's bytes are one slice; `Memory` names its fields as
strided arrays for the compiled loops (`memory.target[slot, j, POINT]`). Scalars of one kind share
an array and are found by the index constants below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# memory.quantity[slot, q, .]: per quantity (targets first, then features). "u" is the value, or its
# logarithm where the schema says so; scales and levels are in units of u.
VALUE, U, CHANGE, SCALE_SUM, SCALE_WEIGHT, BUSY_SUM, BUSY_WEIGHT, LEVEL, PRESENT, CHANGES = range(
    10
)
QUANTITY_FIELDS = 10
UNSEEN, HERE, MISSING, LOST = 0.0, 1.0, -1.0, -2.0
"""What PRESENT says: no tick had the quantity yet, the last one has it, the last one lacks it, it
has been missing since before a gap."""

# memory.target[slot, j, .]: per target. The first block is the pending forecast.
POINT, BASE, CANDIDATE, SCALE, ERROR_SCALE, MODEL = range(6)
ERROR_SUM, ERROR_WEIGHT, STAGE, STAGE_P, GATE_SUM, GATE_SQUARES, GATE_WEIGHT, GATE_WEIGHT2 = range(
    6, 14
)
SQUARED_ERROR, SQUARED_NAIVE, ABSOLUTE_ERROR, ABSOLUTE_NAIVE, PUBLISHED = range(14, 19)
SMOOTH, LEAN, LEAN_P, STAGE_LEAN_P = range(19, 23)  # of the pending forecast; of the second stage
OUTPUT, TRUST, TRUST_P = range(
    23, 26
)  # the network's, of the pending forecast; how far to trust it
TARGET_FIELDS = 26

# memory.pace[slot, .]: nanoseconds between ticks.
STEP_NS, MEDIAN_NS = range(2)

# memory.counts[slot, .]: whole numbers.
TIME, SEQUENCE, TICKS, APPLIED, ORIGIN, PENDING, SCORED, GAPS, BREAKS, MARK_A, MARK_B = range(11)
STEP = 11  # of the last tick, counted in the schema's `step_ms`, or in ticks
KNOWN_STEPS = 12  # steps that the ring was told of, counted until it holds the longest season
COUNT_FIELDS = 13

# memory.share[slot, .]: fingerprint share now, and at the offsets MARK_A and MARK_B.
SHARE, SHARE_A, SHARE_B = range(3)

NEVER = -(2**63)
"""Time or sequence number before the first tick."""


class Memory(NamedTuple):
    """The fields of all rows, as strided views of one buffer; the first axis is the slot."""

    net: NDArray[np.float32]  # [slots, rows * width]     network rows
    inputs: NDArray[np.float32]  # [slots, history, inputs]  last network inputs, a ring
    vector: NDArray[np.float32]  # [slots, vector]        the instrument's, learnt in training
    quantity: NDArray[np.float64]  # [slots, Q, QUANTITY_FIELDS]
    target: NDArray[np.float64]  # [slots, T, TARGET_FIELDS]
    smoothers: NDArray[np.float64]  # [slots, T, 2, S]          levels in u, and their losses
    lags: NDArray[np.float64]  # [slots, T, lags]          own changes, newest first, in u
    weights: NDArray[np.float64]  # [slots, T, R]             readout
    cov: NDArray[np.float64]  # [slots, T, R, R]          readout covariance
    features: NDArray[np.float64]  # [slots, T, R]             of the pending forecast
    quantiles: NDArray[np.float64]  # [slots, T, 2, L]          trackers, in error scales
    bounds: NDArray[np.float64]  # [slots, T, 2, L]          of the pending forecast, in u
    covered: NDArray[np.int64]  # [slots, T, L]
    ring: NDArray[np.float64]  # [slots, T, ring]         past values in u, by step modulo ring
    ring_step: NDArray[np.int64]  # [slots, ring]            the step that a cell holds
    profile: NDArray[np.float64]  # [slots, T, bins]         error scale by phase, around 1
    extra: NDArray[np.float64]  # [slots, T, extras]       what the head says beside the change
    pace: NDArray[np.float64]  # [slots, 2]
    counts: NDArray[np.int64]  # [slots, COUNT_FIELDS]
    share: NDArray[np.uint64]  # [slots, 3]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes that fix a row.

    `ring` and `bins` are 0 where no season is declared, `extras` where the head gives the change
    alone, `vector` where the network knows no instrument from another.
    """

    net: int
    history: int
    inputs: int
    quantities: int
    targets: int
    lags: int
    features: int
    levels: int
    ring: int = 0
    bins: int = 0
    extras: int = 0
    smoothers: int = 0
    vector: int = 0

    def dtype(self) -> np.dtype[np.void]:
        """One row, 8-byte aligned throughout."""
        t, r, n = self.targets, self.features, self.levels
        fields = [
            ("net", "<f4", (self.net,)),
            ("inputs", "<f4", (self.history, self.inputs)),
            ("vector", "<f4", (self.vector,)),
            ("quantity", "<f8", (self.quantities, QUANTITY_FIELDS)),
            ("target", "<f8", (t, TARGET_FIELDS)),
            ("smoothers", "<f8", (t, 2, self.smoothers)),
            ("lags", "<f8", (t, self.lags)),
            ("weights", "<f8", (t, r)),
            ("cov", "<f8", (t, r, r)),
            ("features", "<f8", (t, r)),
            ("quantiles", "<f8", (t, 2, n)),
            ("bounds", "<f8", (t, 2, n)),
            ("covered", "<i8", (t, n)),
            ("ring", "<f8", (t, self.ring)),
            ("ring_step", "<i8", (self.ring,)),
            ("profile", "<f8", (t, self.bins)),
            ("extra", "<f8", (t, self.extras)),
            ("pace", "<f8", (2,)),
            ("counts", "<i8", (COUNT_FIELDS,)),
            ("share", "<u8", (3,)),
        ]
        return np.dtype(fields, align=True)

    def allocate(self, slots: int) -> tuple[NDArray[np.void], Memory]:
        """Zeroed rows for `slots` slots, and their fields."""
        rows = np.zeros(slots, self.dtype())
        return rows, view(rows)


def view(rows: NDArray[np.void]) -> Memory:
    """The fields of structured rows."""
    return Memory(*(rows[name] for name in Memory._fields))
