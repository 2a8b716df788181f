"""Prequential runs over recorded ticks, by the service's predictor: forecast, score, then learn.

    outcome = prequential(predictor, columns_of(slot, time_ns, value), slots)
    scores.skill(outcome.value - outcome.point, outcome.value - outcome.naive, outcome.scored)

Arrays in, arrays out: reading files, tables and plots are others' work. What stands in row i of an
outcome was published before tick i was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slotcast_models.columns import (
    FREE,
    RESET,
    TICK,
    VALID,
    Columns,
    Published,
    chosen,
)
from slotcast_models.memory import NEVER, Memory
from slotcast_models.predictor import Predictor

POLL_TICKS = 65_536

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """By tick: what came, and what had been forecast for it in the targets' own units.

    Forecasts are NaN, and `scored` is False, where none was pending: the first tick of an
    instrument, one after a gap or a reset, one that was no valid tick.
    """

    slot: NDArray[np.int64]  # [n]
    time_ns: NDArray[np.int64]  # [n]
    value: Floats  # [n, T]
    valid: NDArray[np.bool_]  # [n]  False: late, a repeat, or a reset
    scored: NDArray[np.bool_]  # [n]
    naive: Floats  # [n, T]
    point: Floats  # [n, T]
    model: NDArray[np.bool_]  # [n, T]  False: persistence was published
    readout: Floats  # [n, T]  the readout alone, without second stage and gate
    network: Floats  # [n, T]  the network alone
    lower: Floats  # [n, T, L]
    upper: Floats  # [n, T, L]
    rows: NDArray[np.void]  # memory after the last tick


def columns_of(slot: ArrayLike, time_ns: ArrayLike, value: ArrayLike) -> Columns:
    """Ticks in order as columns; `value` is [n, Q], targets first, NaN for a missing feature."""
    values = np.ascontiguousarray(value, np.float64)
    n = len(values)
    return Columns(
        slot=np.array(np.broadcast_to(slot, n), np.int64),
        kind=np.full(n, TICK, np.int8),
        time_ns=np.array(np.broadcast_to(time_ns, n), np.int64),
        sequence=np.full(n, NEVER, np.int64),
        offset=np.arange(n),
        value=values.reshape(n, -1),
        step_ns=np.zeros(n, np.int64),
    )


def prequential(
    predictor: Predictor,
    ticks: Columns,
    slots: int,
    poll_ticks: int = POLL_TICKS,
    between: Callable[[Memory, int], None] | None = None,
    names: Sequence[str] = (),
) -> Outcome:
    """Step all ticks from fresh memory, in polls of `poll_ticks`; the size does not show.

    Entries of kind FREE are forecast but not learnt from: what a frozen model would have said.

    `between(memory, seen)` is called after each poll with the number of ticks seen so far: the
    place for a learner of network weights, which may change the predictor's program. `names` are
    those of the instruments, by slot, for a network that knows them.
    """
    rows, memory = predictor.allocate(max(slots, 2), names)  # one slot alone is compiled anew
    n, layout = len(ticks.slot), predictor.layout
    published = predictor.allocate_published(n)
    verdicts = np.zeros(n, np.int8)
    for first in range(0, n, poll_ticks):
        poll = slice(first, first + poll_ticks)
        predictor.advance(
            memory,
            chosen(ticks, poll),
            verdicts[poll],
            chosen(published, poll),
        )
        if between is not None:
            between(memory, min(poll.stop, n))
    return _aligned(ticks, published, verdicts, rows, layout.targets)


def _aligned(
    ticks: Columns,
    published: Published,
    verdicts: NDArray[np.int8],
    rows: NDArray[np.void],
    targets: int,
) -> Outcome:
    """Put beside each tick what its instrument's last tick published."""
    valid = (verdicts == VALID) & (ticks.kind != RESET)
    before = previous_ticks(ticks.slot, valid)
    known = (published.scored | (ticks.kind == FREE)) & (before >= 0)
    at = before[known]
    value = ticks.value[:, :targets]

    def moved(source: Floats) -> Floats:
        found = np.full(source.shape, np.nan)
        found[known] = source[at]
        return found

    model = np.zeros(value.shape, np.bool_)
    model[known] = published.model[at]
    return Outcome(
        slot=ticks.slot,
        time_ns=ticks.time_ns,
        value=value,
        valid=valid,
        scored=known,
        naive=moved(value),
        point=moved(published.point),
        model=model,
        readout=moved(published.readout),
        network=moved(published.network),
        lower=moved(published.lower),
        upper=moved(published.upper),
        rows=rows,
    )


def previous_ticks(slot: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of the valid tick before each valid tick of the same slot, -1 where there is none."""
    found = np.full(len(slot), -1, np.int64)
    order = np.flatnonzero(valid)
    order = order[np.argsort(slot[order], kind="stable")]
    same = slot[order[1:]] == slot[order[:-1]]
    found[order[1:][same]] = order[:-1][same]
    return found
