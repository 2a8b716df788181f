"""Prequential runs over recorded ticks, by the service's predictor: forecast, score, then learn.

    outcome = prequential(predictor, columns_of(slot, time_ns, value), slots)
    scores.skill(outcome.value - outcome.point, outcome.value - outcome.naive, outcome.scored)

Arrays in, arrays out: reading files, tables and plots are others' work. What stands in row i of an
outcome was published before tick i was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slotcast_models.columns import (
    RESET,
    TICK,
    VALID,
    Columns,
    Published,
    chosen,
)
from slotcast_models.memory import NEVER
from slotcast_models.predictor import Predictor

POLL_TICKS = 65_536

Floats = NDArray[np.float64]
ALIGNED = (
    *("valid", "scored", "naive", "point", "model", "readout", "network"),
    *("lower", "upper"),
)
"""What of an outcome is not the ticks'."""


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
    network: Floats  # [n, T]  the network alone, NaN for one that corrects
    lower: Floats  # [n, T, L]
    upper: Floats  # [n, T, L]
    rows: NDArray[np.void]  # memory after the last tick

    def at_level(self, place: int) -> Outcome:
        """The same with one interval alone: bounds are [n, T, 1]."""
        one = slice(place, place + 1)
        return replace(self, lower=self.lower[..., one], upper=self.upper[..., one])


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
    names: Sequence[str] = (),
) -> Outcome:
    """Step all ticks from fresh memory, in polls of `poll_ticks`; the size does not show.

    Entries of kind FROZEN are forecast and not learnt from: what a frozen model would have said.
    `names` are those of the instruments, by slot, for a network that knows them.
    """
    return joined(polls(predictor, ticks, slots, poll_ticks, names), ticks)


def polls(
    predictor: Predictor,
    ticks: Columns,
    slots: int,
    poll_ticks: int = POLL_TICKS,
    names: Sequence[str] = (),
) -> Iterator[Outcome]:
    """The outcome of `prequential` poll by poll, at least one, in the memory that one poll takes.

    Between two polls, whoever asks may change the predictor's program.
    """
    rows, memory = predictor.allocate(slots, names)
    before = _Before(predictor, len(rows))
    for first in range(0, max(len(ticks.slot), 1), poll_ticks):
        part: Any = slice(first, first + poll_ticks)
        poll = chosen(ticks, part)
        n = len(poll.slot)
        published, verdicts = predictor.allocate_published(n), np.zeros(n, np.int8)
        predictor.advance(memory, poll, verdicts, published)
        yield before.aligned(poll, published, verdicts, rows)


def joined(outcomes: Iterable[Outcome], ticks: Columns) -> Outcome:
    """The outcomes of polls, at least one, as that of all `ticks`."""
    n, first, columns, rows = len(ticks.slot), 0, dict[str, Any](), None
    for part in outcomes:
        for name in ALIGNED:
            found = getattr(part, name)
            if name not in columns:
                columns[name] = np.empty((n, *found.shape[1:]), found.dtype)
            columns[name][first : first + len(found)] = found
        first, rows = first + len(part.slot), part.rows
    assert rows is not None, "no polls"
    value = ticks.value[:, : columns["naive"].shape[1]]
    return Outcome(slot=ticks.slot, time_ns=ticks.time_ns, value=value, rows=rows, **columns)


class _Before:
    """What each slot's last tick was and published, from poll to poll."""

    def __init__(self, predictor: Predictor, slots: int) -> None:
        self._published = predictor.allocate_published(slots)
        self._value = np.zeros((slots, predictor.layout.targets))
        self._ticked = np.zeros(slots, np.bool_)

    def aligned(
        self,
        ticks: Columns,
        published: Published,
        verdicts: NDArray[np.int8],
        rows: NDArray[np.void],
    ) -> Outcome:
        """Put beside each tick what its instrument's tick before was and published."""
        valid = (verdicts == VALID) & (ticks.kind != RESET)
        before = previous_ticks(ticks.slot, valid)
        due = valid & published.scored
        here, earlier = due & (before >= 0), due & (before < 0) & self._ticked[ticks.slot]
        at, slot, old = before[here], ticks.slot[earlier], self._published
        value = ticks.value[:, : self._value.shape[1]]

        def moved(column: NDArray[Any], carried: NDArray[Any], absent: Any = np.nan) -> Any:
            found = np.full(column.shape, absent, column.dtype)
            found[here], found[earlier] = column[at], carried[slot]
            return found

        outcome = Outcome(
            slot=ticks.slot,
            time_ns=ticks.time_ns,
            value=value,
            valid=valid,
            scored=here | earlier,
            naive=moved(value, self._value),
            point=moved(published.point, old.point),
            model=moved(published.model, old.model, False),
            readout=moved(published.readout, old.readout),
            network=moved(published.network, old.network),
            lower=moved(published.lower, old.lower),
            upper=moved(published.upper, old.upper),
            rows=rows,
        )
        self._take(ticks.slot, np.flatnonzero(valid), value, published)
        return outcome

    def _take(
        self, slot: NDArray[np.int64], valid: NDArray[np.int64], value: Floats, published: Published
    ) -> None:
        slot = slot[valid]  # of several ticks of a slot the last one stays
        self._ticked[slot], self._value[slot] = True, value[valid]
        for carried, column in zip(self._published, published, strict=True):
            carried[slot] = column[valid]


def previous_ticks(slot: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of the valid tick before each valid tick of the same slot, -1 where there is none."""
    found = np.full(len(slot), -1, np.int64)
    order = np.flatnonzero(valid)
    order = order[np.argsort(slot[order], kind="stable")]
    same = slot[order[1:]] == slot[order[:-1]]
    found[order[1:][same]] = order[:-1][same]
    return found
