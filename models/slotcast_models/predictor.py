"""The predictor: memory rows and columns of ticks in, forecasts out. No I/O, no clock.

    predictor = Predictor(bundle)
    rows, memory = predictor.allocate(slots)
    predictor.advance(memory, columns, verdicts, published)

`advance` judges the columns, splits them into waves, and for each wave runs `before`, one batched
network step, `after` (see waves and fold). The same code serves live ticks, silent replay, free
runs and backtests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slotcast_models.bundle import Bundle, BundleError
from slotcast_models.callback import Callback
from slotcast_models.columns import (
    FREE,
    TICK,
    Columns,
    Plan,
    Published,
    allocate_published,
)
from slotcast_models.fresh import wipe
from slotcast_models.intervals import start_quantiles, widen_bounds, widenings
from slotcast_models.memory import (
    LEAN,
    MEDIAN_NS,
    NEVER,
    POINT,
    PRESENT,
    STAGE,
    TICKS,
    TRUST,
    UNSEEN,
    VALUE,
    Memory,
    view,
)
from slotcast_models.pending import restate
from slotcast_models.rules import STAGE_PRIOR
from slotcast_models.step import CHUNK, Stage, StepProgram
from slotcast_models.waves import allocate_scratch, step_columns, step_wave


class Network(Protocol):
    """What steps the rows of a wave: the bundle's step program, or one that is being trained."""

    stage: Stage

    def step(self, n: int) -> None:
        """Step the first n >= 1 rows of the stage."""


