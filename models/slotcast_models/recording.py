"""What a network would see and should say, tick by tick: recorded by running the fold itself.

A `Watcher` is a predictor that looks between the two halves of the fold: at the inputs that the
network is given, and at the label that the fold has made of the forecast before, the change that
came over the scale stored with it. Training therefore sees exactly what serving sees. There is no
label where the fold does not learn: at the first tick, after a gap, at a level break, before
`first_changes` and `warmup_ticks`. A network that corrects need not wait for these two (see
`fold.label_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast_models.bundle import Bundle
from slotcast_models.columns import RESET, Columns, Published, chosen
from slotcast_models.memory import TICKS, Memory
from slotcast_models.predictor import Network, Predictor
from slotcast_models.step import Stage

Floats = NDArray[np.float32]
POLL_TICKS = 8_192


class Wave(NamedTuple):
    """k instruments that tick, between the two halves of the fold."""

    entries: NDArray[np.int64]  # [k] columns
    tick: NDArray[np.bool_]  # [k] this is a tick, and not a reset
    slots: NDArray[np.int64]  # [k]
    start: NDArray[np.bool_]  # [k] this is the first tick of a memory
    label: Floats  # [k, T] of the tick before, NaN where there is none


class Watcher(Predictor):
    """A predictor that shows each wave to `watch` before the network steps it."""

    def __init__(
        self, bundle: Bundle, network: Callable[[int], Network], watch: Callable[[Wave], None]
    ) -> None:
        super().__init__(bundle, network)
        self._watch = watch
        self._memory: Memory | None = None
        self._columns: Columns | None = None
        self._label = np.zeros((0, self.layout.targets))
        self._seen = 0

    @property
    def stage(self) -> Stage:
        """Arguments and results of the network step, one row per network row."""
        return self._program.stage

    def advance(
        self, memory: Memory, columns: Columns, verdicts: NDArray[np.int8], published: Published
    ) -> int:
        """As `Predictor.advance`."""
        self._memory, self._columns, self._seen = memory, columns, 0
        self._label = published.label
        try:
            return super().advance(memory, columns, verdicts, published)
        finally:
            self._memory = self._columns = None

    def _step_network(self, ticks: int) -> None:
        if self._memory is not None:
            self._watch(self._wave(self._memory, ticks))
        super()._step_network(ticks)

    def _wave(self, memory: Memory, ticks: int) -> Wave:
        columns = self._columns
        assert columns is not None, "a wave outside of advance"
        entries = self._scratch.order[self._seen : self._seen + ticks].copy()
        self._seen += ticks
        slots = columns.slot[entries]
        tick = columns.kind[entries] != RESET
        start = tick & (memory.counts[slots, TICKS] == 1)
        return Wave(entries, tick, slots, start, self._label[entries].astype(np.float32))


@dataclass(frozen=True)
class Sequence:
    """What one network row sees and should say, from a fresh row on, in the order of the log."""

    name: str
    entry: NDArray[np.int64]  # [n]  index of the tick among all
    x: Floats  # [n, inputs]
    label: Floats  # [n, targets]  NaN where there is nothing to learn


class _Silent:
    """A network that says nothing."""

    def __init__(self, rows: int, inputs: int, width: int, outputs: int) -> None:
        self.stage = Stage(
            *(np.zeros((rows, n), np.float32) for n in (inputs, width, outputs, width))
        )

    def step(self, n: int) -> None:
        """The rows stay as they are, the outputs zero."""


class Recorder:
    """Records the sequences of many instruments, poll by poll."""

    def __init__(
        self, bundle: Bundle, instruments: int, numbers: NDArray[np.int64] | None = None
    ) -> None:
        """`bundle` is bound; its step program is not used.

        `numbers` [instruments], for a network with a vector per instrument: what stands in the
        first of the vector's places among the inputs, for `Learner` to look up.
        """
        network, targets = bundle.manifest.network, len(bundle.schema.targets)
        outputs = network.outputs
        self._watcher = Watcher(
            bundle, lambda rows: _Silent(rows, network.inputs, network.width, outputs), self._watch
        )
        self._rows = targets if network.rows == "target" else 1
        self._inputs, self._targets = network.inputs, targets
        _, self._memory = self._watcher.allocate(instruments)
        if numbers is not None:
            self._memory.vector[: len(numbers), 0] = numbers
        self._entry: list[NDArray[np.int64]] = []
        self._slot: list[NDArray[np.int64]] = []
        self._start: list[NDArray[np.bool_]] = []
        self._x: list[Floats] = []
        self._label: list[Floats] = []
        self._first = 0

    def record(self, columns: Columns) -> None:
        """Step columns, of any length, that follow those before."""
        for first in range(0, len(columns.slot), POLL_TICKS):
            part: Any = slice(first, first + POLL_TICKS)
            poll = chosen(columns, part)
            n = len(poll.slot)
            published = self._watcher.allocate_published(n)
            self._watcher.advance(self._memory, poll, np.zeros(n, np.int8), published)
            self._first += n

    def _watch(self, wave: Wave) -> None:
        ticks = wave.tick
        x = self._watcher.stage.x[: len(ticks) * self._rows]
        self._entry.append(wave.entries[ticks] + self._first)
        self._slot.append(wave.slots[ticks])
        self._start.append(wave.start[ticks])
        self._x.append(x.reshape(len(ticks), self._rows, self._inputs)[ticks])
        self._label.append(wave.label[ticks])

    def sequences(self, names: list[str]) -> list[Sequence]:
        """What was recorded, `names` by slot; one sequence per network row and fresh memory.

        With one network row per target a sequence's name is "instrument target".
        """
        if not self._entry:
            return []
        entry, slot = np.concatenate(self._entry), np.concatenate(self._slot)
        start, x = np.concatenate(self._start), np.concatenate(self._x)
        label = np.concatenate(self._label)
        order = np.lexsort((entry, slot))  # by slot, in the order of the log
        begins = np.flatnonzero(start[order] | (np.diff(slot[order], prepend=-1) != 0))
        found = []
        for part in np.split(order, begins[1:]):
            name, following = names[slot[part[0]]], np.full((len(part), self._targets), np.nan)
            following[:-1] = label[part[1:]]  # a wave shows the label of the tick before
            for row, target in enumerate(self._watcher.bundle.schema.targets[: self._rows]):
                own = slice(row, row + 1) if self._rows > 1 else slice(None)
                of_row = f"{name} {target.name}" if self._rows > 1 else name
                labels = np.ascontiguousarray(following[:, own], np.float32)
                found.append(
                    Sequence(of_row, entry[part], np.ascontiguousarray(x[part, row]), labels)
                )
        return found
