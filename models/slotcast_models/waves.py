"""A poll, stepped wave by wave: judge, split, and around each network step the two halves of fold.

A wave holds at most one tick per instrument, so that one batched network step can serve it. Where a
wave begins and ends never shows in a forecast. One compiled call steps a whole poll; for the
network it calls back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast_models.callback import succeeds
from slotcast_models.columns import VALID, Columns, Plan, Published, judge
from slotcast_models.compiled import compiled
from slotcast_models.fold import after, before
from slotcast_models.memory import Memory
from slotcast_models.step import Stage


class Scratch(NamedTuple):
    """Room to split n entries of some slots into waves, since compiled loops allocate nothing."""

    seen: NDArray[np.int64]  # [slots] zero between calls
    place: NDArray[np.int64]  # [n] each entry's wave
    order: NDArray[np.int64]  # [n] entries by wave
    starts: NDArray[np.int64]  # [n + 2] wave w is order[starts[w]:starts[w + 1]]


def allocate_scratch(entries: int, slots: int) -> Scratch:
    """Room for this many."""
    return Scratch(
        seen=np.zeros(slots, np.int64),
        place=np.empty(entries, np.int64),
        order=np.empty(entries, np.int64),
        starts=np.empty(entries + 2, np.int64),
    )


@compiled
def split_into_waves(slot: NDArray[np.int64], verdicts: NDArray[np.int8], scratch: Scratch) -> int:
    """Split the VALID entries: wave w holds each slot's w-th, in offset order.

    Returns the number of waves; the waves themselves are in `scratch.order` and `scratch.starts`.
    """
    seen, place, order, starts = scratch
    waves = 0
    for i in range(slot.shape[0]):
        if verdicts[i] == VALID:
            place[i] = seen[slot[i]]
            seen[slot[i]] += 1
            waves = max(waves, seen[slot[i]])
    starts[: waves + 2] = 0
    for i in range(slot.shape[0]):
        if verdicts[i] == VALID:
            seen[slot[i]] = 0
            starts[place[i] + 2] += 1
    for w in range(waves):
        starts[w + 2] += starts[w + 1]
    for i in range(slot.shape[0]):  # starts[w + 1] runs from the begin of wave w to its end
        if verdicts[i] == VALID:
            order[starts[place[i] + 1]] = i
            starts[place[i] + 1] += 1
    return waves


@compiled
def step_wave(
    memory: Memory,
    plan: Plan,
    columns: Columns,
    wave: NDArray[np.int64],
    published: Published,
    stage: Stage,
    network: Any,
) -> bool:
    """Step the entries `wave`, of as many slots; False if the network failed.

    `stage` has one row per tick here; `network` is the handle of a callback that steps its rows.
    """
    room = stage.x.shape[0]
    for first in range(0, wave.shape[0], room):
        part = wave[first : first + room]
        before(memory, plan, columns, part, published, stage.x, stage.row)
        if not succeeds(network, part.shape[0]):
            return False
        after(memory, plan, columns, part, stage.y, stage.row_next, published)
    return True


@compiled
def step_columns(
    memory: Memory,
    plan: Plan,
    columns: Columns,
    verdicts: NDArray[np.int8],
    published: Published,
    scratch: Scratch,
    stage: Stage,
    network: Any,
) -> int:
    """Judge and step all columns; returns the number of waves that were stepped."""
    judge(memory, columns, verdicts)
    waves = split_into_waves(columns.slot, verdicts, scratch)
    for w in range(waves):
        wave = scratch.order[scratch.starts[w] : scratch.starts[w + 1]]
        if not step_wave(memory, plan, columns, wave, published, stage, network):
            return w
    return waves
