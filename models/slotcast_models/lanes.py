"""Sequences laid side by side in lanes, so that one update learns from many at once.

A lane holds one sequence after the other, each in its own order, with a mark where it begins: there
the carried row is fresh. Nothing is shuffled, and nothing here could: ticks of a sequence stay
neighbours in one lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slotcast_models.recording import Sequence

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lanes:
    """Lanes of equal length; what is beyond a lane's last tick has no label."""

    x: Floats  # [lanes, steps, inputs]
    label: Floats  # [lanes, steps, targets]
    start: Floats  # [lanes, steps]
    source: NDArray[np.int64]  # [lanes, steps]  index of the sequence, -1 beyond the last tick
    entry: NDArray[np.int64]  # [lanes, steps]  the tick's index among all, -1 beyond

    @property
    def steps(self) -> int:
        """Ticks of the longest lane."""
        return int(self.x.shape[1])


def lay(sequences: list[Sequence], most_lanes: int, window: int = 1, stride: int = 1) -> Lanes:
    """At most `most_lanes` lanes: each sequence, the longest first, joins the shortest lane.

    Lanes are as long as it takes for windows, `stride` apart, to cover every tick.
    """
    lanes: list[list[int]] = [[] for _ in range(min(most_lanes, len(sequences)))]
    lengths = np.zeros(len(lanes), np.int64)
    for i in sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].x), i)):
        shortest = int(lengths.argmin())
        lanes[shortest].append(i)
        lengths[shortest] += len(sequences[i].x)
    steps = window + max(0, -(-(int(lengths.max()) - window) // stride)) * stride
    shape = (len(lanes), steps)
    laid = Lanes(
        x=np.zeros((*shape, sequences[0].x.shape[1]), np.float32),
        label=np.full((*shape, sequences[0].label.shape[1]), np.nan, np.float32),
        start=np.zeros(shape, np.float32),
        source=np.full(shape, -1, np.int64),
        entry=np.full(shape, -1, np.int64),
    )
    for lane, members in enumerate(lanes):
        first = 0
        for i in members:
            sequence = sequences[i]
            here = (lane, slice(first, first + len(sequence.x)))
            laid.x[here], laid.label[here] = sequence.x, sequence.label
            laid.source[here], laid.entry[here] = i, sequence.entry
            laid.start[lane, first] = 1.0
            first += len(sequence.x)
    return laid


def cut_at(sequences: list[Sequence], entry: int) -> list[Sequence]:
    """What of the sequences lies before the tick `entry`; those that begin later are left out."""
    kept = []
    for sequence in sequences:
        n = int(np.searchsorted(sequence.entry, entry))
        if n > 1:
            kept.append(_part(sequence, 0, n))
    return kept


def segments(sequences: list[Sequence], most_ticks: int) -> Iterator[Sequence]:
    """The sequences, long ones cut into pieces that each begin from a fresh row."""
    for sequence in sequences:
        pieces = -(-len(sequence.x) // most_ticks)
        edges = np.linspace(0, len(sequence.x), pieces + 1).astype(int).tolist()
        for first, last in pairwise(edges):
            yield _part(sequence, first, last)


def _part(sequence: Sequence, first: int, last: int) -> Sequence:
    """Ticks `first` to `last`; the last one's label would need the tick after it."""
    label = sequence.label[first:last].copy()
    if last < len(sequence.x):
        label[-1] = np.nan
    part = slice(first, last)
    return Sequence(sequence.name, sequence.entry[part], sequence.x[part], label)