class Predictor:
    """One bundle, ready to step. Not thread-safe: one per thread."""

    def __init__(self, bundle: Bundle, network: Callable[[int], Network] | None = None) -> None:
        """`network` makes one with that many rows of room, in place of the step program.

        Raises BundleError for a step program that is not what the manifest says.
        """
        self.bundle, self.layout = bundle, bundle.layout
        rules, schema = bundle.manifest.rules, bundle.schema
        gap_ns = math.inf if schema.max_gap_ms is None else schema.max_gap_ms * 1e6
        self.plan = Plan(
            rules=rules.as_array(gap_ns, schema.kind),
            levels=np.array(rules.levels),
            start=start_quantiles(rules.levels, rules.error_degrees),
            wider=widenings(rules.levels),
            rates=np.array(rules.smoothing_rates, np.float64),
            log=np.array([q.log for q in schema.quantities]),
            gain=np.zeros(bundle.layout.features),
            per_target=bundle.manifest.network.rows == "target",
            siblings=bundle.siblings,
            phases=2 * bundle.manifest.network.phases,
            seasons=bundle.seasons,
            corrects=bundle.manifest.network.corrects,
            quantiles=bundle.manifest.network.head == "quantiles",
        )
        self._rows = self.layout.targets if self.plan.per_target else 1
        room = max(CHUNK // self._rows, 1) * self._rows
        self._program = _program_of(bundle, room) if network is None else network(room)
        staged = self._program.stage
        self._stage = Stage(*(p.reshape(-1, p.shape[1] * self._rows) for p in staged))
        self._network = Callback(self._step_network)
        self._scratch = allocate_scratch(0, 0)

    def allocate(self, slots: int, names: Sequence[str] = ()) -> tuple[NDArray[np.void], Memory]:
        """Fresh rows for `slots` slots; the first ones those of the instruments `names`."""
        rows, memory = self.layout.allocate(slots)
        fresh = self.fresh_row()
        for start in range(0, slots, 4096):
            rows[start : start + 4096] = fresh
        for slot, name in enumerate(names if self.layout.vector else ()):
            memory.vector[slot] = self.bundle.vector_of(name)
        return rows, memory

    def allocate_published(self, n: int) -> Published:
        """Room for what is published of n columns."""
        layout = self.layout
        return allocate_published(n, layout.targets, layout.levels, layout.extras)

    def fresh_row(self, name: str | None = None) -> NDArray[np.void]:
        """The row of an instrument that has never ticked: shape [1].

        Without a name, that of one which training never saw.
        """
        rows, memory = self.layout.allocate(1)
        wipe(memory, 0, self.plan)
        memory.counts[0, :] = NEVER
        wipe(memory, 0, self.plan)
        memory.vector[0] = self.bundle.vector_of(name)
        return rows

    def advance(
        self, memory: Memory, columns: Columns, verdicts: NDArray[np.int8], published: Published
    ) -> int:
        """Judge and step all columns; returns the number of waves.

        `verdicts` [n] and `published` are filled in; `published` only where the verdict is VALID
        and the entry is a tick.
        """
        n, slots = len(columns.slot), len(memory.counts)
        assert columns.value.shape == (n, self.layout.quantities), columns.value.shape
        assert published.extra.shape[2] == self.layout.extras, published.extra.shape
        if n > len(self._scratch.order) or slots > len(self._scratch.seen):
            self._scratch = allocate_scratch(n, slots)
        waves = step_columns(
            memory,
            self.plan,
            columns,
            verdicts,
            published,
            self._scratch,
            self._stage,
            self._network.handle,
        )
        self._network.check()
        return waves

    def _step_network(self, ticks: int) -> None:
        self._program.step(ticks * self._rows)

    def pending(self, rows: NDArray[np.void]) -> Published:
        """The forecasts that these rows [n] stand at, as they were published."""
        n = len(rows)
        memory = view(rows)
        published = self.allocate_published(n)
        for i in range(n):
            restate(memory, i, i, self.plan, published)
        return published

    def free_run(
        self, row: NDArray[np.void], steps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Forecasts of the next `steps` ticks from one memory row [1], which is left untouched.

        Returns points [steps, T], lower and upper [steps, T, L] in the targets' units. Published
        points are fed back as values one median time step apart, one season step after another.
        After the first, the second stage shrinks no more than its prior does, and stretches
        nothing: what it learnt is about one step, and shrinking every one would shrink a season.
        Nor does a network correct what is fed back.
        Half-widths, of the logarithm where that is forecast, grow with the square root of the
        step, as for a random walk.
        Raises ValueError for a row that never ticked.
        """
        memory = view(row.copy())
        if memory.counts[0, TICKS] == 0:
            raise ValueError("no ticks yet: nothing to run on from")
        for share in (memory.target[:, :, STAGE], memory.target[:, :, LEAN]):
            np.clip(share, self.plan.rules[STAGE_PRIOR], 1.0, out=share)
        memory.target[:, :, TRUST] = 0.0
        targets, levels = self.layout.targets, self.layout.levels
        points = np.zeros((steps, targets))
        lower, upper = np.zeros((steps, targets, levels)), np.zeros((steps, targets, levels))
        column, out = _lone_column(self.layout.quantities), self.allocate_published(1)
        column.step_ns[0] = int(memory.pace[0, MEDIAN_NS])
        held = memory.quantity[0, targets:].copy()
        column.value[0, targets:] = np.where(held[:, PRESENT] == UNSEEN, math.nan, held[:, VALUE])
        wave = np.zeros(1, np.int64)
        restate(memory, 0, 0, self.plan, out)
        for h in range(steps):
            points[h] = out.point[0]
            factor = math.sqrt(h + 1.0)
            for j, log in enumerate(self.plan.log[:targets]):
                point, bounds = memory.target[0, j, POINT], memory.bounds[0, j]
                widen_bounds(bounds, point, factor, log, lower[h, j], upper[h, j])
            column.value[0, :targets] = out.point[0]
            handle = self._network.handle
            step_wave(memory, self.plan, column, wave, out, self._stage, handle)
            self._network.check()
        return points, lower, upper


def _program_of(bundle: Bundle, room: int) -> StepProgram:
    name, network = bundle.manifest.name, bundle.manifest.network
    try:
        program = StepProgram(bundle.program, room)
    except ValueError as error:
        raise BundleError(f"bundle {name}: no step program: {error}: export it again") from error
    promised = (network.inputs, network.outputs, network.width)
    found = (program.features, program.outputs, program.width)
    if found != promised:
        raise BundleError(
            f"bundle {name}: its step program has inputs, outputs and width {found}, "
            f"its manifest says {promised}: export it again"
        )
    return program


def _lone_column(quantities: int) -> Columns:
    return Columns(
        slot=np.zeros(1, np.int64),
        kind=np.full(1, FREE, np.int8),
        time_ns=np.zeros(1, np.int64),
        sequence=np.full(1, NEVER, np.int64),
        offset=np.zeros(1, np.int64),
        value=np.zeros((1, quantities)),
        step_ns=np.zeros(1, np.int64),
    )


def warm_up(predictor: Predictor) -> None:
    """Compile (or load from the cache) everything that serving calls."""
    rows, memory = predictor.allocate(2)
    column = _lone_column(predictor.layout.quantities)
    column.kind[0] = TICK
    column.value[0, :] = 1.0
    out = predictor.allocate_published(1)
    predictor.advance(memory, column, np.zeros(1, np.int8), out)
    predictor.free_run(rows[:1], 1)
