"""Made-up sets of ticks for the tests of benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import PRICE, SECOND_NS, Ticks
from slotcast_models.schema import TickSchema

WALK = TickSchema(targets=(PRICE,), kind="price")


def side_by_side(schema: TickSchema, series: NDArray[np.float64]) -> Ticks:
    """Series [ticks, instruments], one tick a second."""
    n, slots = series.shape
    time_ns = np.repeat(np.arange(n) * SECOND_NS, slots)
    return Ticks(schema, np.tile(np.arange(slots), n), time_ns, series.reshape(-1, 1))
