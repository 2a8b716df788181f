"""Seasons: what a target did one season ago, and how wide its errors are at this phase.

A row keeps a ring of past values, indexed by step: the tick's time in the schema's `step_ms`, or
the number of ticks where there is none. Each cell says which step it holds, so a step without a
tick is no value, and never another step's. The next tick is taken to be one step ahead. What is
not known (yet) is 0 among the features, which reads "no change".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import KNOWN_STEPS, STEP, Memory, U
from slotcast_models.rules import FoldRules
from slotcast_models.scaling import INPUT_LIMIT, clip

BINS = 24
"""Phases of the shortest season that have an error scale of their own."""
PROFILE_LIMIT = 36.0
NARROWEST, WIDEST = 0.1, 10.0


class Seasons(NamedTuple):
    """The declared seasons, as the compiled loops read them."""

    step_ns: int  # 0: steps are ticks
    length: int  # of the shortest season in steps, 0 without seasons
    lookbacks: NDArray[np.int64]  # [K] steps to look back from the next tick, rising
    reach: int
    repeats: int  # shortest seasons that the mean is over
    waves: NDArray[np.float64]  # [length, 2 * harmonics] sine and cosine of each phase

    @property
    def ring(self) -> int:
        """Values that a row has to keep per target."""
        longest = max(int(self.lookbacks[-1]), self.repeats * self.length) if self.length else 0
        return longest + self.reach + 1 if self.length else 0

    @property
    def bins(self) -> int:
        """Phases with an error scale of their own."""
        return min(BINS, self.length)

    @property
    def features(self) -> int:
        """Readout features per target: changes and level per lookback, mean changes, waves."""
        if not self.length:
            return 0
        changes = 2 * self.reach + 1
        return len(self.lookbacks) * (changes + 1) + changes + int(self.waves.shape[1])


def declared(lengths: Sequence[int], step_ms: int | None, rules: FoldRules) -> Seasons:
    """Seasons of these lengths in steps, rising; none at all for an empty sequence."""
    shortest = lengths[0] if lengths else 0
    angles = [2.0 * math.pi * h / max(shortest, 1) for h in range(1, rules.harmonics + 1)]
    waves = [
        [wave(phase * angle) for angle in angles for wave in (math.sin, math.cos)]
        for phase in range(shortest)
    ]
    return Seasons(
        step_ns=(step_ms or 0) * 1_000_000,
        length=shortest,
        lookbacks=np.array(lengths, np.int64),
        reach=rules.season_reach,
        repeats=lengths[-1] // shortest if len(lengths) > 1 else rules.season_repeats,
        waves=np.array(waves).reshape(shortest, 2 * rules.harmonics if lengths else 0),
    )


@compiled
def step_of(time_ns: int, step_ns: int) -> int:
    """The step nearest to a time."""
    whole = time_ns // step_ns
    return whole + 1 if 2 * (time_ns - whole * step_ns) >= step_ns else whole


@compiled
def take_step(memory: Memory, slot: int, time_ns: int, free: bool, seasons: Seasons) -> bool:
    """Count the tick's step and put its targets into the ring; a free run goes step by step.

    Returns whether the ring holds the longest season from this tick on, and did not before.
    """
    count, ring_step = memory.counts[slot], memory.ring_step[slot]
    if seasons.length == 0:
        return False
    last = count[STEP]
    if free or seasons.step_ns == 0:
        count[STEP] += 1
    else:
        count[STEP] = step_of(time_ns, seasons.step_ns)
    cell = count[STEP] % ring_step.shape[0]
    ring_step[cell] = count[STEP]
    for j in range(memory.ring.shape[1]):
        memory.ring[slot, j, cell] = memory.quantity[slot, j, U]
    return comes_into_reach(count, count[STEP] - last, ring_step.shape[0], seasons)


@compiled
def comes_into_reach(count: NDArray[np.int64], passed: int, ring: int, seasons: Seasons) -> bool:
    """Count one more step, `passed` after the last; whether that makes a whole longest season.

    True once in a row's life. Steps are counted that had a tick: not ticks, of which a step may
    have many, nor time, which may have holes. A hole as long as the ring empties it.
    """
    whole = seasons.lookbacks[seasons.lookbacks.shape[0] - 1] + seasons.reach + 1
    known = count[KNOWN_STEPS]
    if known == whole or (known > 0 and passed == 0):
        return False
    count[KNOWN_STEPS] = known + 1 if passed < ring else 1
    return count[KNOWN_STEPS] == whole  # type: ignore[no-any-return]


@compiled
def shift_ring(memory: Memory, slot: int, j: int, change: float) -> None:
    """Move the past of target `j` along with a level break, so that a season ago compares."""
    for i in range(memory.ring.shape[2]):
        memory.ring[slot, j, i] += change


@compiled
def past(memory: Memory, slot: int, j: int, step: int) -> float:
    """The value of target `j` (in u) at that step; NaN if there was no tick or it is too old."""
    cell = step % memory.ring_step.shape[1]
    return memory.ring[slot, j, cell] if memory.ring_step[slot, cell] == step else math.nan


@compiled
def scaled_if_known(change: float, scale: float) -> float:
    """A change in scales, clipped; 0 for one that is not known."""
    if math.isnan(change) or scale == 0.0:
        return 0.0
    return clip(change / scale, INPUT_LIMIT)


@compiled
def change_at(memory: Memory, slot: int, j: int, step: int) -> float:
    """The change of target `j` (in u) from the step before to that step; NaN if not known."""
    ring_step = memory.ring_step[slot]
    cell = step % ring_step.shape[0]
    before = cell - 1 if cell > 0 else ring_step.shape[0] - 1
    if ring_step[cell] != step or ring_step[before] != step - 1:
        return math.nan
    return memory.ring[slot, j, cell] - memory.ring[slot, j, before]  # type: ignore[no-any-return]


@compiled
def mean_change(memory: Memory, slot: int, j: int, step: int, seasons: Seasons) -> float:
    """The mean change at the phase of `step`, over the shortest seasons before; NaN if not known.

    A longer season says which day it is, the mean what days have in common.
    """
    total, known = 0.0, 0
    for i in range(1, seasons.repeats + 1):
        change = change_at(memory, slot, j, step - i * seasons.length)
        if not math.isnan(change):
            total += change
            known += 1
    return total / known if known > 0 else math.nan


@compiled
def season_features(
    memory: Memory, slot: int, j: int, scale: float, place: int, seasons: Seasons
) -> int:
    """Write the features of target `j` from `place` on; returns the place after them.

    Per lookback: the changes around the one at the next tick's phase, oldest first, and how far
    the value at that phase was from where the target is now. Then the mean changes around that
    phase, and the phase as waves.
    """
    features = memory.features[slot, j]
    following, reach = memory.counts[slot, STEP] + 1, seasons.reach
    for i in range(seasons.lookbacks.shape[0]):
        phase = following - seasons.lookbacks[i]
        for step in range(phase - reach, phase + reach + 1):
            features[place] = scaled_if_known(change_at(memory, slot, j, step), scale)
            place += 1
        level = past(memory, slot, j, phase) - memory.quantity[slot, j, U]
        features[place] = scaled_if_known(level, scale)
        place += 1
    if seasons.length > 0:
        for step in range(following - reach, following + reach + 1):
            change = mean_change(memory, slot, j, step, seasons)
            features[place] = scaled_if_known(change, scale)
            place += 1
    for i in range(seasons.waves.shape[1]):
        features[place] = seasons.waves[following % seasons.length, i]
        place += 1
    return place


@compiled
def bin_of(memory: Memory, slot: int, seasons: Seasons) -> int:
    """The bin of the next tick's phase."""
    phase = (memory.counts[slot, STEP] + 1) % seasons.length
    return phase * memory.profile.shape[2] // seasons.length  # type: ignore[no-any-return]


@compiled
def learn_profile(profile: NDArray[np.float64], at: int, z: float, rate: float) -> None:
    """Widen or narrow bin `at` by one error `z`, in the error scale of its phase; the mean is 1."""
    square = min(z * z, PROFILE_LIMIT)
    wider = profile[at] * (1.0 + 0.5 * rate * (square - 1.0))
    profile[at] = max(NARROWEST, min(WIDEST, wider))
    total = 0.0
    for i in range(profile.shape[0]):
        total += profile[i]
    for i in range(profile.shape[0]):
        profile[i] *= profile.shape[0] / total
